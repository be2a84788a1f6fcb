"""One augmentation at a level, 0 to 10. Levels mean what they mean in timm; for TrivialAugmentWide its paper holds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import unknown_name
from .image_operations import (
    BICUBIC,
    BILINEAR,
    GREY,
    auto_contrast,
    brightness,
    color,
    contrast,
    desaturate,
    equalize,
    gaussian_blur_rand,
    invert,
    posterize,
    rotate,
    sharpness,
    shear_x,
    shear_y,
    solarize,
    solarize_add,
    translate_x,
    translate_y,
)
from .keyed_transform import KeyedTransform

MAX_LEVEL = 10.0


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
    img_mean: tuple[int, ...] = GREY
    interpolation: Image.Resampling | None = None
    magnitude_std: float = 0.0
    magnitude_max: float = MAX_LEVEL


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


OPERATIONS = {
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
WIDE_OPERATIONS = {
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
        if name not in OPERATIONS:
            raise unknown_name("augmentation", name, OPERATIONS)
        self.name = name
        self.operation = OPERATIONS[name]
        self.prob = prob
        self.magnitude = magnitude
        self.settings = make_settings(hparams)

    def augment(self, image, rng: np.random.Generator):
        if self.prob < 1.0 and rng.random() > self.prob:
            return image
        return _perform(self.operation, image, self.draw_level(rng), self.settings, rng)

    def draw_level(self, rng: np.random.Generator) -> float:
        """The level of one use: `magnitude` and its noise, from 0 to magnitude_max."""
        level, settings = self.magnitude, self.settings
        if math.isinf(settings.magnitude_std):
            level = rng.uniform(0, level)
        elif settings.magnitude_std > 0:
            level = rng.normal(level, settings.magnitude_std)
        return max(0.0, min(level, settings.magnitude_max))


class WideOp(PillowTransform):
    """One operation of TrivialAugmentWide, at one of `bins` evenly spaced levels."""

    def __init__(self, name: str, bins: int, settings: AugmentSettings):
        self.name = name
        self.operation = WIDE_OPERATIONS[name]
        self.bins = bins
        self.settings = settings

    def augment(self, image, rng: np.random.Generator):
        level = MAX_LEVEL * rng.integers(self.bins) / (self.bins - 1)
        return _perform(self.operation, image, level, self.settings, rng)


def _perform(operation: _Operation, image, level: float, settings: AugmentSettings, rng: np.random.Generator):
    arguments, keywords = [], {}
    if operation.argument is not None:
        argument = operation.argument(level, 1 if rng.random() < 0.5 else -1, settings)
        arguments.append(argument if operation.relative is None else argument * image.size[operation.relative])
    if operation.geometric:
        either = BILINEAR if rng.random() < 0.5 else BICUBIC
        keywords = {"resample": settings.interpolation or either, "fillcolor": settings.img_mean}
    if operation.draws:
        keywords = {"rng": rng}
    return operation.function(image, *arguments, **keywords)


def make_settings(hparams: Mapping | None) -> AugmentSettings:
    """Raises UnknownNameError for a name that is no setting."""
    try:
        return AugmentSettings(**(hparams or {}))
    except TypeError:
        wrong = next(name for name in hparams if name not in AugmentSettings.__dataclass_fields__)
        raise unknown_name("augmentation setting", wrong, AugmentSettings.__dataclass_fields__) from None
