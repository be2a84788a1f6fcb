"""Training, from a recipe to a folder of checkpoints: read `train` from top to bottom."""

from __future__ import annotations

import logging
import math
import resource
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mindspore import Parameter, Tensor, nn
from mindspore.dataset import Dataset

from ..config.idle_keys import find_idle_keys
from ..config.options import Recipe, RunOptions, flatten
from ..config.parse import save_recipe
from ..config.resolve import NO_WEIGHTS_TO_FIT, resolve
from ..data import split_epoch
from ..data.class_names import count_named_classes, format_class_names
from ..distributed.own_command import name_training_command
from ..distributed.process_group import ProcessGroup
from ..errors import TrainingStoppedError, UserError
from ..files.checkpoint_file import write_checkpoint
from ..files.path import make_folder
from ..files.safetensors_file import require_safetensors
from ..files.whole_file import write_whole
from ..idle_settings import collect_idle
from ..models.weights import describe_classes, describe_network
from ..optim import move_rates, optimizer_state
from ..report.pictures import plot_curves
from ..runs.checkpoints import CheckpointManager
from ..runs.earlier_run import set_aside
from ..runs.interruption import Interruption
from ..runs.log import keep_error, log_to_file, set_logger
from ..runs.metrics import Metrics
from ..runs.metrics_table import MetricsTable
from ..runs.progress import EpochProgress
from ..runs.state import save_state
from ..runs.tensorboard import EventWriter, require_tensorboard
from ..runtime import give_back_memory, share_heap
from ..training.step import TrainStep
from .batches import check_image_files, find_left_out, limit_batches, read_batches, run_from_queue
from .labels import note_order_of_numbers
from .resume import Position, TrainingData, describe_data, load_run, state_parameters
from .setup import (
    CLASS_NAMES_FILE,
    build_network,
    check_step_options,
    feeds_from_queue,
    find_place,
    find_rate_factor,
    fit_class_names,
    make_step,
    make_train_loader,
    make_val_loader,
    name_kernels,
    open_train_split,
    open_val_split,
    optimizer_file_name,
    plan_rates,
    start_device,
)
from .validate import evaluate

