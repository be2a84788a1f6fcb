"""MindCV's helpers for model functions: what a `@register_model` of your own calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mindspore import Parameter, Tensor, nn

from ..errors import UserError
from .features import ALL_MAPS, FeatureExtractor, FeatureExtractWrapper
from .layers.checks import check_flag, check_whole
from .layers.rounding import make_divisible
from .network import HaloNet
from .specs import IMAGE_CHANNELS
from .weights import (
    WeightFile,
    fetch_pretrained,
    fill_network,
    load_own_weights,
    load_weights,
    open_weights,
    read_weights,
    select_weights,
    weights_folder,
)

__all__ = [
    "ConfigDict",
    "auto_map",
    "build_model_with_cfg",
    "get_checkpoint_download_root",
    "load_model_checkpoint",
    "load_pretrained",
    "make_divisible",
]


class ConfigDict(dict):
    """A dict whose keys are attributes too; None for one that it lacks."""

    __getattr__ = dict.get
    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__


def get_checkpoint_download_root() -> str:
    """The folder of the cache that published weights are kept in."""
    return str(weights_folder())


def build_model_with_cfg(
    model_cls: Callable[..., nn.Cell],
    pretrained: bool,
    default_cfg: Mapping[str, Any],
    features_only: bool = False,
    out_indices: Sequence[int] = ALL_MAPS,
    **kwargs: Any,
) -> nn.Cell:
    """model_cls(**kwargs), with the published weights that `default_cfg` names if `pretrained`.

    With `features_only` a FeatureExtractWrapper around it. Raises UserError where there are no weights or no maps.
    """
    pretrained = check_flag("build_model_with_cfg", "pretrained", pretrained)
    features_only = check_flag("build_model_with_cfg", "features_only", features_only)
    for name, least in (("num_classes", 0), ("in_channels", 1)):
        if name in kwargs:  # of numpy's integers MindSpore's layers take none
            kwargs[name] = check_whole("build_model_with_cfg", name, kwargs[name], least)
    network = model_cls(**kwargs)
    if pretrained:
        load_pretrained(network, default_cfg, kwargs.get("num_classes", 1000), kwargs.get("in_channels", 3))
    return FeatureExtractWrapper(network, out_indices) if features_only else network


def load_pretrained(
    model: nn.Cell,
    default_cfg: Mapping[str, Any],
    num_classes: int = 1000,
    in_channels: int = 3,
    filter_fn: Callable[[dict[str, Parameter]], Mapping[str, Tensor]] | None = None,
) -> None:
    """Give `model` the weights at default_cfg["url"], from the cache or the network.

    The classifier, whose module default_cfg["classifier"] names, is left out where `num_classes` is not
    default_cfg["num_classes"]; the first convolution, default_cfg["first_conv"], is summed over colours for
    `in_channels` 1. `filter_fn` gets the parameters of the file by name and returns those to load; what it leaves out
    stays as it is in the model (in a HaloNet it must not leave out any). Loading is strict both ways.

    Raises UserError where there are no weights, they cannot be had, or do not fit.
    """
    is_halonet = isinstance(model, HaloNet)
    path = str(fetch_pretrained(type(model).__name__, default_cfg, of_halonet=is_halonet))
    reset_head = num_classes != default_cfg.get("num_classes", 1000)
    if is_halonet and filter_fn is None:
        _load_halonet(model, open_weights(path), reset_head)
        return
    origin = f"checkpoint {path}"
    names = model.parameters_dict().keys()
    arrays = open_weights(path).arrays if is_halonet else read_weights(path, is_weight=names.__contains__)
    in_file = set(arrays)
    if filter_fn is not None:
        kept = filter_fn({name: Parameter(Tensor(value), name=name) for name, value in arrays.items()})
        arrays = {name: value.asnumpy() for name, value in kept.items()}
    if is_halonet:
        load_weights(model, arrays, origin=origin, reset_head=reset_head)
        return
    first = f"{default_cfg.get('first_conv')}.weight"
    if in_channels == 1 and first in arrays and arrays[first].shape[1] == IMAGE_CHANNELS:
        arrays[first] = arrays[first].sum(axis=1, keepdims=True)
    fill_network(
        model,
        arrays,
        origin,
        classifier=default_cfg.get("classifier", ""),
        reset_head=reset_head,
        optional=in_file - arrays.keys(),
    )


def load_model_checkpoint(
    model: nn.Cell, checkpoint_path: str = "", ema: bool = False, auto_mapping: bool = False
) -> None:
    """Give `model` the weights of a file of any kind that create_model takes; of a training checkpoint, these alone.

    `ema` takes the averaged weights, `auto_mapping` cuts off a prefix that is no usual wrapper's. Strict both ways:
    raises UserError for weights that do not fit, and for a HaloNet that was built to compute something else from them.
    """
    if isinstance(model, FeatureExtractWrapper) and isinstance(model.net, FeatureExtractor):
        model = model.net
    if isinstance(model, HaloNet | FeatureExtractor):
        _load_halonet(model, open_weights(checkpoint_path, ema=ema, strip_prefix=auto_mapping), reset_head=False)
    else:
        load_own_weights(model, checkpoint_path, ema=ema, strip_prefix=auto_mapping)


def auto_map(model: nn.Cell, param_dict: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The entries of `param_dict` that are the model's, under the model's names: without a prefix that all share.

    MindCV's guesses by likeness, which can give a layer another's weights; this never does.
    Raises UserError where a parameter of the model is missing.
    """
    names = model.parameters_dict().keys()
    parameters = {name: value for name, value in param_dict.items() if isinstance(value, Tensor)}  # and no text
    found = select_weights(parameters, names.__contains__, any_prefix=True, leave_out=True, origin="auto_map")
    missing = sorted(names - found.keys())
    if missing:
        raise UserError(
            f"auto_map: {len(missing)} parameters of {type(model).__name__} are not there, such as {missing[0]}; "
            "it is another model's"
        )
    return {name: found[name] for name in names}


def _load_halonet(model: HaloNet | FeatureExtractor, file: WeightFile, reset_head: bool) -> None:
    if file.dialect != model.dialect.name:
        raise UserError(
            f"{file.origin}: its dialect is {file.dialect}, the model was built with {model.dialect.name}; build it "
            f"with dialect={file.dialect!r}, or with create_model(..., checkpoint_path=...)"
        )
    if file.mask_padding and not model.mask_padding:
        raise UserError(f"{file.origin}: its weights were trained with mask_padding True; build the model with it")
    load_weights(model, file, reset_head=reset_head)
