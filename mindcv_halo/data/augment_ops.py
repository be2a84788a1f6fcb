"""The operations of augmentation on a Pillow image, and how strong each is at a level of 0 to 10.

Levels mean what they mean in timm; for TrivialAugmentWide its paper holds. What a geometric operation uncovers gets
`fillcolor`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ..errors import unknown_name
from .keyed_transform import KeyedTransform

GREY = (128, 128, 128)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def shear_x(img, shear: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move each row by `shear` times its number to the left, in pixels."""
    return _affine(img, (1, shear, 0, 0, 1, 0), resample, fillcolor)


def shear_y(img, shear: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move each column by `shear` times its number upwards, in pixels."""
    return _affine(img, (1, 0, 0, shear, 1, 0), resample, fillcolor)


def translate_x(img, translate: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move by `translate` pixels to the left."""
    return _affine(img, (1, 0, translate, 0, 1, 0), resample, fillcolor)


def translate_y(img, translate: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move by `translate` pixels upwards."""
    return _affine(img, (1, 0, 0, 0, 1, translate), resample, fillcolor)


def rotate(img, degrees: float, *, resample=BILINEAR, fillcolor=GREY):
    """Turn by `degrees` against the clock, about the middle."""
    return img.rotate(degrees, resample=resample, fillcolor=fillcolor)


def auto_contrast(img):
    """Stretch each channel from its smallest to 0 and from its largest to 255."""
    return ImageOps.autocontrast(img)


def invert(img):
    """255 - value."""
    return ImageOps.invert(img)


def equalize(img):
    """Make all values of a channel about equally frequent."""
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
    """Distances from the mean grey times `factor`: 0 leaves grey, 1 changes nothing."""
    return ImageEnhance.Contrast(img).enhance(factor)


def color(img, factor: float):
    """Distances from each pixel's grey times `factor`: 0 leaves no colour, 1 changes nothing."""
    return ImageEnhance.Color(img).enhance(factor)


def brightness(img, factor: float):
    """Values times `factor`: 0 leaves black, 1 changes nothing."""
    return ImageEnhance.Brightness(img).enhance(factor)


def sharpness(img, factor: float):
    """Distances from a smoothed image times `factor`: 0 leaves that, 1 changes nothing."""
    return ImageEnhance.Sharpness(img).enhance(factor)


def gaussian_blur_rand(img, factor: float, *, rng: np.random.Generator):
    """Blur with a radius drawn from between 0.1 and 2 * factor pixels."""
    return img.filter(ImageFilter.GaussianBlur(radius=0.1 + (2.0 * factor - 0.1) * rng.random()))


def desaturate(img, factor: float):
    """Take away the share `factor` of the colour."""
    return color(img, min(1.0, max(0.0, 1.0 - factor)))


def _affine(img, matrix: tuple, resample, fillcolor):
    return img.transform(img.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fillcolor)


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
