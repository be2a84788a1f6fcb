"""create_model: a model by name, with weights if wanted."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mindspore import nn

from ..errors import UserError, unknown_name
from .features import ALL_MAPS, FeatureExtractor, FeatureExtractWrapper
from .layers.checks import check_flag, check_image_size, check_whole, is_whole, list_items
from .network import HaloNet
from .registry import (
    canonical_name,
    complete_cfg,
    get_pretrained_cfg,
    is_model_pretrained,
    is_own_model,
    model_entrypoint,
)
from .specs import DIALECTS, HALO_ATTENTION, IMAGE_CHANNELS, Dialect, find_dialect
from .weights import fetch_pretrained, load_own_weights, load_weights, open_weights


class _Usual(int):
    """A default that can be told from the same number when somebody gives it."""


_NUM_CLASSES = _Usual(1000)
_logger = logging.getLogger("mindcv_halo")


def create_model(
    model_name: str,
    num_classes: int = _NUM_CLASSES,
    pretrained: bool = False,
    in_channels: int = IMAGE_CHANNELS,
    checkpoint_path: str | os.PathLike[str] = "",
    ema: bool = False,
    auto_mapping: bool = False,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] = ALL_MAPS,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    dialect: str | Dialect | None = None,
    mask_padding: bool = False,
    image_size: int | tuple[int, int] | None = None,
    conv_stages: Iterable[int] = (),
    block_size: int | None = None,
    halo_size: int | None = None,
    reset_head: bool | None = None,
    resize_pos: bool = False,
    **unknown: Any,
) -> HaloNet | FeatureExtractor:
    """The model that is registered as `model_name`, or under that name in timm or Keras.

    Args:
        num_classes: classes of the head; 0 for pooled features. By default 1000, or those of the `pretrained` weights.
        pretrained: published weights, from the cache or the network; halonet_mini's travel with this package.
            `halonet_50t.mindcv` are MindCV's.
        in_channels: channels of the images. Weights for 3 are adapted to other numbers.
        checkpoint_path: a file of weights whose names are ours, timm's, MindCV's or Keras's: .ckpt, .safetensors, and
            with the extra `convert` .pth, .pt, .bin, .tar and .h5; what torch and Keras wrote may have any name. Takes
            the place of `pretrained`, which the log then says.
        ema: take the averaged weights (`ema.*`) of a training checkpoint.
        auto_mapping: leave out what a file holds outside of the prefix that all names of the weights share; the log
            says what. The prefix itself, as wrappers such as data parallelism add it, is ignored anyway.
        features_only: return a FeatureExtractor for `out_indices`.
        drop_rate: dropout before the classifier; None is 0.
        drop_path_rate: stochastic depth of the last block; None is 0.
        dialect: "timm", "keras" or "mindcv"; None takes that of the weights, and timm's without any.
        mask_padding: keep pixels outside the map out of the softmax of halo attention.
        image_size: side, or (height, width), of the images, for models with bottleneck attention; None is the model's
            own.
        conv_stages: H models and halonet_mini: stages, from 1, with convolutions in place of attention.
        block_size: side of the blocks of halo attention, in pixels of the map; None is the model's own.
        halo_size: width of the rim around a block, likewise.
        reset_head: leave out the file's classifier where its size is not ours, for fine-tuning on other classes; the
            log says so. None does that where `num_classes` is given.
        resize_pos: interpolate position tables of another window or image size, for fine-tuning with these.

    A model of your own (`register_model`) gets those of the options that are given, and any others. If it is no
    HaloNet, `pretrained` is its function's affair, a file must have its own names, and features_only needs its
    `feature_info`, or a function that takes the option.

    Raises UserError for unknown names (with the nearest), impossible settings, settings that nothing would come of
    (such as resize_pos without weights, or num_classes with features_only), and weights that do not fit.
    """
    name = canonical_name(model_name)
    entrypoint = model_entrypoint(name)
    is_own = is_own_model(name)
    if unknown and not is_own:
        parameters = inspect.signature(create_model).parameters
        raise unknown_name("create_model option", next(iter(unknown)), parameters.keys() - {"unknown"})
    switches = {
        **{"pretrained": pretrained, "ema": ema, "auto_mapping": auto_mapping, "features_only": features_only},
        **{"mask_padding": mask_padding, "reset_head": reset_head, "resize_pos": resize_pos},
    }
    for switch, value in switches.items():
        if value is not None:
            check_flag(name, switch, value)
    out_indices = out_indices if is_whole(out_indices) else list_items(out_indices)
    if not features_only and out_indices != ALL_MAPS:
        raise UserError(
            f"{name}: out_indices {out_indices!r} is for features_only=True; set that, or take forward_intermediates"
        )
    if num_classes is None:
        raise UserError(f"{name}: num_classes None must be a number; count the classes, or leave it out for 1000")
    check_whole(name, "num_classes", num_classes, 0)
    check_whole(name, "in_channels", in_channels)
    if dialect is not None:
        dialect = find_dialect(dialect)
    resets_head = bool(reset_head)  # because somebody says so
    if reset_head is None:
        reset_head = num_classes is not _NUM_CLASSES
    conv_stages = () if conv_stages is None else list_items(conv_stages)
    options = {
        **{"drop_rate": drop_rate, "drop_path_rate": drop_path_rate, "mask_padding": mask_padding or None},
        **{"block_size": block_size, "halo_size": halo_size, "conv_stages": conv_stages or None},
        "image_size": _image_size(name, image_size, is_own),
        "dialect": dialect,
        **unknown,
    }
    options = {option: value for option, value in options.items() if value is not None}
    if "conv_stages" in options and not is_own and "conv_stages" not in inspect.signature(entrypoint).parameters:
        raise UserError(f"{name}: conv_stages {conv_stages} is for the H models and halonet_mini only; leave it out")
    basis = {"num_classes": num_classes, "in_channels": in_channels}
    path = os.fspath(checkpoint_path or "")
    if pretrained and not path and not is_own and num_classes is _NUM_CLASSES:
        basis["num_classes"] = complete_cfg(model_name)["num_classes"]

    about_weights = {"ema": ema, "auto_mapping": auto_mapping, "reset_head": resets_head, "resize_pos": resize_pos}
    _check_use(name, path, pretrained, about_weights)

    if is_own:
        network = _build(entrypoint, basis, options)  # which tells what it is
        if not isinstance(network, HaloNet):
            if resize_pos:
                raise UserError(
                    f"{name}: resize_pos True is for HaloNets, this is a {type(network).__name__}; leave it out"
                )
            weights = {"ema": ema, "strip_prefix": auto_mapping, "reset_head": reset_head}
            if pretrained and not path:
                path, options = _find_own_weights(model_name, options)
                if not path and auto_mapping:
                    raise UserError(f"{name}: auto_mapping True, but its own function gets the weights; leave it out")
            if "pretrained" in options:
                network = _build(entrypoint, basis, options)
            if features_only and not hasattr(network, "feature_info"):  # its function has to know how
                options |= {"features_only": True, "out_indices": out_indices}
                network, features_only = _build(entrypoint, basis, options), False
            if path:
                load_own_weights(network, path, classifier=complete_cfg(name).get("classifier", ""), **weights)
            return FeatureExtractWrapper(network, out_indices) if features_only else network
    if features_only:
        basis["num_classes"] = 0

    def build(**others: Any) -> tuple[HaloNet, FeatureExtractor | None]:
        network = _build(entrypoint, basis, {**options, **others})
        network.default_cfg = network.pretrained_cfg = complete_cfg(model_name)
        return network, FeatureExtractor(network, out_indices) if features_only else None

    network, maps = build()  # before weights are read or fetched: it checks the settings
    given = {**options, "num_classes": 0 if num_classes is _NUM_CLASSES else num_classes, "image_size": image_size}
    if complete_cfg(name)["fixed_input_size"]:
        del given["image_size"]
    given = {option: value for option, value in given.items() if value is not None}
    _check_use_by_halonet(network, features_only, given)
    if pretrained and not path:
        if is_own and not is_model_pretrained(model_name):
            options["pretrained"] = True  # its function knows more
            network, maps = build()
        else:
            path = str(fetch_pretrained(model_name, get_pretrained_cfg(model_name)))
    if path:
        file = open_weights(path, ema=ema, strip_prefix=auto_mapping)
        if dialect is None and file.dialect != network.dialect.name:
            network, maps = build(dialect=DIALECTS[file.dialect])
        if file.mask_padding and not mask_padding:
            raise UserError(f"{file.origin}: its weights were trained with mask_padding True; set mask_padding to True")
        load_weights(network, file, reset_head=reset_head, resize_pos=resize_pos)
    return network if maps is None else maps


def _check_use(name: str, path: str, pretrained: bool, about_weights: Mapping[str, bool]) -> None:
    """Raises UserError for a setting that nothing would come of; what is switched off is none."""
    if path and pretrained:
        _logger.warning(f"{name}: checkpoint {path} takes the place of pretrained=True")
    for option, value in about_weights.items():
        if value and not path and not pretrained:
            raise UserError(
                f"{name}: {option} True is about weights, and there are none; give ckpt_path (checkpoint_path), or "
                f"leave {option} out"
            )
    if about_weights["ema"] and not path:
        raise UserError(f"{name}: ema True, but published weights hold no averages; leave it out")


def _check_use_by_halonet(network: HaloNet, features_only: bool, given: Mapping[str, Any]) -> None:
    """As _check_use, for what only the network itself tells; `given` are the settings that somebody gave."""
    name, spec = network.spec.name, network.spec
    if features_only:
        for option in {"num_classes", "drop_rate"} & given.keys():
            if given[option]:
                raise UserError(
                    f"{name}: features_only True has no classifier for {option} {given[option]}; leave {option} out"
                )
    if "image_size" in given and not spec.fixed_size:
        raise UserError(
            f"{name}: image_size {given['image_size']} is for models with bottleneck attention, this takes images of "
            "any size; leave it out"
        )
    if any(HALO_ATTENTION in stage.pattern for stage in spec.stages):
        return
    for option in ("block_size", "halo_size", "mask_padding"):
        if option in given:
            raise UserError(f"{name}: {option} {given[option]}, but it has no halo attention; leave {option} out")


def _find_own_weights(model_name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """For a network of the user's own: the file of a tag, which its function does not know, or else the option."""
    cfg = get_pretrained_cfg(model_name)
    if cfg != get_pretrained_cfg(canonical_name(model_name)):
        return str(fetch_pretrained(model_name, cfg, of_halonet=False)), options
    return "", {**options, "pretrained": True}


