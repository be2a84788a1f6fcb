"""Which weight decay and which share of the learning rate each parameter gets: rules about names, without MindSpore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError, unknown_name

NORM_AND_BIAS = ("gamma", "beta", "bias")
POSITION_TABLES = ("height_rel", "width_rel")  # of halo attention


@dataclass(frozen=True)
class Group:
    """Parameters that share a weight decay and a factor on the learning rate."""

    names: tuple[str, ...]
    weight_decay: float
    lr_scale: float


def _decay_all(name: str, ndim: int) -> bool:
    return True


def _decay_all_but_norm_and_bias(name: str, ndim: int) -> bool:
    return name.rpartition(".")[2] not in NORM_AND_BIAS


def _decay_weights_only(name: str, ndim: int) -> bool:
    return ndim > 1 and name.rpartition(".")[2] not in NORM_AND_BIAS + POSITION_TABLES


# Whether a parameter decays, by the last part of its name and its number of axes.
WEIGHT_DECAY_FILTERS = {
    "disable": _decay_all,
    "norm_and_bias": _decay_all_but_norm_and_bias,
    "auto": _decay_weights_only,
}


def group_names(
    axes: Mapping[str, int],
    weight_decay: float = 0.0,
    weight_decay_filter: str = "disable",
    lr_scales: Mapping[str, float] | None = None,
) -> list[Group]:
    """Sort parameters, given as name -> number of axes, into groups; no group is empty.

    The filter says what decays: "disable" everything; "norm_and_bias" all but norms and biases (names ending in gamma,
    beta or bias); "auto" neither these, nor parameters of one axis or none, nor the attention's position tables
    (height_rel, width_rel). `lr_scales` defaults to 1 for every name.

    Raises UserError for an unknown filter.
    """
    if weight_decay_filter not in WEIGHT_DECAY_FILTERS:
        raise unknown_name("weight_decay_filter", weight_decay_filter, WEIGHT_DECAY_FILTERS)
    decays = WEIGHT_DECAY_FILTERS[weight_decay_filter]
    groups: dict[tuple[float, float], list[str]] = {}
    for name, ndim in axes.items():
        decay = weight_decay if decays(name, ndim) else 0.0
        scale = lr_scales[name] if lr_scales else 1.0
        groups.setdefault((decay, scale), []).append(name)
    return [Group(tuple(names), decay, scale) for (decay, scale), names in groups.items()]


def layer_scales(names: Sequence[str], layer_ids: Mapping[str, int], layer_decay: float) -> dict[str, float]:
    """layer_decay ** (last layer - layer) for every name: 1 at the head, the least at the stem.

    `layer_ids` gives the layer of every parameter, 0 for the stem.
    Raises UserError for a factor outside (0, 1] and for names without a layer.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(f"layer_decay {layer_decay!r} must lie above 0 and at most at 1")
    missing = [name for name in names if name not in layer_ids]
    if missing:
        raise UserError(f"layer_decay: the model's layer_ids() lacks {', '.join(missing)}")
    last = max(layer_ids.values())
    return {name: layer_decay ** (last - layer_ids[name]) for name in names}
