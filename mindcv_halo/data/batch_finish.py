"""What happens to whole batches: normalisation and mixing.

Normalising a batch and not its images lets bytes travel through the pipeline's queues, a quarter of what floats take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mindspore.dataset.vision as vision
import numpy as np

from .mixup import Mixup

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
        rng = np.random.default_rng([*keys[0].tolist(), _MIX_STREAM])
        mixed = self.normalise(images)
        return mixed, self.mixup.mix(mixed, labels, rng)


def split_normalisation(transforms: list) -> tuple[list, BatchNormalisation | None]:
    """`transforms` without the HWC2CHW and Normalize that end them, and what does the same to a batch; else None."""
    *others, move, normalise = [None, None, *transforms]
    if not (isinstance(move, vision.HWC2CHW) and isinstance(normalise, vision.Normalize)) or normalise.is_hwc:
        return transforms, None
    return others[2:], BatchNormalisation(normalise.mean, normalise.std)
