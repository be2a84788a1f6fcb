"""Training, from a recipe to a folder of checkpoints: read `train` from top to bottom."""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mindspore
from mindspore import Parameter, Tensor, nn
from mindspore.dataset import Dataset

from ..config import Recipe, RunOptions, flatten, save_recipe
from ..data import get_class_names, seed_epoch
from ..errors import TrainingStoppedError, UserError
from ..optim import optimizer_state
from ..utils.checkpoint_manager import CheckpointManager, save_atomically
from ..utils.curves import plot_curves
from ..utils.interruption import Interruption
from ..utils.logger import set_logger
from ..utils.metrics import Metrics
from ..utils.metrics_table import MetricsTable
from ..utils.path import make_folder
from ..utils.progress import EpochProgress
from ..utils.run_state import load_newest_state, remove_states, restore, save_state
from ..utils.tensorboard import EventWriter, require_tensorboard
from ..utils.train_step import TrainStep
from .assembly import check_step_options, feeds_from_queue, make_step, optimizer_file_name, plan_rates
from .evaluation import evaluate
from .loaded_images import find_loaded_images
from .preparation import (
    CLASS_NAMES_FILE,
    build_network,
    check_num_classes,
    make_train_loader,
    make_val_loader,
    start_device,
)
from .reading import check_image_files, read_batches

