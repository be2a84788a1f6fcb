"""Automatic augmentation policies on Pillow images: AutoAugment, RandAugment, TrivialAugmentWide, AugMix.

Policies are written as in timm: a name and its settings, joined by "-", such as "randaug-m9-n2-mstd0.5-inc1".
Magnitudes are levels on a scale of 0 to 10 and mean what they mean in timm; TrivialAugmentWide has the paper's own.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ..errors import UserError, unknown_name
from .keyed_transform import KeyedTransform

MAX_LEVEL = 10.0
_GREY = (128, 128, 128)
_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class AugmentSettings:
    """What the operations of a policy share; `hparams` arguments are mappings with some of these names.

    translate_const: pixels that TranslateX and TranslateY move at full level. translate_pct: share of the image's side
    for TranslateXRel and TranslateYRel. img_mean: colour of what a geometric operation uncovers. interpolation: a
    Pillow filter, or None for bilinear and bicubic in turn. magnitude_std: of the normal noise on a level; infinity
    draws it evenly from 0 up to the level. magnitude_max: the noise is cut off there.
    """

    translate_const: float = 250
    translate_pct: float = 0.45
    img_mean: tuple[int, ...] = _GREY
    interpolation: Image.Resampling | None = None
    magnitude_std: float = 0.0
    magnitude_max: float = MAX_LEVEL


# Operations on a Pillow image. What a geometric one uncovers gets `fillcolor`.


def shear_x(img, shear: float, *, resample=_BILINEAR, fillcolor=_GREY):
    return _affine(img, (1, shear, 0, 0, 1, 0), resample, fillcolor)


def shear_y(img, shear: float, *, resample=_BILINEAR, fillcolor=_GREY):
    return _affine(img, (1, 0, 0, shear, 1, 0), resample, fillcolor)


def translate_x(img, translate: float, *, resample=_BILINEAR, fillcolor=_GREY):
    """Move by `translate` pixels to the left."""
    return _affine(img, (1, 0, translate, 0, 1, 0), resample, fillcolor)


def translate_y(img, translate: float, *, resample=_BILINEAR, fillcolor=_GREY):
    """Move by `translate` pixels upwards."""
    return _affine(img, (1, 0, 0, 0, 1, translate), resample, fillcolor)


def rotate(img, degrees: float, *, resample=_BILINEAR, fillcolor=_GREY):
    return img.rotate(degrees, resample=resample, fillcolor=fillcolor)


def auto_contrast(img):
    return ImageOps.autocontrast(img)


def invert(img):
    return ImageOps.invert(img)


def equalize(img):
    return ImageOps.equalize(img)


def solarize(img, thresh: int):
    """Invert the values from `thresh` on; 256 changes nothing."""
    return ImageOps.solarize(img, thresh)


def solarize_add(img, add: int, thresh: int = 128):
    """Add `add` to the values below `thresh`."""
    table = [min(255, value + add) if value < thresh else value for value in range(256)]
    return img.point(table * len(img.getbands()))


def posterize(img, bits_to_keep: int):
    """Keep the upper bits of each value: 8 changes nothing, and 0 keeps one bit (no bit would be a black image)."""
    return img if bits_to_keep >= 8 else ImageOps.posterize(img, max(1, bits_to_keep))


def contrast(img, factor: float):
    return ImageEnhance.Contrast(img).enhance(factor)


def color(img, factor: float):
    return ImageEnhance.Color(img).enhance(factor)


def brightness(img, factor: float):
    return ImageEnhance.Brightness(img).enhance(factor)


def sharpness(img, factor: float):
    return ImageEnhance.Sharpness(img).enhance(factor)


def gaussian_blur_rand(img, factor: float, *, rng: np.random.Generator):
    """Blur with a radius drawn from between 0.1 and 2 * factor pixels."""
    return img.filter(ImageFilter.GaussianBlur(radius=0.1 + (2.0 * factor - 0.1) * rng.random()))


def desaturate(img, factor: float):
    """Take away the share `factor` of the colour."""
    return color(img, min(1.0, max(0.0, 1.0 - factor)))


def _affine(img, matrix: tuple, resample, fillcolor):
    return img.transform(img.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fillcolor)


# From a level in 0..10 and a sign, +1 or -1, to the operation's argument; None for operations without one.

Argument = Callable[[float, int, AugmentSettings], float]


def _signed(full: float) -> Argument:
    return lambda level, sign, _: sign * level / MAX_LEVEL * full


def _enhance(level: float, sign: int, _: AugmentSettings) -> float:
    return level / MAX_LEVEL * 1.8 + 0.1


def _enhance_increasing(level: float, sign: int, _: AugmentSettings) -> float:
    return max(0.1, 1.0 + sign * level / MAX_LEVEL * 0.9)


def _translate_absolute(level: float, sign: int, settings: AugmentSettings) -> float:
    return sign * level / MAX_LEVEL * settings.translate_const


def _translate_relative(level: float, sign: int, settings: AugmentSettings) -> float:
    return sign * level / MAX_LEVEL * settings.translate_pct


def _posterize(level: float, sign: int, _: AugmentSettings) -> int:
    return int(level / MAX_LEVEL * 4)


def _posterize_increasing(level: float, sign: int, settings: AugmentSettings) -> int:
    return 4 - _posterize(level, sign, settings)


def _posterize_original(level: float, sign: int, settings: AugmentSettings) -> int:
    return 4 + _posterize(level, sign, settings)


def _solarize(level: float, sign: int, _: AugmentSettings) -> int:
    return min(256, int(level / MAX_LEVEL * 256))


def _solarize_increasing(level: float, sign: int, settings: AugmentSettings) -> int:
    return 256 - _solarize(level, sign, settings)


def _solarize_add(level: float, sign: int, _: AugmentSettings) -> int:
    return min(128, int(level / MAX_LEVEL * 110))


def _between(low: float, high: float) -> Argument:
    return lambda level, sign, _: low + (high - low) * min(level / MAX_LEVEL, 1.0)


@dataclass(frozen=True)
class _Operation:
    function: Callable
    argument: Argument | None = None
    geometric: bool = False  # takes resample and fillcolor
    relative: int | None = None  # the argument is a share of the width (0) or the height (1)
    draws: bool = False  # takes the generator


_OPERATIONS = {
    "AutoContrast": _Operation(auto_contrast),
    "Equalize": _Operation(equalize),
    "Invert": _Operation(invert),
    "Rotate": _Operation(rotate, _signed(30.0), geometric=True),
    "Posterize": _Operation(posterize, _posterize),
    "PosterizeIncreasing": _Operation(posterize, _posterize_increasing),
    "PosterizeOriginal": _Operation(posterize, _posterize_original),
    "Solarize": _Operation(solarize, _solarize),
    "SolarizeIncreasing": _Operation(solarize, _solarize_increasing),
    "SolarizeAdd": _Operation(solarize_add, _solarize_add),
    "Color": _Operation(color, _enhance),
    "ColorIncreasing": _Operation(color, _enhance_increasing),
    "Contrast": _Operation(contrast, _enhance),
    "ContrastIncreasing": _Operation(contrast, _enhance_increasing),
    "Brightness": _Operation(brightness, _enhance),
    "BrightnessIncreasing": _Operation(brightness, _enhance_increasing),
    "Sharpness": _Operation(sharpness, _enhance),
    "SharpnessIncreasing": _Operation(sharpness, _enhance_increasing),
    "ShearX": _Operation(shear_x, _signed(0.3), geometric=True),
    "ShearY": _Operation(shear_y, _signed(0.3), geometric=True),
    "TranslateX": _Operation(translate_x, _translate_absolute, geometric=True),
    "TranslateY": _Operation(translate_y, _translate_absolute, geometric=True),
    "TranslateXRel": _Operation(translate_x, _translate_relative, geometric=True, relative=0),
    "TranslateYRel": _Operation(translate_y, _translate_relative, geometric=True, relative=1),
    "Desaturate": _Operation(desaturate, _between(0.5, 1.0)),
    "GaussianBlurRand": _Operation(gaussian_blur_rand, _between(0.0, 1.0), draws=True),
}

# TrivialAugmentWide has wider ranges: Mueller, Hutter 2021, arXiv:2103.10158, table 1.
_WIDE_OPERATIONS = {
    "Identity": _Operation(lambda img: img),
    "AutoContrast": _Operation(auto_contrast),
    "Equalize": _Operation(equalize),
    "ShearX": _Operation(shear_x, _signed(0.99), geometric=True),
    "ShearY": _Operation(shear_y, _signed(0.99), geometric=True),
    "TranslateX": _Operation(translate_x, _signed(32.0), geometric=True),
    "TranslateY": _Operation(translate_y, _signed(32.0), geometric=True),
    "Rotate": _Operation(rotate, _signed(135.0), geometric=True),
    "Color": _Operation(color, lambda level, sign, _: 1.0 + sign * level / MAX_LEVEL * 0.99),
    "Contrast": _Operation(contrast, lambda level, sign, _: 1.0 + sign * level / MAX_LEVEL * 0.99),
    "Brightness": _Operation(brightness, lambda level, sign, _: 1.0 + sign * level / MAX_LEVEL * 0.99),
    "Sharpness": _Operation(sharpness, lambda level, sign, _: 1.0 + sign * level / MAX_LEVEL * 0.99),
    "Posterize": _Operation(posterize, lambda level, sign, _: 8 - round(level / MAX_LEVEL * 6)),
    "Solarize": _Operation(solarize, lambda level, sign, _: round(255 * (1 - level / MAX_LEVEL))),
}


class PillowTransform(KeyedTransform):
    """A random transform of a Pillow image that also takes, and then returns, an array (height, width, 3) uint8."""

    def apply(self, image, rng: np.random.Generator):
        if isinstance(image, np.ndarray):
            return np.asarray(self.augment(Image.fromarray(image), rng))
        return self.augment(image, rng)

    @abstractmethod
    def augment(self, image, rng: np.random.Generator): ...


class AugmentOp(PillowTransform):
    """One operation, done with probability `prob` at level `magnitude` (0 to 10) plus the noise of the settings."""

    def __init__(self, name: str, prob: float = 0.5, magnitude: float = 10, hparams: Mapping | None = None):
        if name not in _OPERATIONS:
            raise unknown_name("augmentation", name, _OPERATIONS)
        self.name = name
        self.operation = _OPERATIONS[name]
        self.prob = prob
        self.magnitude = magnitude
        self.settings = _settings(hparams)

    def augment(self, image, rng: np.random.Generator):
        if self.prob < 1.0 and rng.random() > self.prob:
            return image
        return _perform(self.operation, image, self.draw_level(rng), self.settings, rng)

    def draw_level(self, rng: np.random.Generator) -> float:
        level, settings = self.magnitude, self.settings
        if math.isinf(settings.magnitude_std):
            level = rng.uniform(0, level)
        elif settings.magnitude_std > 0:
            level = rng.normal(level, settings.magnitude_std)
        return max(0.0, min(level, settings.magnitude_max))


def _perform(operation: _Operation, image, level: float, settings: AugmentSettings, rng: np.random.Generator):
    arguments, keywords = [], {}
    if operation.argument is not None:
        argument = operation.argument(level, 1 if rng.random() < 0.5 else -1, settings)
        arguments.append(argument if operation.relative is None else argument * image.size[operation.relative])
    if operation.geometric:
        either = _BILINEAR if rng.random() < 0.5 else _BICUBIC
        keywords = {"resample": settings.interpolation or either, "fillcolor": settings.img_mean}
    if operation.draws:
        keywords = {"rng": rng}
    return operation.function(image, *arguments, **keywords)


def _settings(hparams: Mapping | None) -> AugmentSettings:
    try:
        return AugmentSettings(**(hparams or {}))
    except TypeError:
        wrong = next(name for name in hparams if name not in AugmentSettings.__dataclass_fields__)
        raise unknown_name("augmentation setting", wrong, AugmentSettings.__dataclass_fields__) from None


# AutoAugment: Cubuk et al. 2019, arXiv:1805.09501, the ImageNet policy: 25 pairs of (operation, probability, level).
# "Posterize" is filled in below: the paper's code counts kept bits up from 4, so a higher level changes less.
_IMAGENET_POLICY = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)
# 3-Augment: Touvron et al. 2022, arXiv:2204.07118: one of three, always.
_3A_POLICY = ((("Solarize", 1.0, 5),), (("Desaturate", 1.0, 10),), (("GaussianBlurRand", 1.0, 10),))

Policy = list[list[AugmentOp]]


def auto_augment_policy_posterize_original(hparams: Mapping | None = None) -> Policy:
    """The ImageNet policy as its authors ran it: Posterize keeps 4 bits at level 0, and 8 at level 10."""
    return _build_policy(_IMAGENET_POLICY, "PosterizeOriginal", hparams)


def auto_augment_policy_posterize_increasing(hparams: Mapping | None = None) -> Policy:
    """The ImageNet policy with a Posterize that grows stronger with its level."""
    return _build_policy(_IMAGENET_POLICY, "PosterizeIncreasing", hparams)


def auto_augment_policy_3a(hparams: Mapping | None = None) -> Policy:
    return _build_policy(_3A_POLICY, "Posterize", hparams)


_POLICIES = {
    "autoaug": auto_augment_policy_posterize_original,
    "autoaugr": auto_augment_policy_posterize_increasing,
    "3a": auto_augment_policy_3a,
}


def auto_augment_policy(name: str = "autoaug", hparams: Mapping | None = None) -> Policy:
    """The sub-policies called "autoaug", "autoaugr" or "3a"."""
    if name not in _POLICIES:
        raise unknown_name("AutoAugment policy", name, _POLICIES)
    return _POLICIES[name](hparams)


def _build_policy(table: Iterable, posterize_name: str, hparams: Mapping | None) -> Policy:
    def build(name: str, prob: float, level: float) -> AugmentOp:
        return AugmentOp(posterize_name if name == "Posterize" else name, prob, level, hparams)

    return [[build(*step) for step in sub_policy] for sub_policy in table]


class AutoAugment(PillowTransform):
    """Do one of the sub-policies, all equally likely: its operations in order, each with its own probability."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def augment(self, image, rng: np.random.Generator):
        for operation in self.policy[rng.integers(len(self.policy))]:
            image = operation.augment(image, rng)
        return image


