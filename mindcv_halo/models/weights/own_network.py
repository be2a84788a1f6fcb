"""Weights into a network of the user's own, whose names and shapes are all that is known of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import numpy as np
from mindspore import Parameter, Tensor, load_param_into_net, nn

from ...errors import UserError
from ..layers.random_drop import DRAWS
from .formats.contents import readable
from .open import read_weights

_SHOWN = 3  # names of each kind of difference that an error lists
_logger = logging.getLogger("mindcv_halo")


def load_own_weights(
    network: nn.Cell,
    path: str,
    *,
    ema: bool = False,
    strip_prefix: bool = False,
    classifier: str = "",
    reset_head: bool = False,
) -> None:
    """Give `network` the weights of a file of any kind, by their names, which must be its own.

    `ema` and `strip_prefix` as in open_weights; what a training leaves beside the weights is left out. With
    `reset_head` the weights of the module called `classifier` are left out where they have another shape, and the log
    says so.

    Raises UserError with the difference when a name is missing, unknown, or has another shape.
    """
    names = network.parameters_dict().keys()
    arrays = read_weights(path, ema=ema, strip_prefix=strip_prefix, is_weight=names.__contains__)
    fill_network(network, arrays, f"checkpoint {path}", classifier=classifier, reset_head=reset_head)


def fill_network(
    network: nn.Cell,
    arrays: Mapping[str, np.ndarray],
    origin: str = "weights",
    *,
    classifier: str = "",
    reset_head: bool = False,
    optional: Collection[str] = (),
) -> None:
    """The second half of load_own_weights, for arrays that have been read; those called `optional` may be missing."""
    parameters = {
        name: parameter
        for name, parameter in network.parameters_dict().items()
        if not name.endswith(DRAWS) and (name in arrays or name not in optional)
    }
    arrays = {name: value for name, value in arrays.items() if not name.endswith(DRAWS)}  # the state of a run
    if reset_head and classifier:
        _drop_head(origin, classifier, arrays, parameters)
    missing = sorted(parameters.keys() - arrays.keys())
    unknown = sorted(arrays.keys() - parameters.keys())
    reshaped = [
        f"{name}: {tuple(arrays[name].shape)}, not {tuple(parameters[name].shape)}"
        for name in sorted(arrays.keys() & parameters.keys())
        if tuple(arrays[name].shape) != tuple(parameters[name].shape)
    ]
    parts = [
        f"{len(names)} {kind} ({', '.join(map(readable, names[:_SHOWN]))}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (
            ("missing in the file", missing),
            ("unknown to the model", unknown),
            ("of another shape", reshaped),
        )
        if names
    ]
    if parts:
        raise UserError(
            f"{origin} does not fit {type(network).__name__}: {'; '.join(parts)}; "
            f"{_find_way_out(missing, unknown, reshaped)}"
        )
    load_param_into_net(
        network,
        {
            name: Parameter(Tensor(value, parameters[name].dtype), name=name, requires_grad=False)
            for name, value in arrays.items()
        },
    )


def _find_way_out(missing: list[str], unknown: list[str], reshaped: list[str]) -> str:
    if reshaped and not missing and not unknown:
        return "set num_classes, in_channels and the model's other options to the file's"
    return "it is another model's: check the model"


def _drop_head(origin: str, classifier: str, arrays: dict[str, np.ndarray], parameters: dict[str, Parameter]) -> None:
    head = [name for name in parameters if name.startswith(f"{classifier}.")]
    if all(name in arrays and tuple(arrays[name].shape) == tuple(parameters[name].shape) for name in head):
        return
    _logger.warning(f"{origin}: its classifier {classifier} has another size and is left out; the model's starts anew")
    for name in head:
        arrays.pop(name, None)
        del parameters[name]