_PATIENCE = 10  # losses in a row that need not be finite while a loss scale looks for its value


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind."""

    last_checkpoint: Path | None
    metrics: Metrics | None  # of the last validation
    best_checkpoint: Path | None
    best_top1: float | None  # percent
    interrupted: bool = False  # by a signal; --resume goes on


def train(recipe: Recipe) -> TrainingResult:
    """Train as the recipe says. Raises UserError for what the user can mend, if possible before anything runs.

    Raises TrainingStoppedError when the loss is no longer finite, or when the run's files cannot be written.
    """
    # What can be wrong comes first, so that bad input leaves no trace.
    topology = find_place(recipe.system)
    share_heap()
    _check_run_options(recipe.run)
    check_step_options(recipe)
    train_images = open_train_split(recipe.dataset)
    class_names = fit_class_names(recipe, train_images.class_names)
    val_loader = None
    with collect_idle() as idle:
        train_loader = make_train_loader(recipe, train_images, class_names, topology)
        if recipe.run.val_while_train:
            val_loader = make_val_loader(recipe, open_val_split(recipe.dataset), class_names, topology)
    for loader in (train_loader, val_loader):
        check_image_files(loader)
    steps_per_epoch = train_loader.get_dataset_size()
    rates, remarks = plan_rates(recipe, steps_per_epoch, topology.size)
    data = describe_data(recipe.dataset, class_names, train_loader)

    # The device, the other ranks, and the state of the run that goes on.
    group, device = start_device(recipe.system, topology)
    folder = Path(recipe.run.ckpt_save_dir)
    logger = set_logger(output_dir=folder if recipe.run.resume else None, rank=group.rank)
    images_per_step = recipe.loader.batch_size * group.size
    state = load_run(recipe, data, images_per_step, group, logger) if recipe.run.resume else None
    if state is None:  # what is said from here on belongs to a run whose folder is not open yet
        logger = set_logger(rank=group.rank)
    else:
        recipe = resolve(recipe, state.facts)

    # The step, with the weights of the state, of a file, or drawn.
    to_build = resolve(recipe, NO_WEIGHTS_TO_FIT) if state else recipe
    network = build_network(to_build, len(class_names))
    with collect_idle() as idle_in_step:
        step = make_step(recipe, network, rates, steps_per_epoch, group.size)
    remarks += dict.fromkeys(filter(None, [find_idle_keys(to_build), *idle, *idle_in_step]))  # each once
    averaged = None
    if step.ema is not None and recipe.run.val_while_train:  # also on a rank that has no image to validate
        averaged = build_network(to_build, len(class_names))
    if state:
        position = state.find_position(steps_per_epoch)
        batches = position.epoch * steps_per_epoch + position.step
        state.put_into(step, updates=batches // recipe.step.gradient_accumulation_steps)
    else:
        position = Position(first_update=int(step.optimizer.global_step.asnumpy()[0]))
    group.broadcast_parameters(step.parameters_dict().values())

    # The folder is opened last: an earlier run that lies there makes room only for one that can begin.
    recipe = resolve(recipe, {"dialect": describe_network(network).get("dialect")})
    if group.is_main:
        recipe, earlier = _open_folder(folder, recipe, class_names, is_new=state is None)
        if earlier:
            remarks.append(f"{folder} held an earlier run; its files are in {earlier} now")
    group.wait()  # until an earlier run's logs are out of the way
    logger = set_logger(output_dir=folder, rank=group.rank)
    for line in (device, *remarks):
        logger.info(line)
    kept = state.content["kept"] if state else ()
    with _ends_with_a_reason():
        run = TrainingRun(
            recipe, folder, logger, group, step, averaged, train_loader, val_loader, rates, position, data, kept
        )
        run.log_plan()
        result = run.train()
    if not result.interrupted:  # else the others stand in their step, and the launcher ends them
        group.wait()  # until rank 0 has written its files
    return result


class TrainingRun:
    """The loop's parts, and what they share: the step, the position, and the files of the run."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        logger: logging.Logger,
        group: ProcessGroup,
        step: TrainStep,
        averaged: nn.Cell | None,
        train_loader: Dataset,
        val_loader: Dataset | None,
        rates: list[float],
        position: Position,
        data: TrainingData,
        kept: list[tuple[str, float | None]] | tuple,
    ):
        self.recipe = recipe
        self.options = recipe.run
        self.model_name = recipe.model.model_name
        self.folder = folder
        self.logger = logger
        self.group = group
        self.step = step
        self.averaged = averaged
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.rates = rates
        self.position = position
        self.data = data
        self.num_named = count_named_classes(data.class_names)  # those that have images
        self.steps_per_epoch = len(rates) // recipe.run.epoch_size
        self.images_per_step = recipe.loader.batch_size * group.size
        self.checkpoints = CheckpointManager(
            folder,
            self.model_name,
            self.options.keep_checkpoint_max,
            self.options.ckpt_save_policy,
            kept,
            {**describe_network(step.network), **describe_classes(data.class_names)},
        )
        writes = group.is_main
        self.table = MetricsTable(folder / "metrics.csv", resume_after=position.epoch) if writes else None
        self.events = EventWriter(folder / "summary") if writes and self.options.tensorboard else None
        self.limit = limit_batches(self.options, group)
        self.metrics: Metrics | None = None
        self.last_checkpoint: Path | None = None
        self.mean_loss = math.nan
        self.bad_losses = 0  # in a row, that are not finite
        self.speeds: list[float] = []

    def log_plan(self) -> None:
        """Say what the run is going to do."""
        num_classes = len(self.data.class_names)
        parameters = sum(parameter.size for parameter in self.step.network.trainable_params())
        frozen = self.recipe.step.frozen_stages
        rest = f" that learn, the stem and {frozen} stage{'s' * (frozen > 1)} frozen" if frozen else ""
        self.logger.info(
            f"{self.model_name}: {parameters:,} parameters{rest}, {num_classes} classes; "
            f"{self.options.epoch_size} epochs of {self.steps_per_epoch} steps of {self.images_per_step} images; "
            f"writes to {self.folder}"
        )
        for line in note_random_stages(self.recipe):
            self.logger.info(line)
        if self.num_named < num_classes:
            self.logger.info(f"num_classes {num_classes}: the data has {self.num_named} classes, the others no images")
        for line in note_order_of_numbers(self.data.class_names[: self.num_named]):
            self.logger.info(line)
        self.logger.info(f"kernels: {name_kernels(self.step.network)}")
        factor = find_rate_factor(self.recipe, self.group.size)
        if factor != 1:
            self.logger.info(f"lr_scaling {self.recipe.step.lr_scaling}: all learning rates times {factor:g}")
        for left_out in filter(None, map(find_left_out, (self.train_loader, self.val_loader))):
            self.logger.info(left_out)
        wanted, workers = self.recipe.dataset.num_parallel_workers, self.data.num_parallel_workers
        if workers < wanted:
            self.logger.info(
                f"num_parallel_workers: {workers} of {wanted}, one for each processor; another number would draw other "
                "augmentation from the same seed"
            )
        if self.recipe.step.dataset_sink_mode and not feeds_from_queue(self.recipe):
            self.logger.info("dataset_sink_mode: a CPU has no queue of batches, steps are fed one by one")
        if self.position.epoch or self.position.step:
            self.logger.info(f"going on after epoch {self.position.epoch}, step {self.position.step}")

    def train(self) -> TrainingResult:
        """All epochs that are left, or until a signal arrives."""
        with Interruption() as interruption:
            while self.position.epoch < self.options.epoch_size:
                self.train_epoch(interruption)
                if self.must_stop(interruption):
                    return self.stop(interruption)
                self.finish_epoch()
                if self.must_stop(interruption) and self.position.epoch < self.options.epoch_size:
                    return self.stop(interruption)
        return self.summarise()

    def train_epoch(self, interruption: Interruption) -> None:
        """The rest of the epoch that the position is in, or until a signal arrives."""
        position = self.position
        move_rates(self.step.optimizer, since=position.first_update)
        progress = EpochProgress(
            f"epoch {position.epoch + 1}/{self.options.epoch_size}",
            self.steps_per_epoch,
            self.images_per_step,
            logger=self.logger,
            log_interval=self.options.log_interval,
            done=(position.step, position.loss_sum),
            is_main=self.group.is_main,
        )
        self.step.set_train()
        with progress:
            for loss in self._run_steps(self.train_loader, since=position.step):
                progress.update(loss)
                if progress.step > position.step + 1:  # the first step's loss is read after the second
                    self._check_loss(progress.last_loss, progress.step - 1)
                if self.must_stop(interruption):
                    break
            self.mean_loss = progress.mean_loss()
            if progress.step > position.step:
                self._check_loss(progress.last_loss, progress.step)
            self.speeds.append(progress.images_per_second())
        position.step, position.loss_sum = progress.step, progress.loss_sum

    def finish_epoch(self) -> None:
        """Validate, on all ranks, and write what there is to keep, on rank 0."""
        position, options = self.position, self.options
        position.epoch, position.step, position.loss_sum = position.epoch + 1, 0, 0.0
        is_last = position.epoch == options.epoch_size
        metrics, is_best = None, False
        if options.val_while_train and (is_last or position.epoch % options.val_interval == 0):
            network, batch_size = self._network_to_validate(), self.recipe.loader.batch_size
            metrics = self.metrics = evaluate(
                network, self.val_loader, batch_size, self.group, num_classes=self.num_named, limit=self.limit
            )
            is_best = position.best_top1 is None or metrics.top1 > position.best_top1
        if is_best:
            position.best_top1, position.best_epoch = metrics.top1, position.epoch
        if self.group.is_main:
            with _files_can_be_written(self.folder):
                self._write_epoch(metrics, is_best, saves=is_last or position.epoch % options.ckpt_save_interval == 0)
        give_back_memory()

    def _write_epoch(self, metrics: Metrics | None, is_best: bool, saves: bool) -> None:
        """The table, the log, the checkpoints and the state."""
        epoch = self.position.epoch
        steps = epoch * self.steps_per_epoch
        if is_best:
            self.checkpoints.save_best(self._weights())
        rate = self.rates[steps - 1]
        self.table.append(epoch, steps, rate, self.mean_loss, metrics, self.speeds[-1])
        if self.events:
            validated = {"top1": metrics.top1, "top5": metrics.top5, "val_loss": metrics.loss} if metrics else {}
            self.events.add(steps, lr=rate, train_loss=self.mean_loss, **validated)
        summary = f"; {metrics}" if metrics else ""
        self.logger.info(
            f"epoch {epoch}/{self.options.epoch_size}: loss {self.mean_loss:.4f}, lr {rate:.2e}, "
            f"{self.speeds[-1]:.1f} img/s{summary}"
        )
        if saves:
            score = metrics.top1 if metrics else None
            self.last_checkpoint = self.checkpoints.save(self._weights(), epoch, self.steps_per_epoch, score)
            write_checkpoint(
                optimizer_state(self.step.optimizer).values(), self.folder / optimizer_file_name(self.model_name)
            )
            self._save_state()

    def must_stop(self, interruption: Interruption) -> bool:
        """Rank 0 decides; the others go on until the launcher, which sees rank 0 end, ends them."""
        return interruption.requested and self.group.is_main

    def stop(self, interruption: Interruption) -> TrainingResult:
        """Save where the run stands, and say how to go on."""
        with _files_can_be_written(self.folder):
            self._save_state()
        self.logger.info(
            f"interrupted by {interruption.signal}: stopped after epoch {self.position.epoch}, step "
            f"{self.position.step}; go on with {name_training_command(sys.orig_argv)} -c "
            f"{shlex.quote(str(self.folder / 'recipe.yaml'))} --resume True"
        )
        return replace(self._result(), interrupted=True)

    def summarise(self) -> TrainingResult:
        """Draw the curves and say how the run went."""
        result = self._result()
        if not self.group.is_main:
            return result
        if not plot_curves(self.folder / "metrics.csv", self.folder / "curves.png"):
            self.logger.info("no curves.png: that needs matplotlib; pip install mindcv_halo[plot]")
        if self.events:
            self.events.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        idle = f"nothing left to do, as epoch_size {self.options.epoch_size} is reached: a larger one goes on"
        speed = f"{sum(self.speeds) / len(self.speeds):.1f} img/s" if self.speeds else idle
        best_top1, best_epoch = self.position.best_top1, self.position.best_epoch
        best = "" if best_top1 is None else f"; best top-1 {best_top1:.2f} % after epoch {best_epoch}"
        self.logger.info(f"done: {speed}, peak memory {peak:.2f} GB{best}; last checkpoint {result.last_checkpoint}")
        return result

    def _run_steps(self, loader: Dataset, since: int) -> Iterator[Tensor]:
        """The loss of each step of the epoch, from number `since` on; the step runs when it is asked for."""
        for part in split_epoch(loader, self.recipe.system.seed, self.position.epoch, self.group.rank, since):
            if feeds_from_queue(self.recipe):
                yield from run_from_queue(self.step, part)
                continue
            for images, labels in read_batches(part, self.limit):
                yield self.step(Tensor(images), Tensor(labels))

    def _check_loss(self, loss: float, step: int) -> None:
        """Raises TrainingStoppedError after too many losses in a row that are not finite."""
        self.bad_losses = 0 if math.isfinite(loss) else self.bad_losses + 1
        patience = _PATIENCE if self.step.grad_scaler is not None and self.step.grad_scaler.skips else 0
        if self.bad_losses > patience:
            raise TrainingStoppedError(
                f"the loss is not finite in epoch {self.position.epoch + 1}, step {step}; the last good checkpoint is "
                f"{self._last_name() or 'none'}; a lower lr, clip_grad, or loss_scale_type dynamic may help"
            )

    def _weights(self) -> list[Parameter]:
        """What a checkpoint holds: the network's parameters, and their averages as `ema.*`."""
        averages = list(self.step.ema.averages) if self.step.ema is not None else []
        return [*self.step.network.get_parameters(), *averages]

    def _network_to_validate(self) -> nn.Cell:
        if self.step.ema is None:
            return self.step.network
        self.step.ema.copy_to(self.averaged)
        return self.averaged

    def _save_state(self) -> None:
        content = {
            "position": vars(self.position),
            "images_per_step": self.images_per_step,
            "kept": self.checkpoints.kept,
            "dialect": self.recipe.model.dialect,
            "recipe": flatten(self.recipe),
            "data": asdict(self.data),
        }
        parameters = state_parameters(self.step)
        save_state(parameters, content, self.folder, self.model_name, self.position.epoch, self.position.step)

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