# Keys in which a resumed run may differ: what it writes and where it reads, not what the next step is.
FREE_KEYS = {
    "resume", "resume_opt", "ckpt_path", "pretrained", "reset_head", "dialect", "data_dir", "ckpt_save_dir",
    "device_target", "distribute", "val_while_train", "val_interval", "eval_shuffle", "val_amp_level", "log_interval",
    "ckpt_save_interval", "ckpt_save_policy", "keep_checkpoint_max", "tensorboard", "dataset_download",
}  # fmt: skip
_PATIENCE = 10  # losses in a row that need not be finite while a loss scale looks for its value


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind."""

    last_checkpoint: Path | None
    metrics: Metrics | None  # of the last validation
    best_checkpoint: Path | None
    best_top1: float | None  # percent
    interrupted: bool = False  # by a signal; --resume goes on


@dataclass
class Position:
    """How far a run has come; with the parameters of the train step it is the whole state."""

    epoch: int = 0  # complete epochs
    step: int = 0  # steps of the next one
    loss_sum: float = 0.0  # of these steps
    best_top1: float | None = None
    best_epoch: int | None = None


def train(recipe: Recipe) -> TrainingResult:
    """Train as the recipe says. Raises UserError for what the user can mend, if possible before anything runs.

    Raises TrainingStoppedError when the loss is no longer finite.
    """
    # What can be wrong comes first, so that bad input leaves no trace.
    device = start_device(recipe.system)
    _check_run_options(recipe.run)
    check_step_options(recipe)
    class_names = get_class_names(recipe.dataset.name, recipe.dataset.root, recipe.dataset.train_split)
    num_classes = check_num_classes(recipe, class_names)
    train_loader = make_train_loader(recipe, class_names, num_classes)
    val_loader = make_val_loader(recipe, class_names) if recipe.run.val_while_train else None
    for loader in (train_loader, val_loader):
        if loader is not None:
            check_image_files(loader)
    steps_per_epoch = train_loader.get_dataset_size()
    rates = plan_rates(recipe, steps_per_epoch)

    state = _load_state(recipe) if recipe.run.resume else None
    if state:  # weights come from the state, and their dialect with them
        weights = {"checkpoint_path": "", "pretrained": False, "dialect": state[1]["dialect"]}
        recipe = replace(
            recipe, model=replace(recipe.model, **weights), run=replace(recipe.run, resume=True, resume_opt=False)
        )
    network = build_network(recipe, num_classes)
    step = make_step(recipe, network, rates)
    if state:
        restore(step, state[0])
    position = Position(**state[1]["position"]) if state else Position()
    averaged = build_network(recipe, num_classes) if step.average is not None and val_loader is not None else None

    folder = make_folder("ckpt_save_dir", recipe.run.ckpt_save_dir)
    logger = set_logger(output_dir=folder)
    logger.info(device)
    if not state:
        remove_states(folder, recipe.model.model_name)  # of an earlier run, which --resume would go on with
    recipe = replace(recipe, model=replace(recipe.model, dialect=network.dialect.name))
    save_recipe(recipe, folder / "recipe.yaml")
    (folder / CLASS_NAMES_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    run = TrainingRun(recipe, folder, logger, step, averaged, rates, position, state[1]["kept"] if state else ())
    run.log_plan(num_classes, train_loader)

    with Interruption() as interruption:
        while run.position.epoch < recipe.run.epoch_size:
            run.train_epoch(train_loader, interruption)
            if interruption.requested:
                return run.stop()
            run.finish_epoch(val_loader)
            if interruption.requested and run.position.epoch < recipe.run.epoch_size:
                return run.stop()
    return run.summarise()


class TrainingRun:
    """The loop's parts, and what they share: the step, the position, and the files of the run."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        logger: logging.Logger,
        step: TrainStep,
        averaged: nn.Cell | None,
        rates: list[float],
        position: Position,
        kept: list[tuple[str, float | None]] | tuple,
    ):
        self.recipe = recipe
        self.options = recipe.run
        self.model_name = recipe.model.model_name
        self.folder = folder
        self.logger = logger
        self.step = step
        self.averaged = averaged
        self.rates = rates
        self.position = position
        self.steps_per_epoch = len(rates) // recipe.run.epoch_size
        self.checkpoints = CheckpointManager(
            folder, self.model_name, self.options.keep_checkpoint_max, self.options.ckpt_save_policy, kept
        )
        self.table = MetricsTable(folder / "metrics.csv", resume_after=position.epoch)
        self.events = EventWriter(folder / "summary") if self.options.tensorboard else None
        self.metrics: Metrics | None = None
        self.last_checkpoint: Path | None = None
        self.mean_loss = math.nan
        self.speeds: list[float] = []

    def log_plan(self, num_classes: int, loader: Dataset) -> None:
        parameters = sum(parameter.size for parameter in self.step.network.trainable_params())
        self.logger.info(
            f"{self.model_name}: {parameters:,} parameters, {num_classes} classes; {self.options.epoch_size} epochs "
            f"of {self.steps_per_epoch} steps of {loader.get_batch_size()} images; writes to {self.folder}"
        )
        skipped = find_loaded_images(loader).skipped
        if skipped:
            self.logger.warning(f"left out {len(skipped)} image file(s) that cannot be decoded, such as {skipped[0]}")
        if self.recipe.step.dataset_sink_mode and not feeds_from_queue(self.recipe):
            self.logger.info("dataset_sink_mode: a CPU has no queue of batches, steps are fed one by one")
        if self.position.epoch or self.position.step:
            self.logger.info(f"going on after epoch {self.position.epoch}, step {self.position.step}")

    def train_epoch(self, loader: Dataset, interruption: Interruption) -> None:
        """The rest of the epoch that the position is in, or until a signal arrives."""
        position = self.position
        seed_epoch(self.recipe.system.seed, position.epoch)
        progress = EpochProgress(
            f"epoch {position.epoch + 1}/{self.options.epoch_size}",
            self.steps_per_epoch,
            loader.get_batch_size(),
            logger=self.logger,
            log_interval=self.options.log_interval,
            done=(position.step, position.loss_sum),
        )
        self.step.set_train()
        bad_losses = 0
        with progress:
            for loss in self._run_steps(loader.skip(position.step) if position.step else loader):
                progress.update(loss)
                bad_losses = 0 if math.isfinite(progress.last_loss) else bad_losses + 1
                self._check_losses(bad_losses, progress.step)
                if interruption.requested:
                    break
            self.mean_loss = progress.mean_loss()
            self._check_losses(0 if math.isfinite(progress.last_loss) else bad_losses + 1, progress.step)
            self.speeds.append(progress.images_per_second())
        position.step, position.loss_sum = progress.step, progress.loss_sum

    def finish_epoch(self, val_loader: Dataset | None) -> None:
        """Validate, write the table, the checkpoints and the state."""
        position, options = self.position, self.options
        position.epoch, position.step, position.loss_sum = position.epoch + 1, 0, 0.0
        epoch, steps = position.epoch, position.epoch * self.steps_per_epoch
        is_last = epoch == options.epoch_size
        metrics = None
        if val_loader is not None and (is_last or epoch % options.val_interval == 0):
            metrics = self.metrics = evaluate(self._network_to_validate(), val_loader, val_loader.get_batch_size())
            if position.best_top1 is None or metrics.top1 > position.best_top1:
                position.best_top1, position.best_epoch = metrics.top1, epoch
                self.checkpoints.save_best(self._weights())
        rate = self.rates[steps - 1]
        self.table.append(epoch, steps, rate, self.mean_loss, metrics, self.speeds[-1])
        if self.events:
            validated = {"top1": metrics.top1, "top5": metrics.top5, "val_loss": metrics.loss} if metrics else {}
            self.events.add(steps, lr=rate, train_loss=self.mean_loss, **validated)
        summary = f"; {metrics}" if metrics else ""
        self.logger.info(
            f"epoch {epoch}/{options.epoch_size}: loss {self.mean_loss:.4f}, lr {rate:.2e}, "
            f"{self.speeds[-1]:.1f} img/s{summary}"
        )
        if is_last or epoch % options.ckpt_save_interval == 0:
            score = metrics.top1 if metrics else None
            self.last_checkpoint = self.checkpoints.save(self._weights(), epoch, self.steps_per_epoch, score)
            save_atomically(
                optimizer_state(self.step.optimizer).values(), self.folder / optimizer_file_name(self.model_name)
            )
            self._save_state()

    def stop(self) -> TrainingResult:
        """Save where the run stands, and say how to go on."""
        self._save_state()
        self.logger.info(
            f"interrupted: stopped after epoch {self.position.epoch}, step {self.position.step}; go on with "
            f"train.py -c {self.folder / 'recipe.yaml'} --resume True"
        )
        return replace(self._result(), interrupted=True)

    def summarise(self) -> TrainingResult:
        """Draw the curves and say how the run went."""
        result = self._result()
        if not plot_curves(self.folder / "metrics.csv", self.folder / "curves.png"):
            self.logger.info("no curves.png: that needs matplotlib; pip install mindcv_halo[plot]")
        if self.events:
            self.events.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        speed = f"{sum(self.speeds) / len(self.speeds):.1f} img/s" if self.speeds else "nothing left to do"
        best_top1, best_epoch = self.position.best_top1, self.position.best_epoch
        best = "" if best_top1 is None else f"; best top-1 {best_top1:.2f} % after epoch {best_epoch}"
        self.logger.info(f"done: {speed}, peak memory {peak:.2f} GB{best}; last checkpoint {result.last_checkpoint}")
        return result

    def _run_steps(self, loader: Dataset) -> Iterator[Tensor]:
        """The loss of each step; the step runs when it is asked for."""
        if feeds_from_queue(self.recipe):
            sink = mindspore.data_sink(self.step, loader)
            for _ in range(loader.get_dataset_size()):
                yield sink()
            return
        for images, labels in read_batches(loader):
            yield self.step(Tensor(images), Tensor(labels))

    def _check_losses(self, bad_losses: int, step: int) -> None:
        """Raises TrainingStoppedError after too many losses in a row that are not finite."""
        patience = _PATIENCE if self.step.loss_scale is not None and self.step.loss_scale.skips else 0
        if bad_losses > patience:
            raise TrainingStoppedError(
                f"the loss is not finite in epoch {self.position.epoch + 1}, step {step}; the last good checkpoint is "
                f"{self._last_name() or 'none'}; a lower lr, clip_grad, or loss_scale_type dynamic may help"
            )

    def _weights(self) -> list[Parameter]:
        """What a checkpoint holds: the network's parameters, and their averages as `ema.*`."""
        averages = list(self.step.average.averages) if self.step.average is not None else []
        return [*self.step.network.get_parameters(), *averages]

    def _network_to_validate(self) -> nn.Cell:
        if self.step.average is None:
            return self.step.network
        self.step.average.copy_to(self.averaged)
        return self.averaged

    def _save_state(self) -> None:
        content = {
            "position": vars(self.position),
            "kept": self.checkpoints.kept,
            "dialect": self.recipe.model.dialect,
            "recipe": flatten(self.recipe),
        }
        save_state(self.step, content, self.folder, self.model_name, self.position.epoch, self.position.step)

    def _last_name(self) -> str | None:
        path = self.folder / f"{self.model_name}_last.ckpt"
        return str(path) if path.exists() else None

    def _result(self) -> TrainingResult:
        last, best = (self.folder / f"{self.model_name}_{name}.ckpt" for name in ("last", "best"))
        return TrainingResult(
            last if last.exists() else None,
            self.metrics,
            best if self.position.best_top1 is not None else None,
            self.position.best_top1,
        )


def _check_run_options(options: RunOptions) -> None:
    for name in ("epoch_size", "val_interval", "log_interval", "ckpt_save_interval", "keep_checkpoint_max"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} {getattr(options, name)} must be at least 1")
    if options.ckpt_save_policy == "top_k" and not options.val_while_train:
        raise UserError("ckpt_save_policy top_k ranks by validation; set val_while_train to True")
    if options.tensorboard:
        require_tensorboard()


def _load_state(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """The newest whole state of the run. Raises UserError when its recipe is another than this."""
    arrays, content = load_newest_state(Path(recipe.run.ckpt_save_dir), recipe.model.model_name, set_logger())
    now = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    for key, value in content["recipe"].items():
        if key not in FREE_KEYS and now[key] != value:
            raise UserError(
                f"resume: {key} was {value!r} and is {now[key]!r} now; resume with the run's own recipe.yaml, or start "
                "anew in another ckpt_save_dir"
            )
    return arrays, content
