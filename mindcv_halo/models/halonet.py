"""The family: a function for each model, and what the peers call them.

Each takes the options of create_model but for those that concern weights, and returns a HaloNet, or with
`features_only` a FeatureExtractor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from inspect import signature
from typing import Any

from ..errors import UserError, unknown_name
from . import specs
from .default_cfgs import default_cfgs  # the registry looks for it beside the model functions
from .features import ALL_MAPS, FeatureExtractor
from .layers.checks import check_flag, check_whole, list_items
from .network import HaloNet
from .registry import register_aliases, register_model
from .specs import Spec, with_conv_stages, with_window

_OF_CREATE_MODEL = ("pretrained", "checkpoint_path", "ema", "auto_mapping", "reset_head", "resize_pos")


def _build(
    spec: Spec,
    pretrained: bool,
    num_classes: int,
    in_channels: int,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] = ALL_MAPS,
    conv_stages: Iterable[int] | None = None,
    block_size: int | None = None,
    halo_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> HaloNet | FeatureExtractor:
    """What a model's function returns. create_model's options, but for those that concern weights; None is none."""
    name = spec.name
    for option in _OF_CREATE_MODEL:
        value = options.pop(option, None) if option != "pretrained" else pretrained
        if value:
            raise UserError(f"{name}: {option}={value!r} is for create_model; call create_model({name!r}, ...) with it")
    options = {option: value for option, value in options.items() if value is not None}
    for option in options:
        if option not in _OF_HALONET:
            known = {*_OF_HALONET, *signature(_build).parameters} - {"spec", "options"}
            raise unknown_name(f"option of {name}", option, known)
    if conv_stages is not None and list_items(conv_stages):
        raise UserError(f"{name}: conv_stages {conv_stages!r} is for the H models only; leave it out")
    if image_size is None:
        image_size = default_cfgs[name]["input_size"][1:]
    if check_flag(name, "features_only", features_only):
        check_whole(name, "num_classes", num_classes, 0)
        num_classes = 0
        if options.get("drop_rate"):
            raise UserError(
                f"{name}: drop_rate {options['drop_rate']!r} is before the classifier, which features_only leaves out"
            )
    elif list_items(out_indices) != ALL_MAPS:
        raise UserError(f"{name}: out_indices {out_indices!r} is for features_only=True; set that, or leave it out")
    network = HaloNet(
        with_window(spec, block_size, halo_size), num_classes, in_channels, image_size=image_size, **options
    )
    network.default_cfg = network.pretrained_cfg = deepcopy(default_cfgs[name])
    return FeatureExtractor(network, out_indices) if features_only else network


_OF_HALONET = signature(HaloNet).parameters.keys() - {"spec", "num_classes", "in_channels", "image_size"}


@register_model
def halonet_26t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Attention in the last two stages; timm's halonet26t. Options as in create_model."""
    return _build(specs.HALONET_26T, pretrained, num_classes, in_channels, **options)


@register_model
def halonet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Attention from stage 2 on; timm's halonet50ts and MindCV's halonet_50t. Options as in create_model."""
    return _build(specs.HALONET_50T, pretrained, num_classes, in_channels, **options)


@register_model
def halonet_se33t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """With squeeze-and-excitation; timm's sehalonet33ts. Options as in create_model."""
    return _build(specs.HALONET_SE33T, pretrained, num_classes, in_channels, **options)


@register_model
def halonet_eca26t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Grouped convolutions with efficient channel attention; timm's eca_halonext26ts. Options as in create_model."""
    return _build(specs.HALONET_ECA26T, pretrained, num_classes, in_channels, **options)


@register_model
def haloregnetz_b(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Inverted bottlenecks (RegNet-Z) with halo attention; timm's haloregnetz_b. Options as in create_model."""
    return _build(specs.HALOREGNETZ_B, pretrained, num_classes, in_channels, **options)


@register_model
def halobotnet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Halo, then global attention; timm's halo2botnet50ts_256. Options as in create_model."""
    return _build(specs.HALOBOTNET_50T, pretrained, num_classes, in_channels, **options)


@register_model
def lamhalobotnet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Lambda layers, halo, then global attention; timm's lamhalobotnet50ts_256. Options as in create_model."""
    return _build(specs.LAMHALOBOTNET_50T, pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h0(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H0; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H0, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h1(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H1; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H1, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h2(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H2; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H2, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h3(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H3; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H3, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h4(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H4; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H4, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h5(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H5; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H5, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h6(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H6; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H6, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_h7(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H7; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(specs.HALONET_H7, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model
def halonet_test(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """A tiny model for tests, documentation and the quick start. Options as in create_model."""
    return _build(specs.HALONET_TEST, pretrained, num_classes, in_channels, **options)


# timm's names, then those of keras_cv_attention_models.
register_aliases(
    {
        "halonet26t": "halonet_26t",
        "halonet50ts": "halonet_50t",
        "sehalonet33ts": "halonet_se33t",
        "eca_halonext26ts": "halonet_eca26t",
        "halo2botnet50ts_256": "halobotnet_50t",
        "lamhalobotnet50ts_256": "lamhalobotnet_50t",
        "HaloNet26T": "halonet_26t",
        "HaloNet50T": "halonet_50t",
        "HaloNetSE33T": "halonet_se33t",
        "HaloNextECA26T": "halonet_eca26t",
        "HaloRegNetZB": "haloregnetz_b",
        "HaloBotNet50T": "halobotnet_50t",
        **{f"HaloNetH{number}": f"halonet_h{number}" for number in range(8)},
        # The names of timm's published weights, such as halonet50ts.a1h_in1k.
        **{cfg["hub_id"].removeprefix("timm/"): name for name, cfg in default_cfgs.items() if "hub_id" in cfg},
    }
)