def _build(entrypoint: Callable[..., nn.Cell], basis: Mapping[str, int], options: Mapping[str, Any]) -> nn.Cell:
    """The model of a registered function, which need not take what every model of MindCV's takes."""
    parameters = inspect.signature(entrypoint).parameters
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    given = {**basis, **options}
    for option in [option for option in given if option not in parameters and not takes_any]:
        value = given.pop(option)
        if value is not _NUM_CLASSES and (option, value) != ("in_channels", IMAGE_CHANNELS):
            raise UserError(
                f"{entrypoint.__name__}: {option} {value!r}, but its function takes "
                f"{', '.join(parameters) or 'nothing'}; leave it out, or let the function take it"
            )
    given = {option: int(value) if option in basis else value for option, value in given.items()}
    try:
        inspect.signature(entrypoint).bind(**given)
    except TypeError as error:
        raise UserError(
            f"{entrypoint.__name__}: {error} when it is called with {', '.join(given) or 'nothing'} by name; give such "
            "arguments of its function a default, and let them be given by name"
        ) from error
    network = entrypoint(**given)
    if not isinstance(network, nn.Cell):
        raise UserError(
            f"{entrypoint.__name__}: its function returned {network!r}, which is no network; let it return an nn.Cell"
        )
    return network


def _image_size(name: str, image_size: int | tuple[int, int] | None, is_own: bool) -> tuple[int, int] | None:
    """The (height, width) to build the model for: what is given, else its own; None for an own one of any size."""
    if image_size is None:
        cfg = complete_cfg(name)
        return tuple(cfg["input_size"][1:]) if cfg["fixed_input_size"] or not is_own else None
    return check_image_size(name, image_size)
