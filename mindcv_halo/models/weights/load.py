"""From a weight file to a network: read, recognise, translate, compare both ways, load."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor, load_checkpoint, load_param_into_net, nn

from ...errors import UserError
from ..layers.random_drop import DRAWS
from .from_keras import KERAS
from .from_mindcv import MINDCV
from .from_timm import TIMM
from .rules import Source, translate

OURS = Source("mindcv_halo", signature=r"stages\.0\.0\.reduce\.conv\.weight", dialect="timm", rules=())
SOURCES = (OURS, TIMM, MINDCV, KERAS)

_EMA = "ema."
_SHOWN = 3  # names of each kind of difference that an error lists


def read_weights(path: str, *, ema: bool = False, strip_prefix: bool = False) -> dict[str, np.ndarray]:
    """The arrays in a .ckpt or .safetensors file, by name.

    `ema` takes the entries called `ema.*` in place of the live weights, `strip_prefix` cuts off a prefix that all names
    share, such as `module.`. Raises UserError for a missing, damaged or unknown kind of file.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"checkpoint {path}: there is no such file; check the path")
    if file.suffix == ".safetensors":
        weights = _read_safetensors(file)
    elif file.suffix == ".ckpt":
        weights = _read_ckpt(file)
    else:
        raise UserError(f"checkpoint {path}: the name must end in .ckpt or .safetensors")
    averaged = {name.removeprefix(_EMA): value for name, value in weights.items() if name.startswith(_EMA)}
    if ema and not averaged:
        raise UserError(f"checkpoint {path}: ema=True, but the file holds no averaged weights; set ema to False")
    # What is in both is the network's; the optimizer's state has no average.
    weights = averaged if ema else {name: value for name, value in weights.items() if not name.startswith(_EMA)}
    if not weights:
        raise UserError(f"checkpoint {path}: it holds no weights" + ("" if not averaged else "; set ema to True"))
    return _without_common_prefix(weights) if strip_prefix else weights


def recognise(weights: Mapping[str, np.ndarray], origin: str = "weights") -> Source:
    """Whose names these are. Raises UserError when they are no HaloNet's that we know."""
    for source in SOURCES:
        if any(re.fullmatch(source.signature, name) for name in weights):
            return source
    examples = ", ".join(list(weights)[:3])
    raise UserError(
        f"{origin}: no HaloNet of {', '.join(source.name for source in SOURCES)}: the names in it are like {examples}; "
        "if a wrapper put a prefix before them, pass auto_mapping=True"
    )


def load_weights(
    network: nn.Cell, weights: Mapping[str, np.ndarray], *, origin: str = "weights", reset_head: bool = False
) -> None:
    """Give `network` the weights, which may have the names of any of the sources.

    Strict both ways: raises UserError with the difference when a name is missing, unknown, or has another shape. With
    `reset_head` a classifier of another size is left out, and the network keeps its own.
    """
    parameters = {
        name: parameter
        for name, parameter in network.parameters_dict().items()
        if not name.endswith(DRAWS)  # the state of a run, not a weight
    }
    source = recognise(weights, origin)
    ours, names = translate(source, weights, parameters.keys())
    ours = {name: value for name, value in ours.items() if not name.endswith(DRAWS)}
    if "classifier.weight" not in parameters:  # a network without a head, for features
        ours = {name: value for name, value in ours.items() if not name.startswith("classifier.")}
    if reset_head:
        for name in ("classifier.weight", "classifier.bias"):
            if name in ours and name in parameters and ours[name].shape != parameters[name].shape:
                del ours[name]
                del parameters[name]

    model = network.spec.name
    _compare(model, origin, source, parameters, ours, names)
    odd = next((name for name, value in ours.items() if not np.issubdtype(value.dtype, np.floating)), None)
    if odd is not None:
        raise UserError(f"{origin}: {names[odd]} holds {ours[odd].dtype}, weights are floating-point numbers")
    bad = next((name for name, value in ours.items() if not np.isfinite(value).all()), None)
    if bad is not None:
        raise UserError(f"{origin}: {names[bad]} holds values that are not finite; the file is of no use")
    load_param_into_net(
        network, {name: Parameter(Tensor(value.astype(np.float32)), name=name) for name, value in ours.items()}
    )


def _compare(
    model: str,
    origin: str,
    source: Source,
    parameters: Mapping[str, Parameter],
    ours: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> None:
    missing = sorted(parameters.keys() - ours.keys())
    unknown = sorted(ours.keys() - parameters.keys())
    reshaped = sorted(name for name in ours.keys() & parameters.keys() if ours[name].shape != parameters[name].shape)
    heads = [name for name in reshaped if name.startswith("classifier.")]
    if reshaped and reshaped == heads and not missing and not unknown:
        theirs, own = ours[heads[-1]].shape[0], parameters[heads[-1]].shape[0]
        raise UserError(
            f"{origin}: its classifier has {theirs} classes, {model} was built for {own}; set num_classes to {theirs}, "
            "or reset_head to True to fine-tune with a new classifier"
        )
    if reshaped == ["stem.conv1.conv.weight"] and not missing and not unknown:
        theirs, own = ours[reshaped[0]].shape[1], parameters[reshaped[0]].shape[1]
        raise UserError(
            f"{origin}: its images have {theirs} channels, {model} was built for {own}; set in_channels to {theirs}"
        )
    if not (missing or unknown or reshaped):
        return
    parts = [
        f"{len(shown)} {kind} ({', '.join(shown[:_SHOWN])}{', ...' if len(shown) > _SHOWN else ''})"
        for kind, shown in (
            ("missing in the file", missing),
            ("unknown to the model", [names[name] for name in unknown]),
            (
                "of another shape",
                [f"{names[name]}: {ours[name].shape}, not {parameters[name].shape}" for name in reshaped],
            ),
        )
        if shown
    ]
    raise UserError(
        f"{origin} (read as {source.name}'s names) does not fit {model}: {'; '.join(parts)}; "
        "it is another model's, or damaged: check the model's name, or get the file anew"
    )


def _read_ckpt(file: Path) -> dict[str, np.ndarray]:
    try:
        parameters = load_checkpoint(str(file), crc_check=True)  # a file without a checksum passes
    except (ValueError, RuntimeError, TypeError) as error:  # what MindSpore raises for a damaged file
        raise UserError(f"checkpoint {file}: MindSpore cannot read it, it may be truncated; get it anew") from error
    return {name: value.asnumpy() for name, value in parameters.items() if isinstance(value, Tensor)}


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    # A requirement of MindSpore's own.
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"checkpoint {file}: cannot be read as safetensors ({error}); get it anew") from error


def _without_common_prefix(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefixes = {name.partition(".")[0] for name in weights}
    if len(prefixes) != 1:
        return weights
    return _without_common_prefix({name.partition(".")[2]: value for name, value in weights.items()})
