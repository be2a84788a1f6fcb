"""The family: every model is a specification, and below it the function that `create_model` calls by its name.

Each function takes the options of create_model but for those that concern weights, and returns a HaloNet, or with
`features_only` a FeatureExtractor. The decorator says the rest: what images and weights there are, and what timm and
Keras call the model. All else about a model follows from here; pages and tables are written by `make pages`.

Sources: Vaswani et al. 2021 (arXiv:2103.12731) for the operator and the H family; timm 1.0.31 for the T models and the
hybrids; keras_cv_attention_models for the head counts and the activation of H0-H7, which it reads out of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from inspect import signature
from typing import Any

from ..errors import UserError, unknown_name
from .default_cfg import FASHION_MNIST_MEAN, FASHION_MNIST_STD, HALF, make_cfg, packaged_cfg, timm_cfg
from .features import ALL_MAPS, FeatureExtractor
from .layers.checks import check_flag, check_whole, list_items
from .network import HaloNet
from .registry import list_cfgs, register_model
from .specs import HALO_ATTENTION, ChannelAttention, Halo, Spec, Stage, Stem, with_conv_stages, with_window

__all__ = [
    "halobotnet_50t",
    "halonet_26t",
    "halonet_50t",
    "halonet_eca26t",
    "halonet_h0",
    "halonet_h1",
    "halonet_h2",
    "halonet_h3",
    "halonet_h4",
    "halonet_h5",
    "halonet_h6",
    "halonet_h7",
    "halonet_mini",
    "halonet_se33t",
    "halonet_test",
    "haloregnetz_b",
    "lamhalobotnet_50t",
]

_TIERED_POOL = Stem((24, 32, 64), (2, 1, 1))
_TIERED = Stem((24, 32, 64), (2, 1, 2), pool=False)


# ---- T models: a ResNet-like trunk with attention late (timm: halonet26t, halonet50ts, sehalonet33ts,
# eca_halonext26ts)

HALONET_26T = Spec(
    "halonet_26t",
    _TIERED_POOL,
    (Stage("CC", 256, 64, stride=1), Stage("CC", 512, 128), Stage("CA", 1024, 256), Stage("AA", 2048, 512)),
    halo=Halo(8, 2),
    act="relu",
)


@register_model(
    cfg=timm_cfg("halonet26t_a1h_256-3083328c.pth", "timm/halonet26t.a1h_in1k", 79.134, 94.340),
    aliases=("halonet26t", "HaloNet26T"),
)
def halonet_26t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Attention in the last two stages; timm's halonet26t. Options as in create_model."""
    return _build(HALONET_26T, pretrained, num_classes, in_channels, **options)


HALONET_50T = Spec(
    "halonet_50t",
    _TIERED_POOL,
    (
        Stage("CCC", 256, 64, stride=1),
        Stage("CCCA", 512, 128, num_heads=4),
        Stage("CACACA", 1024, 256),
        Stage("CAC", 2048, 512),
    ),
    halo=Halo(8, 3),
)


@register_model(
    cfg=timm_cfg("halonet50ts_a1h2_256-f3a3daee.pth", "timm/halonet50ts.a1h_in1k", 81.640, 95.612, crop_pct=0.94),
    tags={
        "mindcv": make_cfg(
            url="https://download.mindspore.cn/toolkits/mindcv/halonet/halonet_50t-533da6be.ckpt",
            file="halonet_50t-533da6be.ckpt",
            sha256="533da6be",
            interpolation="bilinear",
            top1=79.53,
            top5=94.79,
            source="MindCV configs/halonet/README.md",
        )
    },
    aliases=("halonet50ts", "HaloNet50T"),
)
def halonet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Attention from stage 2 on; timm's halonet50ts and MindCV's halonet_50t. Options as in create_model."""
    return _build(HALONET_50T, pretrained, num_classes, in_channels, **options)


HALONET_SE33T = Spec(
    "halonet_se33t",
    _TIERED,
    (Stage("CC", 256, 64, stride=1), Stage("CCA", 512, 128), Stage("CCA", 1024, 256), Stage("AA", 1536, 512)),
    halo=Halo(8, 3),
    gate=ChannelAttention("se"),
    head_width=1280,
)


@register_model(
    cfg=timm_cfg("sehalonet33ts_256-87e053f9.pth", "timm/sehalonet33ts.ra2_in1k", 80.976, 95.272, crop_pct=0.94),
    aliases=("sehalonet33ts", "HaloNetSE33T"),
)
def halonet_se33t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """With squeeze-and-excitation; timm's sehalonet33ts. Options as in create_model."""
    return _build(HALONET_SE33T, pretrained, num_classes, in_channels, **options)


