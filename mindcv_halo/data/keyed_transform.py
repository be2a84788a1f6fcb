"""Random Python transforms whose draws follow from the sample's key, not from which thread meets the sample when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class KeyedTransform(ABC):
    """A random transform of one image: `apply` draws only from the generator that it is given.

    create_loader calls it with the sample's key. Called with an image alone, in a pipeline without keys, it draws its
    seed from numpy's global generator.
    """

    def __call__(self, image):
        return self.apply(image, np.random.default_rng(np.random.randint(2**31)))

    @abstractmethod
    def apply(self, image, rng: np.random.Generator): ...


def make_generator(key: np.ndarray, number: int) -> np.random.Generator:
    """What the `number`-th random transform draws from for the sample of this key, int64 [seed, epoch, sample]."""
    return np.random.default_rng([*key.tolist(), number])


class KeyedChain:
    """Several KeyedTransforms as one minddata operator: (image, sample_key) -> (image, sample_key).

    `first` numbers the first of them; transforms that must draw differently on one sample need different numbers.
    """

    def __init__(self, transforms: Sequence[KeyedTransform], first: int = 0):
        self.transforms = list(transforms)
        self.first = first

    def __call__(self, image: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for number, transform in enumerate(self.transforms, self.first):
            image = transform.apply(image, make_generator(key, number))
        return image, key