def note_random_stages(recipe: Recipe) -> list[str]:
    """What there is to say of frozen stages that no weights were loaded into."""
    count, model = recipe.step.frozen_stages, recipe.model
    if not count or model.checkpoint_path or model.pretrained:
        return []
    return [
        f"frozen_stages {count}: they keep the random numbers that they begin with, as the recipe names no weights; "
        "give --ckpt_path FILE or --pretrained True"
    ]


def _open_folder(folder: Path, recipe: Recipe, class_names: list[str], is_new: bool) -> tuple[Recipe, Path | None]:
    """Make the run's folder, and write what says what the run is.

    What an earlier run left there makes room for a new one. Returns the recipe, in which weights out of that run are
    where they are now, and the folder that they were moved to, if any.
    """
    make_folder("ckpt_save_dir", recipe.run.ckpt_save_dir)
    with _files_can_be_written(folder):
        earlier = set_aside(folder) if is_new else None
        weights = Path(recipe.model.checkpoint_path)
        if earlier and weights.name and weights.parent.resolve() == folder.resolve() and not weights.exists():
            recipe = resolve(recipe, {"ckpt_path": str(earlier / weights.name)})
        save_recipe(recipe, folder / "recipe.yaml")
        write_whole(folder / CLASS_NAMES_FILE, format_class_names(class_names))
    return recipe, earlier


