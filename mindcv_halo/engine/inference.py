"""Prediction: the likeliest classes of image files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Recipe
from ..data import IMAGE_EXTENSIONS, read_decodable
from ..errors import UserError
from .evaluation import predict_logits
from .preparation import build_network, find_place, make_transforms, read_class_names, start_device


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first, with their probabilities."""

    path: Path
    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(recipe: Recipe, image_path: str, top_k: int = 5) -> Iterator[Prediction]:
    """Predict an image file, or all that lie in a folder and below it, in the order of their paths.

    Classes have the names of the training run where they lie beside the checkpoint, else their numbers.
    Raises UserError for a missing checkpoint, a path without images, and an image that cannot be decoded.
    """
    checkpoint = recipe.model.checkpoint_path
    if not checkpoint and not recipe.model.pretrained:
        raise UserError("prediction needs weights: give --ckpt_path FILE")
    if recipe.loader.batch_size < 1:
        raise UserError(f"batch_size {recipe.loader.batch_size} must be at least 1")
    topology = find_place(recipe.system)
    if topology.size > 1:
        raise UserError(f"prediction runs in one process; start infer.py without {topology.launcher}")
    paths = _list_images(Path(image_path))
    names = read_class_names(checkpoint)
    num_classes = len(names) if names else recipe.model.num_classes or 1000
    names = names or [str(label) for label in range(num_classes)]

    start_device(recipe.system, topology)
    network = build_network(recipe, num_classes, is_training=False)
    network.set_train(False)
    transforms = make_transforms(recipe, is_training=False)
    batch_size = min(recipe.loader.batch_size, len(paths))
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        images = np.stack([_read_image(path, transforms) for path in batch])
        for path, logits in zip(batch, predict_logits(network, images, batch_size), strict=True):
            yield _rank(path, logits, names, top_k)


def _list_images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_EXTENSIONS)
    if not found:
        raise UserError(f"image_path {path}: no image there; give a file or a folder of {' '.join(IMAGE_EXTENSIONS)}")
    return found


def _read_image(path: Path, transforms: list) -> np.ndarray:
    image = np.frombuffer(read_decodable(str(path)), np.uint8)
    try:
        for transform in transforms:
            image = transform(image)
    except RuntimeError as error:  # bytes that only the decoder itself can refuse
        raise UserError(f"bad image file {path}: it cannot be decoded; repair it, or move it away") from error
    return image


def _rank(path: Path, logits: np.ndarray, names: list[str], top_k: int) -> Prediction:
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[:top_k]
    return Prediction(path, tuple(names[label] for label in best), tuple(float(shares[label]) for label in best))