# RandAugment: Cubuk et al. 2020, arXiv:1909.13719; the increasing variants and the weights are timm's.
_RAND_OPERATIONS = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
    "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
)  # fmt: skip
_RAND_WEIGHTS = (
    0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005,
    0.005, 0.025, 0.2, 0.2, 0.1, 0.1,
)  # fmt: skip
_GROWING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")


def _increasing(names: Iterable[str]) -> list[str]:
    return [name + "Increasing" if name in _GROWING else name for name in names]


def rand_augment_ops(
    magnitude: float = 10, hparams: Mapping | None = None, transforms: Sequence[str] | None = None
) -> list[AugmentOp]:
    """The operations of RandAugment, or those named by `transforms`, each done half of the times it is chosen."""
    return [AugmentOp(name, 0.5, magnitude, hparams) for name in transforms or _RAND_OPERATIONS]


class RandAugment(PillowTransform):
    """Do `num_layers` of the operations in turn: any of them each time, or different ones if there are weights."""

    def __init__(self, ops: Sequence[AugmentOp], num_layers: int = 2, choice_weights: Sequence[float] | None = None):
        self.ops = list(ops)
        self.num_layers = num_layers
        self.choice_weights = None if choice_weights is None else np.array(choice_weights) / np.sum(choice_weights)

    def augment(self, image, rng: np.random.Generator):
        if self.choice_weights is None:
            chosen = rng.integers(len(self.ops), size=self.num_layers)
        else:
            chosen = rng.choice(len(self.ops), self.num_layers, replace=False, p=self.choice_weights)
        for index in chosen:
            image = self.ops[index].augment(image, rng)
        return image


