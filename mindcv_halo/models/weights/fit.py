"""From weights of any source to a network's parameters: translate, adapt, compare both ways, load."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
from mindspore import Parameter, Tensor, load_param_into_net, nn

from ...errors import UserError
from ..features import FeatureExtractor
from ..layers.random_drop import DRAWS
from ..specs import IMAGE_CHANNELS, Halo
from .formats.contents import readable
from .identify import SPECS, find_model
from .open import WeightFile, recognise_weights
from .position_tables import TABLES, list_tables, resize_table
from .rules import translate

_HEAD = ("classifier.weight", "classifier.bias")
_FIRST_CONV = "stem.conv1.conv.weight"
_SHOWN = 3  # names of each kind of difference that an error lists
Shape = tuple[int, ...]
_logger = logging.getLogger("mindcv_halo")


def load_weights(
    network: nn.Cell,
    weights: WeightFile | Mapping[str, np.ndarray],
    *,
    origin: str = "weights",
    reset_head: bool = False,
    resize_pos: bool = False,
    halo: Halo | None = None,
) -> None:
    """Give `network` the weights, of a file or with the names of any of the sources: see fit_weights."""
    ours = fit_weights(network, weights, origin=origin, reset_head=reset_head, resize_pos=resize_pos, halo=halo)
    load_param_into_net(
        network, {name: Parameter(Tensor(value.astype(np.float32)), name=name) for name, value in ours.items()}
    )


def fit_weights(
    network: nn.Cell,
    weights: WeightFile | Mapping[str, np.ndarray],
    *,
    origin: str = "weights",
    reset_head: bool = False,
    resize_pos: bool = False,
    halo: Halo | None = None,
) -> dict[str, np.ndarray]:
    """The weights, of a file or with the names of any of the sources, as the network's parameters.

    Strict both ways: raises UserError with the difference when a name is missing, unknown, or has another shape, for
    values that are no finite floating-point numbers, and for weights that were trained with other windows.

    - The first convolution's weights for colour images are adapted to a network for images of other channels.
    - With `reset_head` a classifier of another size is left out, and the network keeps its own; the log says so.
    - With `resize_pos` position tables of other windows, or of another image size, are interpolated. `halo` are the
      windows that the weights were trained with, where no file says it; by default, those of the model that the
      network is named after.
    """
    parameters = {
        name: parameter
        for name, parameter in network.parameters_dict().items()
        if not name.endswith(DRAWS)  # the state of a run, not a weight
    }
    file = weights if isinstance(weights, WeightFile) else recognise_weights(weights, origin, halo)
    origin = file.origin
    ours, names = translate(file.source, file.arrays, parameters.keys())
    ours = {name: value for name, value in ours.items() if not name.endswith(DRAWS)}
    _check_values(origin, ours, names)
    if _HEAD[0] not in parameters:  # a network without a head, for features
        ours = {name: value for name, value in ours.items() if name not in _HEAD}
    if isinstance(network, FeatureExtractor):  # which ends before the last stage
        behind = tuple(f"stages.{index}." for index in range(len(network.stages), len(network.spec.stages)))
        ours = {name: value for name, value in ours.items() if not name.startswith(("final_conv.", *behind))}
    if reset_head:
        _drop_head(origin, network, ours, parameters)
    if _FIRST_CONV in ours and _FIRST_CONV in parameters:
        ours[_FIRST_CONV] = _adapt_channels(origin, ours[_FIRST_CONV], parameters[_FIRST_CONV].shape)
    if resize_pos:
        _resize_tables(origin, network, ours, file.halo)
    else:
        _check_windows(origin, network, file.halo)
    _compare(network.spec.name, file, parameters, ours, names)
    return ours


def _check_values(origin: str, ours: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    for name, value in ours.items():
        if not np.issubdtype(value.dtype, np.floating):
            raise UserError(
                f"{origin}: {readable(names[name])} holds {value.dtype}, weights are floating-point numbers; "
                "save it as such"
            )
        with np.errstate(over="ignore"):
            as_loaded = value.astype(np.float32, copy=False)
        if not np.isfinite(as_loaded).all():
            raise UserError(
                f"{origin}: {readable(names[name])} holds values that are not finite; take an earlier checkpoint"
            )


def _drop_head(origin: str, network: nn.Cell, ours: dict[str, np.ndarray], parameters: dict[str, Parameter]) -> None:
    heads = [name for name in _HEAD if name in parameters]
    if all(name in ours and ours[name].shape == parameters[name].shape for name in heads):
        return
    if any(name in ours and ours[name].shape[1:] != parameters[name].shape[1:] for name in heads):
        return  # not only of other classes: the strict comparison says so
    theirs = f"of {len(ours[_HEAD[1]])} classes is left out" if _HEAD[1] in ours else "is missing"
    _logger.warning(f"{origin}: its classifier {theirs}; the one for {network.num_classes} classes starts anew")
    for name in heads:
        ours.pop(name, None)
        del parameters[name]


def _adapt_channels(origin: str, weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A convolution (out, 3, k, k) of colour images as one of images with other channels, as in timm.

    For one channel it is summed, so that a grey image gives what it gave in colour; otherwise it is repeated, and
    scaled to the same sum.
    """
    channels = shape[1]
    if weight.ndim != 4 or weight.shape[1] != IMAGE_CHANNELS or channels == IMAGE_CHANNELS:
        return weight
    _logger.warning(f"{origin}: its first convolution, for {IMAGE_CHANNELS} channels, is adapted to {channels}")
    if channels == 1:
        return weight.sum(axis=1, keepdims=True)
    repeated = np.tile(weight, (1, math.ceil(channels / IMAGE_CHANNELS), 1, 1))[:, :channels]
    return repeated * np.asarray(IMAGE_CHANNELS / channels, weight.dtype)