HALONET_ECA26T = Spec(
    "halonet_eca26t",
    _TIERED_POOL,
    (Stage("CC", 256, 64, stride=1), Stage("CC", 512, 128), Stage("CA", 1024, 256), Stage("AA", 2048, 512)),
    halo=Halo(8, 2, dim_head=16),
    gate=ChannelAttention("eca"),
    group_width=16,
)


@register_model(
    cfg=timm_cfg("eca_halonext26ts_c_256-06906299.pth", "timm/eca_halonext26ts.c1_in1k", 79.518, 94.582, crop_pct=0.94),
    aliases=("eca_halonext26ts", "HaloNextECA26T"),
)
def halonet_eca26t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Grouped convolutions with efficient channel attention; timm's eca_halonext26ts. Options as in create_model."""
    return _build(HALONET_ECA26T, pretrained, num_classes, in_channels, **options)


# ---- Hybrids (timm: haloregnetz_b, halo2botnet50ts_256, lamhalobotnet50ts_256)

HALOREGNETZ_B = Spec(
    "haloregnetz_b",
    Stem((32,), (2,), pool=False),
    (Stage("CC", 48), Stage("CCCCCC", 96), Stage("CCCACCCACCCA", 192), Stage("AA", 288)),
    halo=Halo(7, 2, qk_ratio=0.33),
    gate=ChannelAttention("se", ratio=1 / 4, act="relu"),
    group_width=16,
    expansion=3.0,
    head_width=1536,
    conv_shortcut=False,
    act_after_sum=False,
)


