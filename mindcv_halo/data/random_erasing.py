"""Random erasing on 8-bit images, before normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from .bounds import check_probabilities, check_ratios, check_shares
from .constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from .keyed_transform import KeyedTransform


class RandomErasing(KeyedTransform):
    """With probability `prob`, overwrite one random box of an image (height, width, channels) uint8.

    scale: bounds of the box's share of the area. ratio: bounds of its height / width, drawn on a log scale.
    value: what the box holds after normalisation by `mean` and `std`: one number, one for each channel, or "random"
        for normal noise. As the image has 8 bits it is met to half a grey level, and cut off at black and white;
        0 is the mean colour.
    max_attempts: boxes tried; if none fits into the image, nothing is erased.
    Raises UserError for values that cannot be, and for an image that is none of these.
    Source: Zhong et al. 2017, arXiv:1708.04896.
    """

    def __init__(
        self,
        prob: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
        max_attempts: int = 10,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
    ):
        if isinstance(value, str) and value != "random":
            raise UserError(f"re_value={value!r} must be a number, one number for each channel, or 'random'")
        if not isinstance(value, str) and np.size(value) not in (1, len(mean)):
            raise UserError(f"re_value={value!r} must be one number, or {len(mean)}, one for each channel")
        check_probabilities(re_prob=prob)
        check_shares(re_scale=scale)
        check_ratios(re_ratio=ratio)
        if len(mean) != len(std):
            raise UserError(f"mean {tuple(mean)} and std {tuple(std)} must have a number for each channel")
        if max_attempts < 1:
            raise UserError(f"re_max_attempts={max_attempts} must be at least 1; re_prob 0 turns erasing off")
        self.prob = prob
        self.scale = tuple(scale)
        self.log_ratio = tuple(math.log(bound) for bound in ratio)
        self.max_attempts = max_attempts
        self.mean = np.asarray(mean, np.float32)
        self.std = np.asarray(std, np.float32)
        self.colour = None if isinstance(value, str) else self._to_pixels(np.asarray(value, np.float32))

    def check(self, shape: Sequence[int], kind: np.dtype) -> None:
        """Raises UserError for an image of this shape and type, if it cannot be erased."""
        channels = len(self.mean)
        if kind != np.uint8 or len(shape) != 3 or shape[2] != channels:
            raise UserError(
                f"RandomErasing is for bytes of shape (height, width, {channels}), and the image has the type {kind} "
                f"and the shape {tuple(shape)}; put it before HWC2CHW and Normalize, with a mean for each channel"
            )

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self.check(image.shape, image.dtype)
        box = self._draw_box(*image.shape[:2], rng)
        if box is None:
            return image
        image = np.array(image)
        self._fill(image[box], rng)
        return image

    def erase(self, image: np.ndarray, rng: np.random.Generator) -> None:
        """What `apply` does, in place."""
        self.check(image.shape, image.dtype)
        box = self._draw_box(*image.shape[:2], rng)
        if box is not None:
            self._fill(image[box], rng)

    def _draw_box(self, height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice] | None:
        if rng.random() >= self.prob:
            return None
        for _ in range(self.max_attempts):
            area = rng.uniform(*self.scale) * height * width
            ratio = math.exp(rng.uniform(*self.log_ratio))
            box_height, box_width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if box_height < height and box_width < width:
                top, left = rng.integers(height - box_height + 1), rng.integers(width - box_width + 1)
                return np.s_[top : top + box_height, left : left + box_width]
        return None

    def _fill(self, inside: np.ndarray, rng: np.random.Generator) -> None:
        if self.colour is not None:
            inside[...] = self.colour
        else:
            inside[...] = self._to_pixels(rng.standard_normal(inside.shape, np.float32))

    def _to_pixels(self, normalised: np.ndarray) -> np.ndarray:
        return np.rint(self.mean + self.std * normalised).clip(0, 255).astype(np.uint8)