class _WideOp(PillowTransform):
    """One operation of TrivialAugmentWide, at one of `bins` evenly spaced levels."""

    def __init__(self, name: str, bins: int, settings: AugmentSettings):
        self.name = name
        self.operation = _WIDE_OPERATIONS[name]
        self.bins = bins
        self.settings = settings

    def augment(self, image, rng: np.random.Generator):
        level = MAX_LEVEL * rng.integers(self.bins) / (self.bins - 1)
        return _perform(self.operation, image, level, self.settings, rng)


def trivial_augment_wide_ops(
    magnitude: int = 31, hparams: Mapping | None = None, transforms: Sequence[str] | None = None
) -> list[PillowTransform]:
    """The operations of TrivialAugmentWide, or those named by `transforms`; `magnitude` is the number of levels."""
    if magnitude < 2:
        raise UserError(f"TrivialAugmentWide: m{magnitude} is the number of levels and must be at least 2; use m31")
    names = transforms or tuple(_WIDE_OPERATIONS)
    for name in names:
        if name not in _WIDE_OPERATIONS:
            raise unknown_name("TrivialAugmentWide operation", name, _WIDE_OPERATIONS)
    return [_WideOp(name, magnitude, _settings(hparams)) for name in names]


class TrivialAugmentWide(PillowTransform):
    """Do one of the operations, all equally likely, at a random level."""

    def __init__(self, ops: Sequence[PillowTransform]):
        self.ops = list(ops)

    def augment(self, image, rng: np.random.Generator):
        return self.ops[rng.integers(len(self.ops))].augment(image, rng)


