"""Training, from a recipe to a folder of checkpoints: read `train` from top to bottom."""

from __future__ import annotations

import csv
import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from mindspore import Tensor
from mindspore.dataset import Dataset

from ..config import Recipe, RunOptions, save_recipe
from ..data import get_class_names, seed_epoch
from ..errors import UserError
from ..loss import create_loss
from ..optim import create_optimizer
from ..scheduler import create_scheduler
from ..utils.checkpoint_manager import CheckpointManager
from ..utils.logger import set_logger
from ..utils.metrics import Metrics
from ..utils.progress import EpochProgress
from ..utils.train_step import TrainStep
from .evaluation import evaluate
from .preparation import (
    CLASS_NAMES_FILE,
    build_network,
    check_num_classes,
    make_train_loader,
    make_val_loader,
    start_device,
)
from .reading import read_batches


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind."""

    last_checkpoint: Path
    metrics: Metrics | None  # of the last validation
    best_checkpoint: Path | None
    best_top1: float | None  # percent


def train(recipe: Recipe) -> TrainingResult:
    """Train as the recipe says. Raises UserError for what the user can mend, if possible before anything runs."""
    # What can be wrong comes first, so that bad input leaves no trace.
    device = start_device(recipe.system)
    _check_run_options(recipe.run)
    class_names = get_class_names(recipe.dataset.name, recipe.dataset.root, recipe.dataset.train_split)
    num_classes = check_num_classes(recipe, class_names)
    loss = create_loss(**asdict(recipe.loss))
    train_loader = make_train_loader(recipe, class_names, num_classes)
    val_loader = make_val_loader(recipe, class_names) if recipe.run.val_while_train else None
    steps_per_epoch = train_loader.get_dataset_size()
    num_epochs = recipe.run.epoch_size
    rates = create_scheduler(steps_per_epoch, num_epochs=num_epochs, **asdict(recipe.scheduler))

    network = build_network(recipe, num_classes)
    optimizer = create_optimizer(network, lr=rates, **asdict(recipe.optim))
    step = TrainStep(network, loss, optimizer)

    folder = make_folder(recipe.run.ckpt_save_dir)
    logger = set_logger(output_dir=folder)
    logger.info(device)
    save_recipe(recipe, folder / "recipe.yaml")
    (folder / CLASS_NAMES_FILE).write_text("".join(f"{name}\n" for name in class_names))
    checkpoints = CheckpointManager(folder, recipe.model.model_name, recipe.run.keep_checkpoint_max)
    table = MetricsTable(folder / "metrics.csv")
    _log_plan(logger, recipe, network, num_classes, train_loader)

    last = best = metrics = best_top1 = None
    for epoch in range(1, num_epochs + 1):
        seed_epoch(recipe.system.seed, epoch)
        title = f"epoch {epoch}/{num_epochs}"
        with EpochProgress(
            title,
            steps_per_epoch,
            recipe.loader.batch_size,
            logger=logger,
            log_interval=recipe.run.log_interval,
        ) as progress:
            step.set_train()
            for images, labels in read_batches(train_loader):
                progress.update(step(Tensor(images), Tensor(labels)))
            mean_loss, speed = progress.mean_loss(), progress.images_per_second()

        is_last = epoch == num_epochs
        metrics = None
        if val_loader is not None and (is_last or epoch % recipe.run.val_interval == 0):
            metrics = evaluate(network, val_loader, recipe.loader.batch_size)
            if best_top1 is None or metrics.top1 > best_top1:
                best_top1, best = metrics.top1, checkpoints.save_best(network)
        if is_last or epoch % recipe.run.ckpt_save_interval == 0:
            last = checkpoints.save(network, epoch, steps_per_epoch)
        rate = rates[epoch * steps_per_epoch - 1]
        table.append(epoch, epoch * steps_per_epoch, rate, mean_loss, metrics, speed)
        validated = f"; {metrics}" if metrics else ""
        logger.info(f"{title}: loss {mean_loss:.4f}, lr {rate:.2e}, {speed:.1f} img/s{validated}")

    logger.info(f"last checkpoint {last}" + (f", best {best} with top-1 {best_top1:.2f} %" if best else ""))
    return TrainingResult(last, metrics, best, best_top1)


def make_folder(path: str) -> Path:
    """The run's folder. Raises UserError where it cannot be made or written."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"ckpt_save_dir {path}: {error.strerror}; choose a folder that can be written") from error
    return folder


def _check_run_options(options: RunOptions) -> None:
    for name in ("epoch_size", "val_interval", "log_interval", "ckpt_save_interval", "keep_checkpoint_max"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} {getattr(options, name)} must be at least 1")


class MetricsTable:
    """metrics.csv: a line per epoch, written at once, so that a run that is cut off keeps its history."""

    COLUMNS = ("epoch", "step", "lr", "train_loss", "top1", "top5", "val_loss", "images_per_second")

    def __init__(self, path: Path):
        self.path = path
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(self.COLUMNS)

    def append(
        self, epoch: int, step: int, rate: float, train_loss: float, metrics: Metrics | None, speed: float
    ) -> None:
        validated = (metrics.top1, metrics.top5, metrics.loss) if metrics else ("", "", "")
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow((epoch, step, rate, train_loss, *validated, round(speed, 1)))


def _log_plan(logger: logging.Logger, recipe: Recipe, network, num_classes: int, loader: Dataset) -> None:
    parameters = sum(parameter.size for parameter in network.trainable_params())
    steps = loader.get_dataset_size()
    logger.info(
        f"{recipe.model.model_name}: {parameters:,} parameters, {num_classes} classes; {recipe.run.epoch_size} epochs "
        f"of {steps} steps of {recipe.loader.batch_size} images; writes to {recipe.run.ckpt_save_dir}"
    )
