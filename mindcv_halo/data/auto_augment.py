"""Augmentation policies written as in timm: a name and its settings, such as "randaug-m9-n2-mstd0.5-inc1"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ..errors import UserError, unknown_name
from .augment_op import MAX_LEVEL, PillowTransform
from .augment_policies import (
    POLICIES,
    RAND_OPERATIONS,
    RAND_WEIGHTS,
    AugMixAugment,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
    augmix_ops,
    auto_augment_policy,
    make_increasing,
    rand_augment_ops,
    trivial_augment_wide_ops,
)


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
    names = make_increasing(RAND_OPERATIONS) if settings.get("inc") else RAND_OPERATIONS
    ops = rand_augment_ops(settings.get("m", MAX_LEVEL), _with_noise(hparams, settings), names)
    return RandAugment(ops, int(settings.get("n", 2)), RAND_WEIGHTS if "w" in settings else None)


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