# AugMix: Hendrycks et al. 2020, arXiv:1912.02781; as in timm, with four enhancements that the paper keeps for its test.
_AUGMIX_OPERATIONS = (
    "AutoContrast", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing",
    "Equalize", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "ShearX", "ShearY", "TranslateXRel",
    "TranslateYRel",
)  # fmt: skip


def augmix_ops(
    magnitude: float = 10, hparams: Mapping | None = None, transforms: Sequence[str] | None = None
) -> list[AugmentOp]:
    """The operations of AugMix, or those named by `transforms`, done each time they are chosen."""
    return [AugmentOp(name, 1.0, magnitude, hparams) for name in transforms or _AUGMIX_OPERATIONS]


class AugMixAugment(PillowTransform):
    """Blend an image with a mixture of `width` chains of operations.

    Shares: Dirichlet(alpha) among the chains, Beta(alpha, alpha) for the mixture against the image. Every chain has
    `depth` operations, or 1 to 3 if depth is not positive.
    """

    def __init__(self, ops: Sequence[AugmentOp], alpha: float = 1.0, width: int = 3, depth: int = -1):
        self.ops = list(ops)
        self.alpha = alpha
        self.width = width
        self.depth = depth

    def augment(self, image, rng: np.random.Generator):
        shares = rng.dirichlet([self.alpha] * self.width)
        share_of_mixture = rng.beta(self.alpha, self.alpha)
        mixture = np.zeros((image.height, image.width, 3), np.float32)
        for share in shares:
            chain = image
            for _ in range(self.depth if self.depth > 0 else rng.integers(1, 4)):
                chain = self.ops[rng.integers(len(self.ops))].augment(chain, rng)
            mixture += np.float32(share) * np.asarray(chain, np.float32)
        mixed = Image.fromarray(np.clip(mixture, 0, 255).astype(np.uint8))
        return Image.blend(image, mixed, share_of_mixture)


