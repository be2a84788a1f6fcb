"""The weights among all that a training checkpoint holds, whoever wrote it.

MindSpore's `save_checkpoint` of a training cell, its `ModelCheckpoint` and MindCV put more into a file than weights: an
optimizer's state (`adamw_m.stem...`), accumulated gradients, rates, counters and whatever the user appended. And a
wrapper may put its name before each weight's (`network._backbone.stem...`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ...errors import UserError
from .formats.contents import readable

# What MindSpore, MindCV, Lightning and torch call the network inside a wrapper.
WRAPPERS = {"network", "_network", "backbone", "_backbone", "net", "model", "module", "_orig_mod"}
# MindSpore's mixed precision, and torch's compiler and wrappers, are around layers deep inside a network too.
_INNER_WRAPPER = re.compile(r"\.(?:(?:_backbone|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
# What optimizers call their state of a weight, before the weight's own name.
_STATE = re.compile(
    r"((ada\w*|lamb|lion|nadam)_\w+|accum\w*|moment\w*|exp_avg\w*|mean_\w+|square_avg|stat|prev|step_size|linear|ema)\."
)
_SHOWN = 3  # names that an error lists
_logger = logging.getLogger("mindcv_halo")
_SETTINGS = re.compile(r"[\w -]+|(optimizer|learning_rate|loss_scale|scale_sense)\..*")


def select_weights(
    arrays: Mapping[str, np.ndarray],
    is_weight: Callable[[str], bool],
    *,
    any_prefix: bool = False,
    leave_out: bool = False,
    origin: str = "weights",
) -> dict[str, np.ndarray]:
    """The network's weights, without the prefix of a wrapper, and whatever is nothing that a training leaves.

    `is_weight` tells a name that only a weight of the network has. The prefix is made of names in WRAPPERS, or with
    `any_prefix` of any but those of an optimizer's state. Left out are

    - `STATE.NAME` where NAME is a weight in the file: moments, accumulated gradients,
    - words without a dot, such as global_step, learning_rate and what `append_dict` adds, and settings,
    - single numbers outside the modules that the weights are of,
    - with `leave_out`, which the log says, whatever else is outside of a prefix; without it, that is a UserError.

    Raises UserError where the weights of several networks are in the file, and none of them is the state of another.
    """
    arrays = _without_inner_wrappers(arrays, origin)
    prefix = _find_prefix(arrays, is_weight, any_prefix, origin)
    if prefix is None:
        return arrays
    inside = {name.removeprefix(prefix) for name in arrays if name.startswith(prefix)}
    roots = {name.partition(".")[0] for name in inside if arrays[prefix + name].ndim}
    chosen, outside = {}, {}
    for name, value in arrays.items():
        own_name = name.removeprefix(prefix)
        if not is_weight(own_name) and _is_state(own_name, value, inside, roots, prefix):
            continue
        if name.startswith(prefix):
            chosen[own_name] = value
        else:
            outside[name] = value
    if outside:
        more = ", ..." if len(outside) > _SHOWN else ""
        examples = ", ".join(readable(name) for name in sorted(outside)[:_SHOWN]) + more
        what = f"{origin}: the weights are below {readable(prefix)}, and {len(outside)} entries are not ({examples})"
        if not leave_out:
            raise UserError(
                f"{what}; pass auto_mapping=True to create_model to leave them out, or write the weights alone with "
                "mindcv-halo convert FILE NEW.ckpt"
            )
        _logger.warning(f"{what}; they are left out")
    return chosen


def _without_inner_wrappers(arrays: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
    renamed = {}
    for name, value in arrays.items():
        plain = _INNER_WRAPPER.sub(".", name)
        if plain in renamed:
            raise UserError(
                f"{origin}: {readable(plain)} is in it with a wrapper's name and without; one of them must go"
            )
        renamed[plain] = value
    return renamed


def _find_prefix(
    arrays: Mapping[str, np.ndarray], is_weight: Callable[[str], bool], any_prefix: bool, origin: str
) -> str | None:
    """The prefix under which most weights are, of several the shortest: a state's is longer. None without a weight."""
    found = Counter(name[: len(name) - len(end)] for name in arrays for end in _endings(name) if is_weight(end))
    usual = {prefix for prefix in found if set(prefix.split(".")[:-1]) <= WRAPPERS}
    candidates = usual or {prefix for prefix in found if any_prefix and not _STATE.match(prefix)}
    most = max((found[prefix] for prefix in candidates), default=0)
    best = sorted((prefix for prefix in candidates if found[prefix] == most), key=lambda prefix: (len(prefix), prefix))
    others = [prefix for prefix in best[1:] if not prefix.endswith(best[0])]
    if others:
        raise UserError(
            f"{origin}: it holds the weights of several networks, below {readable(best[0])} and {readable(others[0])}; "
            "write those of one of them into a file of their own"
        )
    return next(iter(best), None)


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
