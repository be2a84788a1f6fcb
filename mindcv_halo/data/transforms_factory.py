"""Lists of transforms for the image column: encoded file, or (height, width, channels) array, to float32 CHW."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mindspore.dataset.vision as vision
from mindspore.dataset.vision import Inter
from PIL import Image

from ..errors import UserError, unknown_name
from ..idle_settings import warn_of_idle
from . import constants
from .auto_augment import create_auto_augment
from .bounds import check_probabilities, check_ratios, check_shares
from .constants import DEFAULT_CROP_PCT, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from .dataset_names import canonical_name
from .random_erasing import RandomErasing

# PILCUBIC shrinks as Pillow does, with antialiasing; Inter.BICUBIC does not.
INTERPOLATIONS = {"nearest": Inter.NEAREST, "bilinear": Inter.LINEAR, "bicubic": Inter.PILCUBIC, "area": Inter.AREA}
PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": None,
}


def transforms_imagenet_train(
    image_resize: int | Sequence[int] = 224,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (0.75, 1.333),
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = None,
    auto_augment: str | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
    re_prob: float = 0.0,
    re_scale: Sequence[float] = (0.02, 0.33),
    re_ratio: Sequence[float] = (0.3, 3.3),
    re_value: float | Sequence[float] | str = 0,
    re_max_attempts: int = 10,
    separate: bool = False,
) -> list | tuple[list, list, list]:
    """Encoded image -> random crop -> flips -> auto_augment, or else color_jitter -> erasing -> normalised CHW.

    scale, ratio: bounds of the crop's share of the area and of its width / height. hflip, vflip: probabilities.
    color_jitter: strength of brightness, contrast and saturation, or these three (and hue) one by one.
    auto_augment: in timm's notation, such as "randaug-m9-n2-mstd0.5-inc1"; it takes the place of color_jitter.
    mean, std: for pixels 0..255. re_*: see RandomErasing.
    separate: three lists instead: crop and flips for all, augmentation for the augmented splits, the rest for all.
    """
    check_shares(scale=scale, re_scale=re_scale)
    check_ratios(ratio=ratio, re_ratio=re_ratio)
    check_probabilities(hflip=hflip, vflip=vflip, re_prob=re_prob)
    crop = vision.RandomCropDecodeResize(
        _size(image_resize), tuple(scale), tuple(ratio), interpolation=_interpolation(interpolation)
    )
    augmentation = _augmentation(auto_augment, color_jitter, image_resize, interpolation, mean)
    final = [*_erasing(re_prob, re_scale, re_ratio, re_value, re_max_attempts, mean, std), *_normalise(mean, std)]
    return _assemble([crop, *_flips(hflip, vflip)], augmentation, final, separate)


def transforms_imagenet_eval(
    image_resize: int | Sequence[int] = 224,
    crop_pct: float = DEFAULT_CROP_PCT,
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
    interpolation: str = "bilinear",
) -> list:
    """Encoded image -> short side to floor(image_resize / crop_pct) -> central crop -> normalised CHW.

    For a (height, width), the longer of the two takes the place of image_resize in that formula.
    """
    if not 0 < crop_pct <= 1:
        raise UserError(f"crop_pct={crop_pct} must be in (0, 1]; 0.875 and 0.95 are common")
    height, width = _size(image_resize)
    short_side = math.floor(max(height, width) / crop_pct)
    return [
        vision.Decode(),
        vision.Resize(short_side, _interpolation(interpolation)),
        vision.CenterCrop((height, width)),
        *_normalise(mean, std),
    ]


def transforms_cifar(resize: int | Sequence[int] = 224, is_training: bool = True) -> list:
    """Array (32, 32, 3) -> padded crop and flip in training -> `resize` -> normalised CHW."""
    return create_transforms("cifar10", resize, is_training)


def transforms_mnist(resize: int | Sequence[int] = 224) -> list:
    """Array (28, 28, 1) -> `resize` -> normalised CHW."""
    return create_transforms("mnist", resize)


# name: mean, std, side of an image, padding of the random crop, default probability of a flip
_ARRAY_DATASETS = {
    "cifar10": (constants.CIFAR10_MEAN, constants.CIFAR10_STD, 32, 4, 0.5),
    "cifar100": (constants.CIFAR100_MEAN, constants.CIFAR100_STD, 32, 4, 0.5),
    "mnist": (constants.MNIST_MEAN, constants.MNIST_STD, 28, 0, 0.0),
    "fashion_mnist": (constants.FASHION_MNIST_MEAN, constants.FASHION_MNIST_STD, 28, 2, 0.5),
}


def find_statistics(dataset_name: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and standard deviation, for pixels 0..255, of a data set of arrays; None for folders of image files."""
    name = canonical_name(dataset_name)
    return _ARRAY_DATASETS[name][:2] if name in _ARRAY_DATASETS else None