# The notation: a name, then settings of letters and a number.


def _parse(configs: str, names: Sequence[str], known: Sequence[str]) -> dict[str, float]:
    """The settings of "name-key1-key2...", for instance {"m": 9.0, "n": 2.0}.

    Raises UserError for another name than `names`, an unknown or repeated key, and a value that is no number >= 0.
    """
    name, *parts = configs.split("-")
    if name not in names:
        raise unknown_name("auto_augment policy", name, names)
    settings: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d*\.?\d+|inf)", part)
        if not match:
            raise UserError(
                f"auto_augment={configs!r}: {part!r} is no setting; write letters and a number, such as "
                f"{known[0]}9, with one of {', '.join(known)}"
            )
        key, value = match.groups()
        if key not in known:
            raise unknown_name(f"setting in auto_augment={configs!r}:", key, known)
        if key in settings:
            raise UserError(f"auto_augment={configs!r}: {key} is set twice; keep one of them")
        settings[key] = float(value)
    return settings


def _with_noise(hparams: Mapping | None, settings: Mapping[str, float], **defaults: float) -> dict:
    """`hparams` with the noise that the notation asks for: mstd and mmax win over what hparams says."""
    noise = dict(defaults)
    if "mstd" in settings:
        noise["magnitude_std"] = settings["mstd"] if settings["mstd"] <= 100 else math.inf
    if "mmax" in settings:
        noise["magnitude_max"] = settings["mmax"]
    return {**(hparams or {}), **noise}