def _resize_tables(origin: str, network: nn.Cell, ours: dict[str, np.ndarray], halo: Halo | None) -> None:
    own = network.spec
    halo = halo or SPECS.get(own.name, own).halo
    resized = 0
    for table in list_tables(network):
        value = ours.get(table.name)
        if value is None or value.ndim != 2:
            continue
        old = table.reach_with(len(value), halo)
        if old.rows != len(value):
            raise UserError(
                f"{origin}: {table.name} has {len(value)} rows, which are not those of block_size {halo.block_size} "
                f"and halo_size {halo.halo_size}, and the file does not say of which; set block_size and halo_size to "
                "those that it was trained with"
            )
        if old != table.reach:
            ours[table.name] = resize_table(value, old, table.reach)
            resized += 1
    if resized:
        _logger.warning(f"{origin}: {resized} position tables are resized to those of {own.name} as it was built")


def _check_windows(origin: str, network: nn.Cell, halo: Halo | None) -> None:
    """Raises UserError for weights of other windows, which may have the same shapes."""
    own = network.spec.halo
    if halo is not None and (halo.block_size, halo.halo_size) != (own.block_size, own.halo_size):
        raise UserError(
            f"{origin}: its windows have block_size {halo.block_size} and halo_size {halo.halo_size}, "
            f"{network.spec.name} was built with {own.block_size} and {own.halo_size}; set them to the file's, or "
            "resize_pos to True"
        )