def create_transforms(
    dataset_name: str = "",
    image_resize: int | Sequence[int] = 224,
    is_training: bool = False,
    auto_augment: str | None = None,
    separate: bool = False,
    *,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (0.75, 1.333),
    hflip: float | None = None,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    crop_pct: float = DEFAULT_CROP_PCT,
    re_prob: float = 0.0,
    re_scale: Sequence[float] = (0.02, 0.33),
    re_ratio: Sequence[float] = (0.3, 3.3),
    re_value: float | Sequence[float] | str = 0,
    re_max_attempts: int = 10,
) -> list | tuple[list, list, list]:
    """The transforms of a data set: float32 (channels, height, width) comes out.

    "cifar10", "cifar100", "mnist" and "fashion_mnist", in any case, give arrays; any other name is a folder of image
    files. `hflip`, `mean` and `std` are the data set's own if left out. In evaluation only image_resize, interpolation,
    mean, std and crop_pct count, and `separate` gives one list, as without it. For the arrays a padded crop takes the
    place of `scale`, `ratio` and `crop_pct`. The rest is as for transforms_imagenet_train. Settings for training that
    have no effect beside others are warned of.

    Raises UserError for an interpolation or policy that does not exist, and values that cannot be.
    """
    dataset_name = canonical_name(dataset_name)
    if is_training:
        erasing = "" if re_prob else "re_prob is 0"
        crop = f"{dataset_name} has a crop of its own" if dataset_name in _ARRAY_DATASETS else ""
        replaced = "auto_augment takes its place" if auto_augment else ""
        usual = color_jitter in (None, 0.4)  # the default here, or a recipe's
        warn_of_idle(
            "transforms",
            {
                "color_jitter": (
                    color_jitter,
                    color_jitter if usual else 0,
                    replaced,
                ),
                "re_scale": (tuple(re_scale), (0.02, 0.33), erasing),
                "re_ratio": (tuple(re_ratio), (0.3, 3.3), erasing),
                "re_value": (re_value, 0, erasing),
                "re_max_attempts": (re_max_attempts, 10, erasing),
                "scale": (tuple(scale), (0.08, 1.0), crop),
                "ratio": (tuple(ratio), (0.75, 1.333), crop),
            },
        )
    if dataset_name not in _ARRAY_DATASETS:
        mean = IMAGENET_DEFAULT_MEAN if mean is None else mean
        std = IMAGENET_DEFAULT_STD if std is None else std
        if not is_training:
            return transforms_imagenet_eval(image_resize, crop_pct, mean, std, interpolation)
        return transforms_imagenet_train(
            image_resize=image_resize,
            scale=scale,
            ratio=ratio,
            hflip=0.5 if hflip is None else hflip,
            vflip=vflip,
            color_jitter=color_jitter,
            auto_augment=auto_augment,
            interpolation=interpolation,
            mean=mean,
            std=std,
            re_prob=re_prob,
            re_scale=re_scale,
            re_ratio=re_ratio,
            re_value=re_value,
            re_max_attempts=re_max_attempts,
            separate=separate,
        )
    own_mean, own_std, side, padding, own_hflip = _ARRAY_DATASETS[dataset_name]
    mean, std = own_mean if mean is None else mean, own_std if std is None else std
    if len(own_mean) == 1:
        _check_grey(dataset_name, mean, interpolation)
    resize = vision.Resize(_size(image_resize), _interpolation(interpolation))
    if not is_training:
        return [resize, *_normalise(mean, std)]
    if len(own_mean) == 1 and (auto_augment or color_jitter):
        raise UserError(f"auto_augment and color_jitter need colours; {dataset_name} is grey: turn them off")
    hflip = own_hflip if hflip is None else hflip
    check_shares(scale=scale, re_scale=re_scale)
    check_ratios(ratio=ratio, re_ratio=re_ratio)
    check_probabilities(hflip=hflip, vflip=vflip, re_prob=re_prob)
    crop = [vision.RandomCrop(side, padding)] if padding else []
    return _assemble(
        [*crop, *_flips(hflip, vflip), resize],
        _augmentation(auto_augment, color_jitter, image_resize, interpolation, mean),
        [*_erasing(re_prob, re_scale, re_ratio, re_value, re_max_attempts, mean, std), *_normalise(mean, std)],
        separate,
    )