@contextmanager
def _ends_with_a_reason() -> Iterator[None]:
    """The log's file says why a run ended early; what MindSpore's compiler says goes there in full.

    Raises TrainingStoppedError, in one line, for what it did not expect.
    """
    try:
        yield
    except (UserError, TrainingStoppedError) as error:
        log_to_file(str(error))
        raise
    except Exception as error:
        raise TrainingStoppedError(keep_error(error)) from error
    except BaseException as error:  # a second Ctrl-C, or whoever calls us exits
        log_to_file(f"ended by {type(error).__name__}")
        raise


@contextmanager
def _files_can_be_written(folder: Path) -> Iterator[None]:
    """Raises TrainingStoppedError for what only the disk is to blame for; what was there stays whole."""
    try:
        yield
    except OSError as error:
        raise TrainingStoppedError(
            f"{folder} cannot be written: {error.strerror or error}; make room, and go on with --resume True"
        ) from error


def _check_run_options(options: RunOptions) -> None:
    for name in ("epoch_size", "val_interval", "log_interval", "ckpt_save_interval", "keep_checkpoint_max"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} {getattr(options, name)} must be at least 1")
    if options.data_timeout <= 0:
        raise UserError(f"data_timeout {options.data_timeout:g} must be above 0")
    if options.ckpt_save_policy == "top_k" and not options.val_while_train:
        raise UserError("ckpt_save_policy top_k ranks by validation; set val_while_train to True")
    require_safetensors("the state of a run")
    if options.tensorboard:
        require_tensorboard()
