"""What happens to whole batches: erasing, normalisation and mixing.

Normalising a batch and not its images lets bytes travel through the pipeline's queues, a quarter of what floats take.
Erasing there spares minddata a call into Python for each image, which costs more than the erasing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mindspore.dataset.vision as vision
import numpy as np

from .keyed_transform import KeyedTransform, make_generator
from .mixup import Mixup
from .random_erasing import RandomErasing

_MIX_STREAM = 1 << 16  # far from the numbers of the transforms of single samples


class BatchNormalisation:
    """What HWC2CHW and Normalize(mean, std) make of each image, to the bit, for a batch of them.

    Shapes: (batch, height, width, channels) -> (batch, channels, height, width) float32.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean = np.array(mean, np.float32).reshape(-1, 1, 1)
        self.std = np.array(std, np.float32).reshape(-1, 1, 1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        batch, height, width, channels = images.shape
        result = np.empty((batch, channels, height, width), np.float32)
        for image, normalised in zip(images, result, strict=True):  # one image fits into the processor's cache
            np.subtract(image.transpose(2, 0, 1), self.mean, out=normalised)
            np.divide(normalised, self.std, out=normalised)
        return result


class KeyedMixing:
    """A Mixup as a minddata operator: (images, labels, sample_keys) -> (images, labels); the first key is the seed.

    `normalise` makes the array that is mixed in place.
    """

    def __init__(self, mixup: Mixup, normalise: Callable[[np.ndarray], np.ndarray]):
        self.mixup = mixup
        self.normalise = normalise

    def __call__(self, images: np.ndarray, labels: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mixed = self.normalise(images)
        return mixed, self.mixup.mix(mixed, labels, make_generator(keys[0], _MIX_STREAM))


class BatchErasing:
    """What `erasing` makes of each image as its `number`-th random transform, to the bit, for a batch of them.

    A minddata operator: (images, sample_keys) -> (images, sample_keys).
    """

    def __init__(self, erasing: RandomErasing, number: int):
        self.erasing = erasing
        self.number = number

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        erased = np.array(images)
        for image, key in zip(erased, keys, strict=True):
            self.erasing.erase(image, make_generator(key, self.number))
        return erased, keys


def split_erasing(transforms: list) -> tuple[list, BatchErasing | None]:
    """`transforms` without the RandomErasing that ends them, and what does the same to a batch; else None."""
    if not transforms or type(transforms[-1]) is not RandomErasing:  # one of the user's own may do something else
        return transforms, None
    *others, last = transforms
    return others, BatchErasing(last, sum(isinstance(transform, KeyedTransform) for transform in others))


def split_normalisation(transforms: list) -> tuple[list, BatchNormalisation | None]:
    """`transforms` without the HWC2CHW and Normalize that end them, and what does the same to a batch; else None."""
    *others, move, normalise = [None, None, *transforms]
    if not (isinstance(move, vision.HWC2CHW) and isinstance(normalise, vision.Normalize)) or normalise.is_hwc:
        return transforms, None
    return others[2:], BatchNormalisation(normalise.mean, normalise.std)