def _check_grey(dataset_name: str, mean: Sequence[float], interpolation: str) -> None:
    if len(mean) != 1:
        raise UserError(f"mean {tuple(mean)} and std must have one number; {dataset_name} is grey")
    if interpolation == "bicubic":
        raise UserError(f"interpolation bicubic needs colours; {dataset_name} is grey: choose bilinear")


def _assemble(first: list, augmentation: list, final: list, separate: bool) -> list | tuple[list, list, list]:
    return (first, augmentation, final) if separate else first + augmentation + final


def _flips(hflip: float, vflip: float) -> list:
    horizontal = [vision.RandomHorizontalFlip(hflip)] if hflip > 0 else []
    return horizontal + ([vision.RandomVerticalFlip(vflip)] if vflip > 0 else [])


def _augmentation(
    auto_augment: str | None,
    color_jitter: float | Sequence[float] | None,
    image_resize: int | Sequence[int],
    interpolation: str,
    mean: Sequence[float],
) -> list:
    if auto_augment:
        hparams = {
            "translate_const": int(min(_size(image_resize)) * 0.45),
            "img_mean": tuple(round(value) for value in mean),
            "interpolation": PILLOW_FILTERS[interpolation],
        }
        return [create_auto_augment(auto_augment, hparams)]
    if not color_jitter:
        return []
    strengths = [color_jitter] * 3 if isinstance(color_jitter, (int, float)) else list(color_jitter)
    if len(strengths) not in (3, 4):
        raise UserError(
            f"color_jitter={color_jitter} must be one number, or three or four: brightness, contrast, saturation, hue"
        )
    if min(strengths) < 0 or max(strengths[3:], default=0) > 0.5:
        raise UserError(f"color_jitter={color_jitter} must be at least 0, its hue at most 0.5")
    return [vision.RandomColorAdjust(*(float(strength) for strength in strengths))]


def _erasing(re_prob, re_scale, re_ratio, re_value, re_max_attempts, mean, std) -> list:
    if re_prob <= 0:
        return []
    return [RandomErasing(re_prob, re_scale, re_ratio, re_value, re_max_attempts, mean, std)]


def _normalise(mean: Sequence[float], std: Sequence[float]) -> list:
    if len(mean) not in (1, 3) or len(mean) != len(std) or min(std) <= 0:
        raise UserError(f"mean {tuple(mean)} and std {tuple(std)} must be a number for each channel, std above 0")
    # In this order the transposition moves bytes instead of floats; the result is the same.
    return [vision.HWC2CHW(), vision.Normalize(list(mean), list(std), is_hwc=False)]


def _size(image_resize: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels."""
    size = tuple(image_resize) if isinstance(image_resize, list | tuple) else (image_resize, image_resize)
    if len(size) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side <= 0 for side in size):
        raise UserError(f"image_resize={image_resize} must be a positive number of pixels, or (height, width)")
    return size


def _interpolation(name: str) -> Inter:
    if name not in INTERPOLATIONS:
        raise unknown_name("interpolation", name, INTERPOLATIONS)
    return INTERPOLATIONS[name]
