"""Validation: every image once, whatever the batch size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn
from mindspore.dataset import Dataset
from tqdm import tqdm

from ..config import Recipe
from ..errors import UserError
from ..utils.logger import set_logger
from ..utils.metrics import Metrics, MetricsCounter
from .preparation import build_network, check_num_classes, make_val_loader, read_class_names, start_device
from .reading import read_batches


def validate(recipe: Recipe) -> Metrics:
    """Validate the checkpoint that the recipe names. Raises UserError when there is none."""
    logger = set_logger()
    if not recipe.model.checkpoint_path and not recipe.model.pretrained:
        raise UserError("validation needs weights: give --ckpt_path FILE")
    logger.info(start_device(recipe.system))
    class_names = read_class_names(recipe)
    network = build_network(recipe, check_num_classes(recipe, class_names))
    loader = make_val_loader(recipe, class_names)
    metrics = evaluate(network, loader, recipe.loader.batch_size)
    logger.info(f"{recipe.model.model_name}, {Path(recipe.model.checkpoint_path).name}: {metrics}")
    return metrics


def evaluate(network: nn.Cell, loader: Dataset, batch_size: int) -> Metrics:
    """Metrics of `network` over all images of `loader`. It leaves the network in evaluation mode."""
    network.set_train(False)
    counter = MetricsCounter()
    progress = tqdm(total=loader.get_dataset_size(), desc="validating", unit="batch", disable=not sys.stderr.isatty())
    with progress:
        for images, labels in read_batches(loader):
            counter.update(predict_logits(network, images, batch_size), labels)
            progress.update()
    return counter.result()


def predict_logits(network: nn.Cell, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits of up to `batch_size` images.

    A smaller batch is filled up, because graph mode would compile the network anew for its shape.
    """
    missing = batch_size - len(images)
    if missing:
        images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    return network(Tensor(images)).asnumpy()[: batch_size - missing]
