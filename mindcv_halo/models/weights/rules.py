"""The engine that renames and reshapes foreign weights. A source of weights is a table; this reads it, both ways.

A file's entry is called `module.leaf`: its module is looked up in a source's rules, its leaf in the rule's own map.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from ...errors import UserError
from .formats.contents import readable

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
class Layout:
    """How an array changes on its way to us, and back."""

    fit: Callable[[np.ndarray], np.ndarray] = np.asarray
    unfit: Callable[[np.ndarray], np.ndarray] = np.asarray


AS_IT_IS = Layout()
TRANSPOSED = Layout(np.transpose, np.transpose)
# A 1-D convolution's kernel (out, in, k) is a 2-D one's, (out, in, 1, k).
CONV1D = Layout(lambda kernel: kernel[:, :, None, :], lambda kernel: kernel[:, :, 0, :])
# A 3-D convolution's kernel (out, in, k, k, 1) is a 2-D one's.
CONV3D = Layout(lambda kernel: kernel[..., 0] if kernel.shape[-1] == 1 else kernel, lambda kernel: kernel[..., None])


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
    layout: Layout = AS_IT_IS


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
    entries are the same parameter, or when one has not the dimensions of its kind.
    """
    ours, origins = {}, {}
    for name, value in weights.items():
        our_name, layout = _our_name(source, name, our_names)
        if our_name is None:
            continue
        if our_name in ours:
            both = f"{readable(name)} and {readable(origins[our_name])}"
            raise UserError(f"{both} are both {our_name} of the model; one of them must go")
        try:
            ours[our_name] = layout.fit(value)
        except IndexError:
            ours[our_name] = value  # the strict comparison says what is wrong with its shape
        origins[our_name] = name
    return ours, origins


def translate_back(source: Source, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our weights under the source's names. Where two rules of the source have the same module, the first counts."""
    inverse = [(re.compile(_template_pattern(rule)), rule) for rule in source.rules]
    theirs = {}
    for name, value in ours.items():
        module, _, leaf = name.rpartition(".")
        for pattern, rule in inverse:
            match = pattern.fullmatch(module)
            leaves = {our_leaf: their_leaf for their_leaf, our_leaf in rule.leaves.items()}
            if match and leaf in leaves:
                template = re.sub(r"\(\?P<(\w+)>.*?\)", r"{\1}", rule.pattern).replace("\\.", ".")
                theirs[f"{template.format(**match.groupdict())}.{leaves[leaf]}"] = rule.layout.unfit(value)
                break
        else:
            raise AssertionError(f"{source.name} has no name for {name}")
    return theirs


def _our_name(source: Source, name: str, our_names: Collection[str]) -> tuple[str | None, Layout]:
    """Our name for a file's, None for an entry that we do not keep, and how its layout changes."""
    module, _, leaf = name.rpartition(".")
    for rule in source.rules:
        match = re.fullmatch(rule.pattern, module)
        if match and leaf in rule.leaves:
            if rule.leaves[leaf] is None:
                return None, rule.layout
            modules = (rule.module,) if isinstance(rule.module, str) else rule.module
            candidates = [f"{template.format(**_groups(match))}.{rule.leaves[leaf]}" for template in modules]
            return next((name for name in candidates if name in our_names), candidates[0]), rule.layout
    return name, AS_IT_IS


def _groups(match: re.Match) -> dict[str, str]:
    return {
        name.removesuffix("_from_1"): str(int(text) - 1) if name.endswith("_from_1") else text
        for name, text in match.groupdict().items()
    }


def _template_pattern(rule: Rule) -> str:
    """The pattern of our modules that a rule makes, with the groups of its own pattern."""
    groups = dict(re.findall(r"\(\?P<(\w+)>(.*?)\)", rule.pattern))
    parts = re.split(r"\{(\w+)\}", rule.module)
    return "".join(
        f"(?P<{part}>{groups[part]})" if number % 2 else re.escape(part) for number, part in enumerate(parts)
    )