def auto_augment_transform(configs: str, hparams: Mapping | None = None) -> AutoAugment:
    """AutoAugment from "autoaug", "autoaugr" or "3a", with -mstd<noise of the levels>."""
    settings = _parse(configs, tuple(_POLICIES), ("mstd",))
    return AutoAugment(auto_augment_policy(configs.split("-")[0], _with_noise(hparams, settings)))


def rand_augment_transform(configs: str, hparams: Mapping | None = None) -> RandAugment:
    """RandAugment from "randaug" and any of these.

    -m level, 10 if left out; -n operations for each image (2); -mstd noise of the level (0; above 100: even draws);
    -mmax bound of the noisy level (10); -inc1 operations that grow stronger with the level; -w0 timm's weights.
    """
    settings = _parse(configs, ("randaug", "rand"), ("m", "n", "mstd", "mmax", "inc", "w"))
    if settings.get("w", 0) != 0:
        raise UserError(f"auto_augment={configs!r}: w0 is the only table of weights; write w0 or leave it out")
    names = _increasing(_RAND_OPERATIONS) if settings.get("inc") else _RAND_OPERATIONS
    ops = rand_augment_ops(settings.get("m", MAX_LEVEL), _with_noise(hparams, settings), names)
    return RandAugment(ops, int(settings.get("n", 2)), _RAND_WEIGHTS if "w" in settings else None)


def trivial_augment_wide_transform(configs: str, hparams: Mapping | None = None) -> TrivialAugmentWide:
    """TrivialAugmentWide from "trivialaugwide", with -m<number of levels> (31)."""
    settings = _parse(configs, ("trivialaugwide",), ("m",))
    return TrivialAugmentWide(trivial_augment_wide_ops(int(settings.get("m", 31)), hparams))


def augment_and_mix_transform(configs: str, hparams: Mapping | None = None) -> AugMixAugment:
    """AugMix from "augmix" and any of these.

    -m highest level (3), -w chains (3), -d operations in a chain (-d0, as when left out: 1 to 3), -a alpha (1),
    -mstd as for RandAugment; left out, levels are drawn evenly from 0 up.
    """
    settings = _parse(configs, ("augmix",), ("m", "w", "d", "a", "mstd"))
    noise = _with_noise(hparams, settings, magnitude_std=settings.get("mstd", math.inf))
    return AugMixAugment(
        augmix_ops(settings.get("m", 3), noise),
        alpha=settings.get("a", 1.0),
        width=int(settings.get("w", 3)),
        depth=int(settings.get("d", -1)),
    )


_BUILDERS = {
    **dict.fromkeys(_POLICIES, auto_augment_transform),
    "randaug": rand_augment_transform,
    "rand": rand_augment_transform,
    "trivialaugwide": trivial_augment_wide_transform,
    "augmix": augment_and_mix_transform,
}


def create_auto_augment(configs: str, hparams: Mapping | None = None) -> PillowTransform:
    """The policy that `configs` describes; UserError for one that does not exist."""
    name = configs.split("-")[0]
    if name not in _BUILDERS:
        raise unknown_name("auto_augment policy", name, _BUILDERS)
    return _BUILDERS[name](configs, hparams)