def _compare(
    model: str,
    file: WeightFile,
    parameters: Mapping[str, Parameter],
    ours: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> None:
    missing = sorted(parameters.keys() - ours.keys())
    unknown = sorted(ours.keys() - parameters.keys())
    reshaped = sorted(name for name in ours.keys() & parameters.keys() if ours[name].shape != parameters[name].shape)
    if not (missing or unknown or reshaped):
        return
    shapes = {name: (ours[name].shape, parameters[name].shape) for name in reshaped}
    if not missing and not unknown:
        _explain_shapes(model, file.origin, shapes, ours, names)
    parts = [
        f"{len(shown)} {kind} ({', '.join(shown[:_SHOWN])}{', ...' if len(shown) > _SHOWN else ''})"
        for kind, shown in (
            ("missing in the file", missing),
            ("unknown to the model", [readable(names[name]) for name in unknown]),
            ("of another shape", _list_shapes(shapes, names)),
        )
        if shown
    ]
    raise UserError(
        f"{file.origin} (read as {file.source.name}'s names) does not fit {model}: {'; '.join(parts)}; "
        f"{_find_way_out(model, file)}"
    )


def _find_way_out(model: str, file: WeightFile) -> str:
    """What to do about weights that do not fit a model, by the model whose structure they have."""
    try:
        found, _ = find_model(file)
    except UserError:
        return "it is another model's, and none of ours has its structure: build that model (register_model)"
    if found != model:
        return f"it is another model's: its structure is that of {found}, create that"
    return f"its structure is that of {model}, and something was changed in it: save all weights of the network anew"


def _list_shapes(shapes: Mapping[str, tuple[Shape, Shape]], names: Mapping[str, str]) -> list[str]:
    return [f"{readable(names[name])}: {theirs}, not {own}" for name, (theirs, own) in shapes.items()]


def _explain_shapes(
    model: str,
    origin: str,
    shapes: Mapping[str, tuple[Shape, Shape]],
    ours: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> None:
    """Raises UserError with the way out, where the shapes that differ are those of an option of create_model."""
    if any(len(theirs) != len(own) for theirs, own in shapes.values()):
        return
    axes = {axis for theirs, own in shapes.values() for axis in range(len(own)) if theirs[axis] != own[axis]}
    theirs, own = next(iter(shapes.values()))
    if set(shapes) <= set(_HEAD) and axes == {0}:
        raise UserError(
            f"{origin}: its classifier has {theirs[0]} classes, {model} was built for {own[0]}; set num_classes to "
            f"{theirs[0]}, or reset_head to True to fine-tune with a new classifier"
        )
    if set(shapes) == {_FIRST_CONV} and axes == {1}:
        raise UserError(
            f"{origin}: its images have {theirs[1]} channels, {model} was built for {own[1]}; set in_channels to "
            f"{theirs[1]}"
        )
    if not all(name.endswith(TABLES) for name in shapes):
        return
    listed = _list_shapes(shapes, names)
    more = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    examples = "; ".join(listed[:_SHOWN]) + more
    if 1 in axes:
        name, (theirs, own) = next((name, pair) for name, pair in shapes.items() if pair[0][1] != pair[1][1])
        stage = int(name.split(".")[1]) + 1
        raise UserError(
            f"{origin}: its heads have {theirs[1]} channels in stage {stage}, those of {model} {own[1]}: it has "
            f"{_count_heads(ours, name, theirs)} heads there, {model} {_count_heads(ours, name, own)} ({examples}); no "
            "option changes that: build a HaloNet with a Stage of as many num_heads (docs/new_model.md)"
        )
    raise UserError(
        f"{origin}: its position tables have {theirs[0]} rows, those of {model} as it was built {own[0]} ({examples}); "
        f"set {_name_table_options(shapes, ours)} to the file's, or resize_pos to True to fine-tune with others"
    )


def _count_heads(ours: Mapping[str, np.ndarray], table: str, shape: Shape) -> int:
    """The heads of the attention with this table, if it has this shape."""
    attention = table.partition(".pos_embed.")[0]
    parts = {f"{attention}.q.weight": 1, f"{attention}.qkv.weight": 3}
    return next((len(ours[name]) // (count * shape[1]) for name, count in parts.items() if name in ours), 0)


def _name_table_options(shapes: Mapping[str, tuple[Shape, Shape]], ours: Mapping[str, np.ndarray]) -> str:
    """The options that the rows of these tables follow from, of a window or of the whole map."""
    of_map = {f"{name.partition('.pos_embed.')[0]}.qkv.weight" in ours for name in shapes}
    names = {False: "block_size and halo_size", True: "image_resize (image_size)"}
    return " and ".join(names[kind] for kind in sorted(of_map))