@register_model(
    cfg=timm_cfg(
        "haloregnetz_c_raa_256-c8ad7616.pth",
        "timm/haloregnetz_b.ra3_in1k",
        81.058,
        95.196,
        size=224,
        crop_pct=0.94,
        mean=HALF,
        std=HALF,
    ),
    aliases=("HaloRegNetZB",),
)
def haloregnetz_b(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Inverted bottlenecks (RegNet-Z) with halo attention; timm's haloregnetz_b. Options as in create_model."""
    return _build(HALOREGNETZ_B, pretrained, num_classes, in_channels, **options)


_BOTNET_END = Stage("CTC", 2048, 512, num_heads=4)

HALOBOTNET_50T = Spec(
    "halobotnet_50t",
    _TIERED,
    (Stage("CCC", 256, 64, stride=1), Stage("CACA", 512, 128), Stage("CACACA", 1024, 256), _BOTNET_END),
    halo=Halo(8, 3),
)


@register_model(
    cfg=timm_cfg(
        "halo2botnet50ts_a1h2_256-fd9c11a3.pth",
        "timm/halo2botnet50ts_256.a1h_in1k",
        82.084,
        95.658,
        fixed_input_size=True,
    ),
    aliases=("halo2botnet50ts_256", "HaloBotNet50T"),
)
def halobotnet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Halo, then global attention; timm's halo2botnet50ts_256. Options as in create_model."""
    return _build(HALOBOTNET_50T, pretrained, num_classes, in_channels, **options)


LAMHALOBOTNET_50T = Spec(
    "lamhalobotnet_50t",
    _TIERED,
    (Stage("CCC", 256, 64, stride=1), Stage("CLCL", 512, 128, num_heads=4), Stage("CACACA", 1024, 256), _BOTNET_END),
    halo=Halo(8, 3),
)


@register_model(
    cfg=timm_cfg(
        "lamhalobotnet50ts_a1h2_256-fe3d9445.pth",
        "timm/lamhalobotnet50ts_256.a1h_in1k",
        81.552,
        95.510,
        fixed_input_size=True,
    ),
    aliases=("lamhalobotnet50ts_256",),
)
def lamhalobotnet_50t(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """Lambda layers, halo, then global attention; timm's lamhalobotnet50ts_256. Options as in create_model."""
    return _build(LAMHALOBOTNET_50T, pretrained, num_classes, in_channels, **options)


# ---- H models: attention in every block (Vaswani et al. 2021, table of the HaloNet family)


def _h_spec(name: str, block: int, halo: int, r_v: float, r_b: float, depth3: int, d_f: int | None) -> Spec:
    depths, widths, heads, strides = (3, 3, depth3, 3), (64, 128, 256, 512), (4, 8, 8, 8), (1, 2, 2, 2)
    return Spec(
        name,
        Stem((64,), (2,), kernel_size=7),
        tuple(
            Stage(HALO_ATTENTION * depth, int(width * r_b), width, stride=stride, num_heads=num_heads)
            for depth, width, num_heads, stride in zip(depths, widths, heads, strides, strict=True)
        ),
        halo=Halo(block, halo, value_expansion=r_v),
        head_width=d_f,
    )


#                                    block halo  r_v   r_b  depth3  d_f
HALONET_H0 = _h_spec("halonet_h0",       8,   3, 1.0, 0.50,      7, None)  # fmt: skip
HALONET_H1 = _h_spec("halonet_h1",       8,   3, 1.0, 1.00,     10, None)  # fmt: skip
HALONET_H2 = _h_spec("halonet_h2",       8,   3, 1.0, 1.25,     11, None)  # fmt: skip
HALONET_H3 = _h_spec("halonet_h3",      10,   3, 1.0, 1.50,     12, 1024)  # fmt: skip
HALONET_H4 = _h_spec("halonet_h4",      12,   2, 1.0, 3.00,     12, 1280)  # fmt: skip
HALONET_H5 = _h_spec("halonet_h5",      14,   2, 2.5, 2.00,     23, 1536)  # fmt: skip
HALONET_H6 = _h_spec("halonet_h6",       8,   4, 3.0, 2.75,     24, 1536)  # fmt: skip
HALONET_H7 = _h_spec("halonet_h7",      10,   3, 4.0, 3.50,     26, 2048)  # fmt: skip


@register_model(cfg=make_cfg(256), aliases=("HaloNetH0",))
def halonet_h0(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H0; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H0, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(256), aliases=("HaloNetH1",))
def halonet_h1(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H1; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H1, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(256), aliases=("HaloNetH2",))
def halonet_h2(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H2; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H2, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(320), aliases=("HaloNetH3",))
def halonet_h3(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H3; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H3, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(384), aliases=("HaloNetH4",))
def halonet_h4(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H4; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H4, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(448), aliases=("HaloNetH5",))
def halonet_h5(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H5; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H5, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(512), aliases=("HaloNetH6",))
def halonet_h6(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H6; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H6, conv_stages), pretrained, num_classes, in_channels, **options)


@register_model(cfg=make_cfg(600), aliases=("HaloNetH7",))
def halonet_h7(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """The paper's H7; convolutions in place of attention in `conv_stages`. Other options as in create_model."""
    return _build(with_conv_stages(HALONET_H7, conv_stages), pretrained, num_classes, in_channels, **options)


# ---- For images of about 32 pixels, ours: halonet_26t's order of blocks, and halos that reach over into other blocks

HALONET_MINI = Spec(
    "halonet_mini",
    Stem((32,), (1,), pool=False),
    (Stage("C", 64, 32), Stage("CC", 128, 64, stride=1), Stage("CA", 256, 96), Stage("CA", 384, 160)),
    halo=Halo(4, 2),
    act="relu",
)


@register_model(
    cfg=packaged_cfg(
        "halonet_mini_fashion_mnist.safetensors",
        "cb7f4f4258cae860c9db87a54e74da4eb0cd50ff2fe3b1049c4fd59f6c8d0d55",
        28,
        num_classes=10,
        crop_pct=1.0,
        interpolation="bilinear",
        mean=FASHION_MNIST_MEAN,
        std=FASHION_MNIST_STD,
        source="configs/halonet/halonet_mini_fashion.yaml",
    )
)
def halonet_mini(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, conv_stages: Iterable[int] = (), **options
) -> HaloNet | FeatureExtractor:
    """For images of about 32 pixels: a million weights, attention in the last two stages, or convolutions in its place
    in `conv_stages`. Other options as in create_model.

    Its weights were trained on Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747) and travel with this package.
    """
    return _build(with_conv_stages(HALONET_MINI, conv_stages), pretrained, num_classes, in_channels, **options)


# ---- For tests, documentation and the quick start: every kind of block but the fixed-size ones, about 50k weights

HALONET_TEST = Spec(
    "halonet_test",
    Stem((16,), (2,), pool=False),
    (
        Stage("C", 32, 16, stride=1),
        Stage("CA", 48, 24, num_heads=4),
        Stage("A", 64, 32, num_heads=4),
        Stage("A", 96, 48, num_heads=4),
    ),
    halo=Halo(2, 1),
)


@register_model(cfg=make_cfg(64))
def halonet_test(
    pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options
) -> HaloNet | FeatureExtractor:
    """A tiny model for tests, documentation and the quick start. Options as in create_model."""
    return _build(HALONET_TEST, pretrained, num_classes, in_channels, **options)


# MindCV's name for what the models' decorators say of images and weights.
default_cfgs = list_cfgs(__name__)
SPECS = {spec.name: spec for spec in tuple(globals().values()) if isinstance(spec, Spec)}

_OF_CREATE_MODEL = ("pretrained", "checkpoint_path", "ema", "auto_mapping", "reset_head", "resize_pos")
_OF_HALONET = signature(HaloNet).parameters.keys() - {"spec", "num_classes", "in_channels", "image_size"}


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
        raise UserError(f"{name}: conv_stages {conv_stages!r} is for the H models and halonet_mini only; leave it out")
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
