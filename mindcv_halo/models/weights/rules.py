"""The engine that renames and reshapes foreign weights. A source of weights is a table; this reads it.

A file's entry is called `module.leaf`: its module is looked up in a source's rules, its leaf in the rule's own map.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from ...errors import UserError

# The leaves of convolutions and linear layers.
SAME = {"weight": "weight", "bias": "bias"}
# torch's batch norm; it also counts its batches, which nothing reads.
NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "num_batches_tracked": None,
}


@dataclass(frozen=True)
class Rule:
    """Modules whose name matches `pattern` as a whole are ours at `module`.

    `module` is a format string of the pattern's named groups; a group named `..._from_1` counts from one, is known to
    the format string without that ending, and counts from zero there. With several modules, it is the one that the
    model has.
    """

    pattern: str
    module: str | tuple[str, ...]
    leaves: Mapping[str, str | None] = field(default_factory=lambda: SAME)  # None: an entry that we do not keep
    _: KW_ONLY
    fit: Callable[[np.ndarray], np.ndarray] = np.asarray  # from the file's layout to ours


@dataclass(frozen=True)
class Source:
    """A kind of weight files."""

    name: str
    signature: str  # a pattern that one of its names matches, and none of the other sources'
    dialect: str  # of specs.DIALECTS
    rules: tuple[Rule, ...]


def translate(
    source: Source, weights: Mapping[str, np.ndarray], our_names: Collection[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Foreign weights under our names, and for each of these the file's.

    An entry that no rule knows keeps its name, so that the strict comparison reports it. Raises UserError when two
    entries are the same parameter.
    """
    ours, origins = {}, {}
    for name, value in weights.items():
        our_name, fit = _our_name(source, name, our_names)
        if our_name is None:
            continue
        if our_name in ours:
            raise UserError(f"{name} and {origins[our_name]} are both {our_name} of the model; one of them must go")
        ours[our_name] = fit(value)
        origins[our_name] = name
    return ours, origins


def _our_name(source: Source, name: str, our_names: Collection[str]) -> tuple[str | None, Callable]:
    """Our name for a file's, None for an entry that we do not keep, and how to fit its value."""
    module, _, leaf = name.rpartition(".")
    for rule in source.rules:
        match = re.fullmatch(rule.pattern, module)
        if match and leaf in rule.leaves:
            if rule.leaves[leaf] is None:
                return None, rule.fit
            modules = (rule.module,) if isinstance(rule.module, str) else rule.module
            candidates = [f"{template.format(**_groups(match))}.{rule.leaves[leaf]}" for template in modules]
            return next((name for name in candidates if name in our_names), candidates[0]), rule.fit
    return name, np.asarray


def _groups(match: re.Match) -> dict[str, str]:
    return {
        name.removesuffix("_from_1"): str(int(text) - 1) if name.endswith("_from_1") else text
        for name, text in match.groupdict().items()
    }


def as_conv2d_row(kernel: np.ndarray) -> np.ndarray:
    """A 1-D convolution's kernel (out, in, k) as a 2-D one's, (out, in, 1, k)."""
    return kernel[:, :, None, :]


def without_last_axis(kernel: np.ndarray) -> np.ndarray:
    """A 3-D convolution's kernel (out, in, k, k, 1) as a 2-D one's."""
    return kernel[..., 0]
