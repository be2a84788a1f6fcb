"""Validation: every image once, whatever the batch size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn
from mindspore.dataset import Dataset
from tqdm import tqdm

from ..config.options import Recipe
from ..config.resolve import FITTING_WEIGHTS, resolve
from ..distributed.process_group import ONE_PROCESS, ProcessGroup
from ..errors import UserError
from ..files.path import make_folder
from ..idle_settings import collect_idle
from ..report.pictures import require_matplotlib
from ..report.report import LogitsRecorder, write_report
from ..runs.log import set_logger
from ..runs.metrics import Metrics, MetricsCounter
from ..runtime import to_array
from .batches import check_image_files, count_skipped, find_left_out, find_loaded_images, limit_batches, read_batches
from .labels import ClassNames, find_labels
from .setup import build_network, find_place, make_val_loader, open_val_split, start_device


def validate(recipe: Recipe, report: str | None = None, *, class_names: ClassNames | None = None) -> Metrics:
    """Validate the checkpoint that the recipe names, and write a report into the folder `report` if one is given.

    The recipe may be that of a training run whose head was new: the weights must fit as they are. `class_names` are
    the names of the folders in the order of the labels, or a file of them; engine.labels says what holds without them.
    Raises UserError when there is no checkpoint, when nothing tells the labels of the folders, and for a report that
    cannot be written, before anything runs.
    """
    recipe = resolve(recipe, FITTING_WEIGHTS)
    if not recipe.model.checkpoint_path and not recipe.model.pretrained:
        raise UserError("validation needs weights: give --ckpt_path FILE")
    topology = find_place(recipe.system, needs_launcher=False)
    if report is not None:
        require_matplotlib("--report")
        if topology.size > 1:
            raise UserError(f"--report is made by one process; start it without {topology.launcher}")
    group, device = start_device(recipe.system, topology)
    logger = set_logger(rank=group.rank)
    logger.info(device)
    images = open_val_split(recipe.dataset)
    labels = find_labels(recipe, class_names, images.class_names)
    network = build_network(recipe, len(labels.names), is_training=False)
    with collect_idle() as idle:
        loader = make_val_loader(recipe, images, labels.folders, topology)
    for line in idle:
        logger.info(line)
    if find_left_out(loader):
        logger.info(find_left_out(loader))
    check_image_files(loader)
    recorder = None
    if report is not None:
        folder = make_folder("report", report)
        recorder = LogitsRecorder(len(find_loaded_images(loader).labels))
    for line in labels.describe(recipe, images.class_names):
        logger.info(line)
    metrics = evaluate(
        network,
        loader,
        recipe.loader.batch_size,
        group,
        num_classes=labels.num_named,
        limit=limit_batches(recipe.run, group, "a larger --data_timeout waits longer"),
        record=recorder,
    )
    title = f"{recipe.model.model_name}, {Path(recipe.model.checkpoint_path).name or 'published weights'}"
    logger.info(f"{title}: {metrics}")
    logger.info(str(metrics.as_mindcv()))
    if recorder is not None:
        loaded = find_loaded_images(loader)
        page = write_report(
            folder,
            title=title,
            class_names=labels.names,
            paths=loaded.paths,
            read_image=loaded.read,
            labels=recorder.labels,
            logits=recorder.logits,
            metrics=metrics,
        )
        logger.info(f"report: {page}")
    group.wait()  # all ranks leave together
    return metrics


def evaluate(
    network: nn.Cell,
    loader: Dataset | None,
    batch_size: int,
    group: ProcessGroup = ONE_PROCESS,
    *,
    num_classes: int | None = None,
    limit: Callable[[], AbstractContextManager] = nullcontext,
    record: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> Metrics:
    """Metrics of `network` over the images of all ranks' loaders. It leaves the network in evaluation mode.

    With skip_bad_images, images that cannot be decoded count for nothing, and the metrics say how many there are.
    Raises UserError where no image is left.

    loader: this rank's share; None if it has no image.
    num_classes: how many the network was trained on, where these are fewer than it has.
    limit: the context in which each batch is waited for.
    record: gets the logits (B, classes) and the labels (B,) of each batch in turn.
    """
    network.set_train(False)
    counter = MetricsCounter()
    steps = loader.get_dataset_size() if loader is not None else 0
    hidden = not (group.is_main and sys.stderr.isatty())
    with tqdm(total=steps, desc="validating", unit="batch", disable=hidden) as progress:
        for images, labels in read_batches(loader, limit) if loader is not None else ():
            logits = predict_logits(network, images, batch_size)
            counter.update(logits, labels)
            if record is not None:
                record(logits, labels)
            progress.update()
    total = MetricsCounter(num_classes)
    num_left_out = 0
    for content in group.exchange(np.append(counter.sums(), count_skipped(loader)).tobytes()):
        *sums, left_out = np.frombuffer(content)
        total.add(np.array(sums))
        num_left_out += int(left_out)
    if total.num_images == 0:
        raise UserError(f"validation: none of the {num_left_out} images can be decoded; correct data_dir or val_split")
    return replace(total.result(), num_left_out=num_left_out)


def predict_logits(network: nn.Cell, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits of up to `batch_size` images, float32.

    A smaller batch is filled up, because graph mode would compile the network anew for its shape.
    """
    missing = batch_size - len(images)
    if missing:
        images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    return to_array(network(Tensor(images)))[: batch_size - missing]
