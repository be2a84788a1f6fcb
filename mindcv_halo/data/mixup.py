"""Mixup and CutMix of whole batches, on numpy arrays.

Partners are mirrored: sample i of B is mixed with sample B - 1 - i, so the middle one of an odd batch stays itself.
Sources: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899; modes and defaults as in timm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import UserError, unknown_name

Rectangle = tuple[int, int, int, int]  # top, bottom, left, right in pixels, ends excluded


def one_hot(x: np.ndarray, num_classes: int, on_value: float = 1.0, off_value: float = 0.0) -> np.ndarray:
    """Labels (batch,) or (batch, 1) -> float32 (batch, num_classes)."""
    x = np.reshape(x, -1)
    table = np.full((len(x), num_classes), off_value, np.float32)
    table[np.arange(len(x)), x] = on_value
    return table


def mixup_target(target: np.ndarray, num_classes: int, lam: float | np.ndarray = 1.0, smoothing: float = 0.0):
    """Labels -> float32 (batch, num_classes): `lam` of each sample's own class, 1 - lam of its partner's.

    target: whole numbers (batch,) or (batch, 1), or one-hot or other shares of the classes, (batch, num_classes).
    lam: one number, or one for each sample, shape (batch, 1). Smoothing spreads that share over all classes.
    """
    off_value = smoothing / num_classes
    if target.ndim == 2 and target.shape[1] > 1:
        own = target * np.float32(1.0 - smoothing) + np.float32(off_value)
    else:
        own = one_hot(target, num_classes, on_value=1.0 - smoothing + off_value, off_value=off_value)
    return (own * lam + own[::-1] * (1.0 - lam)).astype(np.float32)


def rand_bbox(
    img_shape: Sequence[int],
    lam: float,
    margin: float = 0.0,
    count: int | None = None,
    rng: np.random.Generator | None = None,
):
    """A random box that covers 1 - lam of an image (..., height, width) before it is cut off at the border.

    margin: how far its centre stays from the border, as a share of the box. With `count`, arrays of that many boxes.
    Returns top, bottom, left, right.
    """
    rng = rng or _default_generator()
    spans = []
    for length in img_shape[-2:]:
        cut = int(length * math.sqrt(1 - lam))
        gap = int(margin * cut)
        centre = rng.integers(gap, length - gap, size=count)
        spans += [np.clip(centre - cut // 2, 0, length), np.clip(centre + cut // 2, 0, length)]
    return tuple(spans)


def rand_bbox_minmax(
    img_shape: Sequence[int],
    minmax: tuple[float, float],
    count: int | None = None,
    rng: np.random.Generator | None = None,
):
    """A random box inside an image (..., height, width) whose sides are between minmax[0] and minmax[1] of the image's.

    Returns top, bottom, left, right; with `count`, arrays of that many boxes.
    """
    rng = rng or _default_generator()
    spans = []
    for length in img_shape[-2:]:
        shortest, longest = int(length * minmax[0]), int(length * minmax[1])
        cut = rng.integers(shortest, max(longest, shortest + 1), size=count)
        start = rng.integers(0, length - cut, size=count)
        spans += [start, start + cut]
    return tuple(spans)


def cutmix_bbox_and_lam(
    img_shape: Sequence[int],
    lam: float,
    ratio_minmax: tuple[float, float] | None = None,
    correct_lam: bool = True,
    count: int | None = None,
    rng: np.random.Generator | None = None,
):
    """A box, and the share of the image that it leaves: exact if `correct_lam`, else the `lam` that was asked for."""
    if ratio_minmax is not None:
        box = rand_bbox_minmax(img_shape, ratio_minmax, count=count, rng=rng)
    else:
        box = rand_bbox(img_shape, lam, count=count, rng=rng)
    if correct_lam or ratio_minmax is not None:
        top, bottom, left, right = box
        lam = 1.0 - (bottom - top) * (right - left) / float(img_shape[-2] * img_shape[-1])
    return box, lam


class Mixup:
    """Mix the samples of a batch by Mixup, CutMix, or either in turn.

    mixup_alpha, cutmix_alpha: of lam's Beta distribution, 0 for off; with both on, `switch_prob` is CutMix's share.
    prob: how likely a batch (or element, or pair) is mixed at all. cutmix_minmax: bounds for the sides of the box,
    as shares of the image's, instead of a box of area 1 - lam.
    mode: "batch" draws one lam for all samples, "pair" one for each pair of partners, "elem" one for each sample.
    Shapes: images (batch, channels, height, width) float32, labels (batch,) or one-hot (batch, num_classes) -> the
    same, and (batch, num_classes).
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: tuple[float, float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
    ):
        if mode not in ("batch", "pair", "elem"):
            raise unknown_name("mixup mode", mode, ("batch", "pair", "elem"))
        if cutmix_minmax is not None and cutmix_alpha == 0:
            cutmix_alpha = 1.0  # the bounds replace it, but they say that CutMix is wanted
        if mixup_alpha < 0 or cutmix_alpha < 0 or mixup_alpha + cutmix_alpha == 0:
            raise UserError(
                f"mixup={mixup_alpha} and cutmix={cutmix_alpha} must not be negative, and one of them must be above 0"
            )
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.cutmix_minmax = cutmix_minmax
        self.prob = prob
        self.switch_prob = switch_prob
        self.mode = mode
        self.correct_lam = correct_lam
        self.label_smoothing = label_smoothing
        self.num_classes = num_classes

    def __call__(self, x: np.ndarray, target: np.ndarray, rng: np.random.Generator | None = None):
        mixed = np.array(x)
        return mixed, self.mix(mixed, target, rng)

    def mix(self, images: np.ndarray, target: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Mix `images` in place, and return the mixed labels."""
        rng = rng or _default_generator()
        batch = len(images)
        lam: float | np.ndarray = np.ones((batch, 1))
        if self.mode == "batch":
            lam = self._mix_all(images, rng)
        elif self.mode == "pair":
            for first in range(batch // 2):
                pair = [first, batch - 1 - first]
                mixed = images[pair]
                lam[pair] = self._mix_all(mixed, rng)
                images[pair] = mixed
        else:
            originals = images.copy()
            for index in range(batch):
                mixed = originals[[index, batch - 1 - index]]
                lam[index] = self._mix_all(mixed, rng)
                images[index] = mixed[0]
        return mixup_target(target, self.num_classes, lam, self.label_smoothing)

    def _mix_all(self, images: np.ndarray, rng: np.random.Generator) -> float:
        """Mix mirrored partners of `images` in place, all with the same lam, and return it."""
        if rng.random() >= self.prob:
            return 1.0
        use_cutmix = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or rng.random() < self.switch_prob)
        alpha = self.cutmix_alpha if use_cutmix else self.mixup_alpha
        lam = float(rng.beta(alpha, alpha))
        if use_cutmix:
            box, lam = cutmix_bbox_and_lam(images.shape, lam, self.cutmix_minmax, self.correct_lam, rng=rng)
        for first in range(len(images) // 2):  # pair by pair: two images fit into the processor's cache
            one, other = images[first], images[-1 - first]
            if use_cutmix:
                _swap_box(one, other, box)
            else:
                _blend(one, other, lam)
        return lam


def _swap_box(one: np.ndarray, other: np.ndarray, box: Rectangle) -> None:
    top, bottom, left, right = box
    inside = np.s_[..., top:bottom, left:right]
    kept = one[inside].copy()
    one[inside] = other[inside]
    other[inside] = kept


def _blend(one: np.ndarray, other: np.ndarray, lam: float) -> None:
    share = (other - one) * one.dtype.type(1.0 - lam)
    one += share
    other -= share


def _default_generator() -> np.random.Generator:
    """A generator that follows numpy's global seed."""
    return np.random.default_rng(np.random.randint(2**31))
