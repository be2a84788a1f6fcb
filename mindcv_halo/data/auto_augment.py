"""AutoAugment, RandAugment, TrivialAugmentWide and AugMix: the policies, and the text that names one.

A text is a name and its settings as in timm, such as "randaug-m9-n2-mstd0.5-inc1".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from ..errors import UserError, unknown_name
from .augment_ops import MAX_LEVEL, WIDE_OPERATIONS, AugmentOp, PillowTransform, WideOp, make_settings

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
    """3-Augment: solarize, take colour away, or blur."""
    return _build_policy(_3A_POLICY, "Posterize", hparams)


POLICIES = {
    "autoaug": auto_augment_policy_posterize_original,
    "autoaugr": auto_augment_policy_posterize_increasing,
    "3a": auto_augment_policy_3a,
}


def auto_augment_policy(name: str = "autoaug", hparams: Mapping | None = None) -> Policy:
    """The sub-policies called "autoaug", "autoaugr" or "3a"."""
    if name not in POLICIES:
        raise unknown_name("AutoAugment policy", name, POLICIES)
    return POLICIES[name](hparams)


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
RAND_OPERATIONS = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
    "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
)  # fmt: skip
RAND_WEIGHTS = (
    0.025, 0.005, 0, 0.3, 0, 0.005, 0.005, 0.025, 0.005,
    0.005, 0.025, 0.2, 0.2, 0.1, 0.1,
)  # fmt: skip
_GROWING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")


def make_increasing(names: Iterable[str]) -> list[str]:
    """The names, with the variants that grow stronger with the level where there are such."""
    return [name + "Increasing" if name in _GROWING else name for name in names]


def rand_augment_ops(
    magnitude: float = 10, hparams: Mapping | None = None, transforms: Sequence[str] | None = None
) -> list[AugmentOp]:
    """The operations of RandAugment, or those named by `transforms`, each done half of the times it is chosen."""
    return [AugmentOp(name, 0.5, magnitude, hparams) for name in transforms or RAND_OPERATIONS]


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


def trivial_augment_wide_ops(
    magnitude: int = 31, hparams: Mapping | None = None, transforms: Sequence[str] | None = None
) -> list[PillowTransform]:
    """The operations of TrivialAugmentWide, or those named by `transforms`; `magnitude` is the number of levels."""
    if magnitude < 2:
        raise UserError(f"TrivialAugmentWide: m{magnitude} is the number of levels and must be at least 2; use m31")
    names = transforms or tuple(WIDE_OPERATIONS)
    for name in names:
        if name not in WIDE_OPERATIONS:
            raise unknown_name("TrivialAugmentWide operation", name, WIDE_OPERATIONS)
    return [WideOp(name, magnitude, make_settings(hparams)) for name in names]


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


_ENDLESS = ("mstd", "mmax")  # settings that may be "inf"


def _parse(
    configs: str, names: Sequence[str], known: Sequence[str], counts: Sequence[str] = ("n", "w", "d", "inc")
) -> dict[str, float]:
    """The settings of "name-key1-key2...", for instance {"m": 9.0, "n": 2.0}.

    Raises UserError for another name than `names`, an unknown or repeated key, and a value that is no number >= 0: a
    whole one for a key of `counts`, and only for mstd and mmax "inf".
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
        if value == "inf" and key not in _ENDLESS:
            raise UserError(f"auto_augment={configs!r}: {part} must be finite; write a number after {key}")
        if key in counts and not float(value).is_integer():
            raise UserError(f"auto_augment={configs!r}: {part} must be whole; write {key}{math.ceil(float(value))}")
        settings[key] = float(value)
    return settings


def _check_range(configs: str, key: str, value: float, least: float, most: float = math.inf) -> None:
    if not least <= value <= most:
        bounds = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
        raise UserError(f"auto_augment={configs!r}: {key}{value:g} must be {bounds}; correct it, or leave it out")


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
    settings = _parse(configs, tuple(POLICIES), ("mstd",))
    return AutoAugment(auto_augment_policy(configs.split("-")[0], _with_noise(hparams, settings)))


def rand_augment_transform(configs: str, hparams: Mapping | None = None) -> RandAugment:
    """RandAugment from "randaug" and any of these.

    -m level, 10 if left out; -n operations for each image (2); -mstd noise of the level (0; above 100: even draws);
    -mmax bound of the noisy level (10); -inc1 operations that grow stronger with the level; -w0 timm's weights.
    """
    settings = _parse(configs, ("randaug", "rand"), ("m", "n", "mstd", "mmax", "inc", "w"))
    if settings.get("w", 0) != 0:
        raise UserError(f"auto_augment={configs!r}: w0 is the only table of weights; write w0 or leave it out")
    most = np.count_nonzero(RAND_WEIGHTS) if "w" in settings else math.inf  # with weights none is chosen twice
    _check_range(configs, "n", settings.get("n", 2), 1, most)
    names = make_increasing(RAND_OPERATIONS) if settings.get("inc") else RAND_OPERATIONS
    ops = rand_augment_ops(settings.get("m", MAX_LEVEL), _with_noise(hparams, settings), names)
    return RandAugment(ops, int(settings.get("n", 2)), RAND_WEIGHTS if "w" in settings else None)


def trivial_augment_wide_transform(configs: str, hparams: Mapping | None = None) -> TrivialAugmentWide:
    """TrivialAugmentWide from "trivialaugwide", with -m<number of levels> (31)."""
    settings = _parse(configs, ("trivialaugwide",), ("m",), counts=("m",))
    return TrivialAugmentWide(trivial_augment_wide_ops(int(settings.get("m", 31)), hparams))


def augment_and_mix_transform(configs: str, hparams: Mapping | None = None) -> AugMixAugment:
    """AugMix from "augmix" and any of these.

    -m highest level (3), -w chains (3), -d operations in a chain (-d0, as when left out: 1 to 3), -a alpha (1),
    -mstd as for RandAugment; left out, levels are drawn evenly from 0 up.
    """
    settings = _parse(configs, ("augmix",), ("m", "w", "d", "a", "mstd"))
    _check_range(configs, "w", settings.get("w", 3), 1)
    _check_range(configs, "a", settings.get("a", 1.0), 0.01)  # shares drawn with less are no numbers at times
    noise = _with_noise(hparams, settings, magnitude_std=settings.get("mstd", math.inf))
    return AugMixAugment(
        augmix_ops(settings.get("m", 3), noise),
        alpha=settings.get("a", 1.0),
        width=int(settings.get("w", 3)),
        depth=int(settings.get("d", -1)),
    )


_BUILDERS = {
    **dict.fromkeys(POLICIES, auto_augment_transform),
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
