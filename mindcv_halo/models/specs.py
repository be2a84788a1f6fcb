"""Every model of the family as data: a specification reads like the paper's table. Nothing here needs MindSpore.

Sources: Vaswani et al. 2021 (arXiv:2103.12731) for the operator and the H family; timm 1.0.31 for the T models and the
hybrids; keras_cv_attention_models for the head counts and the activation of H0-H7, which it reads out of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace

from ..errors import UserError

# One letter per block of a stage.
CONVOLUTION, HALO_ATTENTION, LAMBDA_LAYER, BOTTLENECK_ATTENTION = "C", "A", "L", "T"


@dataclass(frozen=True)
class Stem:
    """k x k convolutions, each with norm and activation, then perhaps a 3x3 max pool of stride 2."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    _: KW_ONLY
    kernel_size: int = 3
    pool: bool = True

    @property
    def stride(self) -> int:
        stride = 2 if self.pool else 1
        for factor in self.strides:
            stride *= factor
        return stride


@dataclass(frozen=True)
class Stage:
    """Blocks that share a width; the first one carries the stride."""

    pattern: str  # a letter per block: C 3x3 convolution, A halo attention, L lambda layer, T bottleneck attention
    width: int  # channels that leave every block
    inner: int = 0  # channels between the two 1x1 convolutions; 0: Spec.expansion decides
    _: KW_ONLY
    stride: int = 2
    num_heads: int = 8


@dataclass(frozen=True)
class Halo:
    """Halo attention's settings that all stages of a model share."""

    block_size: int
    halo_size: int
    _: KW_ONLY
    value_expansion: float = 1.0  # r_v: attention's output width / inner width
    qk_ratio: float = 1.0  # query and key width / inner width
    dim_head: int | None = None  # query and key width of a head; replaces qk_ratio


@dataclass(frozen=True)
class ChannelAttention:
    """Gate on the channels after the 3x3 convolution of a C block."""

    kind: str  # "se" or "eca"
    ratio: float = 1 / 16  # hidden width / width (se)
    act: str | None = None  # hidden activation (se); None: the dialect's


@dataclass(frozen=True)
class Spec:
    """One architecture: stem -> four stages -> (1x1 convolution) -> pool -> classifier."""

    name: str
    stem: Stem
    stages: tuple[Stage, ...]
    _: KW_ONLY
    halo: Halo
    act: str = "silu"
    gate: ChannelAttention | None = None
    group_width: int | None = None  # channels per group of the 3x3 convolutions; None: not grouped
    expansion: float | None = None  # inner width / width of the block's input, where Stage.inner is 0
    head_width: int | None = None  # of a 1x1 convolution before the pool
    conv_shortcut: bool = True  # False: no shortcut where the shapes differ
    act_after_sum: bool = True

    @property
    def num_features(self) -> int:
        """Channels that enter the classifier."""
        return self.head_width or self.stages[-1].width

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image per pixel of the map, after the stem and after each stage."""
        strides = [self.stem.stride]
        for stage in self.stages:
            strides.append(strides[-1] * stage.stride)
        return tuple(strides)

    @property
    def fixed_size(self) -> bool:
        """True when position tables cover the whole map, so that the image size is part of the network."""
        return any(BOTTLENECK_ATTENTION in stage.pattern for stage in self.stages)


@dataclass(frozen=True)
class Dialect:
    """The three facts in which the peers disagree; foreign weights need those of the peer that trained them."""

    name: str
    _: KW_ONLY
    zero_pool_border: bool = False  # the stem's max pool sees zeros around the map, not -inf
    se_act: str | None = "relu"  # None: the model's activation
    scrambled_windows: bool = False  # keys and values take MindCV's order of channels and positions


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("timm"),
        Dialect("keras", zero_pool_border=True, se_act=None),
        Dialect("mindcv", zero_pool_border=True, scrambled_windows=True),
    )
}

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

HALONET_SE33T = Spec(
    "halonet_se33t",
    _TIERED,
    (Stage("CC", 256, 64, stride=1), Stage("CCA", 512, 128), Stage("CCA", 1024, 256), Stage("AA", 1536, 512)),
    halo=Halo(8, 3),
    gate=ChannelAttention("se"),
    head_width=1280,
)

HALONET_ECA26T = Spec(
    "halonet_eca26t",
    _TIERED_POOL,
    (Stage("CC", 256, 64, stride=1), Stage("CC", 512, 128), Stage("CA", 1024, 256), Stage("AA", 2048, 512)),
    halo=Halo(8, 2, dim_head=16),
    gate=ChannelAttention("eca"),
    group_width=16,
)


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

_BOTNET_END = Stage("CTC", 2048, 512, num_heads=4)

HALOBOTNET_50T = Spec(
    "halobotnet_50t",
    _TIERED,
    (Stage("CCC", 256, 64, stride=1), Stage("CACA", 512, 128), Stage("CACACA", 1024, 256), _BOTNET_END),
    halo=Halo(8, 3),
)

LAMHALOBOTNET_50T = Spec(
    "lamhalobotnet_50t",
    _TIERED,
    (Stage("CCC", 256, 64, stride=1), Stage("CLCL", 512, 128, num_heads=4), Stage("CACACA", 1024, 256), _BOTNET_END),
    halo=Halo(8, 3),
)


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


def with_conv_stages(spec: Spec, conv_stages: Iterable[int]) -> Spec:
    """`spec` with a 3x3 convolution in place of attention in the stages numbered from 1 (the paper's comparison of
    attention in stages 1234, 234, 34 and 4 is `()`, `(1,)`, `(1, 2)`, `(1, 2, 3)`).

    Raises UserError for a number that is no stage, or one that is named twice.
    """
    conv_stages = tuple(conv_stages) if isinstance(conv_stages, Iterable) else (conv_stages,)
    possible = range(1, len(spec.stages) + 1)
    are_stages = all(type(number) is int and number in possible for number in conv_stages)
    if not are_stages or len(set(conv_stages)) != len(conv_stages):
        raise UserError(
            f"{spec.name}: conv_stages {conv_stages} must name stages out of {tuple(possible)}, each at most once"
        )
    stages = tuple(
        replace(stage, pattern=CONVOLUTION * len(stage.pattern)) if number in conv_stages else stage
        for number, stage in enumerate(spec.stages, 1)
    )
    return replace(spec, stages=stages)


def with_window(spec: Spec, block_size: int | None, halo_size: int | None) -> Spec:
    """`spec` with other blocks, or other halos around them, in its halo attention; None leaves its own.

    Raises UserError for a block below 1 and a halo below 0.
    """
    for name, value, least in (("block_size", block_size, 1), ("halo_size", halo_size, 0)):
        if value is not None and (type(value) is not int or value < least):
            raise UserError(f"{spec.name}: {name} {value!r} must be a whole number of at least {least}")
    own = spec.halo
    return replace(
        spec,
        halo=replace(
            own,
            block_size=own.block_size if block_size is None else block_size,
            halo_size=own.halo_size if halo_size is None else halo_size,
        ),
    )
