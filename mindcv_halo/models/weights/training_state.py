"""The weights among all that a training checkpoint holds, whoever wrote it.

MindSpore's `save_checkpoint` of a training cell, its `ModelCheckpoint` and MindCV put more into a file than weights: an
optimizer's state (`adamw_m.stem...`), accumulated gradients, rates, counters and whatever the user appended. And a
wrapper may put its name before each weight's (`network._backbone.stem...`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

# What MindSpore, MindCV and torch call the network inside a wrapper.
WRAPPERS = {"network", "_network", "backbone", "_backbone", "net", "model", "module"}
# MindSpore's mixed precision wraps layers deep inside a network too.
_INNER_WRAPPER = "._backbone."
_SETTINGS = re.compile(r"[\w -]+|(optimizer|learning_rate|loss_scale|scale_sense)\..*")


def select_weights(
    arrays: Mapping[str, np.ndarray], is_weight: Callable[[str], bool], *, any_prefix: bool = False
) -> dict[str, np.ndarray]:
    """The network's weights, without the prefix of a wrapper, and whatever is nothing that a training leaves.

    `is_weight` tells a name that only a weight of the network has. The prefix is made of names in WRAPPERS, or with
    `any_prefix` of any names. Left out are

    - `STATE.NAME` where NAME is a weight in the file: moments, accumulated gradients,
    - words without a dot, such as global_step, learning_rate and what `append_dict` adds, and settings,
    - single numbers outside the modules that the weights are of.
    """
    arrays = {name.replace(_INNER_WRAPPER, "."): value for name, value in arrays.items()}
    prefix = _find_prefix(arrays, is_weight, any_prefix)
    if prefix is None:
        return arrays
    inside = {name.removeprefix(prefix) for name in arrays if name.startswith(prefix)}
    roots = {name.partition(".")[0] for name in inside if arrays[prefix + name].ndim}
    chosen = {}
    for name, value in arrays.items():
        own_name = name.removeprefix(prefix)
        if not is_weight(own_name) and _is_state(own_name, value, inside, roots, prefix):
            continue
        chosen[own_name if own_name in inside else name] = value
    return chosen


def _find_prefix(arrays: Mapping[str, np.ndarray], is_weight: Callable[[str], bool], any_prefix: bool) -> str | None:
    """The shortest prefix under which there is a weight: a state's is longer. None where there is no weight."""
    found = {name[: len(name) - len(ending)] for name in arrays for ending in _endings(name) if is_weight(ending)}
    usual = {prefix for prefix in found if set(prefix.split(".")[:-1]) <= WRAPPERS}
    return min(usual or (found if any_prefix else ()), key=len, default=None)


def _is_state(name: str, value: np.ndarray, inside: set[str], roots: set[str], prefix: str) -> bool:
    if _SETTINGS.fullmatch(name):
        return True
    if not value.ndim and name.partition(".")[0] not in roots:
        return True
    return any(ending != name and ending.removeprefix(prefix) in inside for ending in _endings(name))


def _endings(name: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name
