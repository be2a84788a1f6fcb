"""Which of our models a set of weights is of, and with which options, told by the weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from itertools import count, takewhile
from typing import Any

import numpy as np

from ...errors import UserError
from ..halonet import SPECS
from ..registry import model_entrypoint
from ..specs import BOTTLENECK_ATTENTION, CONVOLUTION, HALO_ATTENTION, LAMBDA_LAYER, Spec
from .open import WeightFile
from .position_tables import TABLES

_MOST_CHANNELS = 256  # of an image,
_MOST_ROWS = 512  # and of a table: the strict comparison refuses what has more
_MOST_CLASSES = 1_000_000  # that a file may say it has, before anybody gives each a name

# What each kind of block has and none of those after it.
_MARKS = {
    CONVOLUTION: "mix.conv.conv.weight",
    HALO_ATTENTION: "mix.attention.kv.weight",
    LAMBDA_LAYER: "mix.attention.position.weight",
    BOTTLENECK_ATTENTION: "mix.attention.qkv.weight",
}


@dataclass(frozen=True)
class Structure:
    """What tells the models of the family apart."""

    stem: tuple[int, ...]
    patterns: tuple[str, ...]
    widths: tuple[int, ...]
    gate: str | None
    head_width: int | None


def find_model(file: WeightFile) -> tuple[str, dict[str, Any]]:
    """The model with the structure of the weights, and the options of create_model that give it their shapes.

    Raises UserError when there is no such model.
    """
    structure = _read_structure(file.ours)
    for spec in SPECS.values():
        if structure == _structure_of(spec, _conv_stages(spec, structure)):
            return spec.name, find_options(spec.name, file)
    raise UserError(
        f"{file.origin}: no model has its stages {', '.join(structure.patterns)} with widths {structure.widths}; for a "
        "model of your own create it, with register_model, and load them there"
    )


def find_options(model: str, file: WeightFile) -> dict[str, Any]:
    """The options of create_model with which `model` has the shapes of the weights, if it is their model."""
    ours, spec = file.ours, SPECS[model]
    num_classes = _size(ours, "classifier.weight", 0) or 0
    if num_classes and ours["classifier.weight"].shape[1:] != (spec.num_features,):
        num_classes = 1  # the strict comparison refuses it; it may claim any number of classes
    options = {
        "num_classes": num_classes,
        "in_channels": min(_size(ours, "stem.conv1.conv.weight", 1) or 3, _MOST_CHANNELS),
    }
    conv_stages = _conv_stages(spec, _read_structure(ours))
    if conv_stages:
        options["conv_stages"] = conv_stages
    if spec.fixed_size:
        stage = next(number for number, item in enumerate(spec.stages) if BOTTLENECK_ATTENTION in item.pattern)
        block = spec.stages[stage].pattern.index(BOTTLENECK_ATTENTION)
        tables = [_size(ours, f"stages.{stage}.{block}.mix.attention.pos_embed{table}", 0) for table in TABLES]
        sides = (min((rows or 1) + 1, _MOST_ROWS) // 2 for rows in tables)
        options["image_size"] = tuple(side * spec.strides[stage + 1] for side in sides)
    return options


def count_classes(file: WeightFile) -> int | None:
    """The classes of the weights' classifier; None where they have none, or one that no network has."""
    ours = file.ours
    num_classes = _size(ours, "classifier.weight", 0)
    fits = _size(ours, "classifier.bias", 0) == num_classes and (num_classes or 0) <= _MOST_CLASSES
    return num_classes if fits else None


def _read_structure(ours: Mapping[str, np.ndarray]) -> Structure:
    stem = (_size(ours, f"stem.conv{number}.conv.weight", 0) for number in count(1))
    patterns = []
    for stage in range(max(len(spec.stages) for spec in SPECS.values())):
        letters = (_letter(ours, f"stages.{stage}.{block}.") for block in count())
        patterns.append("".join(takewhile(bool, letters)))
    gates = {name.partition(".mix.gate.")[2] for name in ours if ".mix.gate." in name}
    return Structure(
        tuple(takewhile(bool, stem)),
        tuple(patterns),
        tuple(_size(ours, f"stages.{stage}.0.expand.conv.weight", 0) for stage in range(len(patterns))),
        "eca" if "conv.weight" in gates else "se" if "reduce.weight" in gates else None,
        _size(ours, "final_conv.conv.weight", 0),
    )


def _structure_of(spec: Spec, conv_stages: tuple[int, ...]) -> Structure:
    return Structure(
        spec.stem.widths,
        tuple(
            CONVOLUTION * len(stage.pattern) if number in conv_stages else stage.pattern
            for number, stage in enumerate(spec.stages, 1)
        ),
        tuple(stage.width for stage in spec.stages),
        spec.gate.kind if spec.gate else None,
        spec.head_width,
    )


def _conv_stages(spec: Spec, structure: Structure) -> tuple[int, ...]:
    """Of a model that can have them: the stages, from 1, with convolutions in the weights where it has attention."""
    if "conv_stages" not in signature(model_entrypoint(spec.name)).parameters:
        return ()
    pairs = enumerate(zip(spec.stages, structure.patterns, strict=False), 1)
    return tuple(
        number
        for number, (stage, pattern) in pairs
        if HALO_ATTENTION in stage.pattern and set(pattern) == {CONVOLUTION}
    )


def _letter(ours: Mapping[str, np.ndarray], block: str) -> str:
    return next((letter for letter, mark in _MARKS.items() if block + mark in ours), "")


def _size(ours: Mapping[str, np.ndarray], name: str, axis: int) -> int | None:
    """The length of an array along an axis; None where there is no such array."""
    return ours[name].shape[axis] if name in ours and ours[name].ndim > axis else None
