"""A model of the family as data: a specification reads like the paper's table. Nothing here needs MindSpore.

Whatever is made here checks itself, and raises UserError for a word, a type or a number that means nothing; numpy's
numbers become Python's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from ..errors import UserError, unknown_name
from .layers import checks
from .layers.rounding import make_divisible

# One letter per block of a stage.
CONVOLUTION, HALO_ATTENTION, LAMBDA_LAYER, BOTTLENECK_ATTENTION = "C", "A", "L", "T"
_LETTERS = {
    CONVOLUTION: "3x3 convolution",
    HALO_ATTENTION: "halo attention",
    LAMBDA_LAYER: "lambda layer",
    BOTTLENECK_ATTENTION: "bottleneck attention",
}
_SE_RATIO = 1 / 16
IMAGE_CHANNELS = 3  # that a network takes, unless somebody says otherwise


def _keep(spec: Any, **checked: Any) -> None:
    """Give a frozen spec the values that were found right, as Python's own kinds."""
    for name, value in checked.items():
        object.__setattr__(spec, name, value)


@dataclass(frozen=True)
class Stem:
    """k x k convolutions, each with norm and activation, then perhaps a 3x3 max pool of stride 2."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    _: KW_ONLY
    kernel_size: int = 3
    pool: bool = True

    def __post_init__(self) -> None:
        widths = checks.check_wholes("Stem", "widths", self.widths)
        strides = checks.check_wholes("Stem", "strides", self.strides)
        if len(widths) != len(strides):
            raise UserError(f"Stem: strides {strides} must be as many as widths {widths}, one for each convolution")
        kernel_size = checks.check_odd("Stem", "kernel_size", self.kernel_size)
        _keep(self, widths=widths, strides=strides, kernel_size=kernel_size)
        _keep(self, pool=checks.check_flag("Stem", "pool", self.pool))

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

    def __post_init__(self) -> None:
        pattern = checks.check_name("Stage", "pattern", self.pattern)
        unknown = [letter for letter in pattern if letter not in _LETTERS]
        if unknown:
            known = ", ".join(f"{letter} ({meaning})" for letter, meaning in _LETTERS.items())
            raise UserError(f"Stage: pattern {pattern!r} has the letter {unknown[0]!r}; a block is one of {known}")
        _keep(
            self,
            width=checks.check_whole("Stage", "width", self.width),
            inner=checks.check_whole("Stage", "inner", self.inner, 0),
            stride=checks.check_whole("Stage", "stride", self.stride),
            num_heads=checks.check_whole("Stage", "num_heads", self.num_heads),
        )
        first, meaning = pattern[0], _LETTERS[pattern[0]]
        if first == HALO_ATTENTION and self.stride > 2:
            raise UserError(f"Stage: stride {self.stride} of the first block of {pattern!r}, {meaning}, must be 1 or 2")
        if first in (LAMBDA_LAYER, BOTTLENECK_ATTENTION) and self.stride > 1:
            raise UserError(
                f"Stage: stride {self.stride} of the first block of {pattern!r}, {meaning}, must be 1; put a C or an A "
                "before it, which can have another"
            )


@dataclass(frozen=True)
class Halo:
    """Halo attention's settings that all stages of a model share."""

    block_size: int
    halo_size: int
    _: KW_ONLY
    value_expansion: float = 1.0  # r_v: attention's output width / inner width
    qk_ratio: float = 1.0  # query and key width / inner width
    dim_head: int | None = None  # query and key width of a head; replaces qk_ratio

    def __post_init__(self) -> None:
        _keep(
            self,
            block_size=checks.check_whole("Halo", "block_size", self.block_size),
            halo_size=checks.check_whole("Halo", "halo_size", self.halo_size, 0),
            value_expansion=checks.check_positive("Halo", "value_expansion", self.value_expansion),
            qk_ratio=checks.check_positive("Halo", "qk_ratio", self.qk_ratio),
        )
        if self.dim_head is not None:
            _keep(self, dim_head=checks.check_whole("Halo", "dim_head", self.dim_head))
            if self.qk_ratio != 1:
                raise UserError(
                    f"Halo: dim_head {self.dim_head} replaces qk_ratio {self.qk_ratio}; leave one of them out"
                )

    def value_width(self, inner: int) -> int:
        """Channels of all heads' values, which leave the attention, for `inner` that enter it."""
        return int(inner * self.value_expansion)

    def key_width(self, inner: int, num_heads: int) -> int:
        """Channels of a head's queries, and of its keys."""
        return self.dim_head or make_divisible(inner * self.qk_ratio) // num_heads


@dataclass(frozen=True)
class ChannelAttention:
    """Gate on the channels after the 3x3 convolution of a C block."""

    kind: str  # "se" or "eca"
    ratio: float = _SE_RATIO  # hidden width / width (se)
    act: str | None = None  # hidden activation (se); None: the dialect's

    def __post_init__(self) -> None:
        checks.check_word("ChannelAttention", "kind", self.kind, ("se", "eca"))
        _keep(self, ratio=checks.check_positive("ChannelAttention", "ratio", self.ratio))
        checks.check_act("ChannelAttention", "act", self.act, may_lack=True)
        if self.kind == "eca" and (self.ratio != _SE_RATIO or self.act is not None):
            raise UserError(
                f"ChannelAttention: ratio {self.ratio} and act {self.act!r} are those of 'se'; leave them out for 'eca'"
            )


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

    def __post_init__(self) -> None:
        thing = checks.check_name("Spec", "name", self.name)
        checks.check_kind(thing, "stem", self.stem, Stem)
        stages = checks.check_list(thing, "stages", self.stages)
        for number, stage in enumerate(stages, 1):
            checks.check_kind(thing, f"stages, of which number {number}", stage, Stage)
        _keep(self, stages=stages)
        checks.check_kind(thing, "halo", self.halo, Halo)
        checks.check_act(thing, "act", self.act)
        if self.gate is not None:
            checks.check_kind(thing, "gate", self.gate, ChannelAttention)
        for field in ("group_width", "head_width"):
            if getattr(self, field) is not None:
                _keep(self, **{field: checks.check_whole(thing, field, getattr(self, field))})
        if self.expansion is not None:
            _keep(self, expansion=checks.check_positive(thing, "expansion", self.expansion))
        for field in ("conv_shortcut", "act_after_sum"):
            _keep(self, **{field: checks.check_flag(thing, field, getattr(self, field))})
        if self.expansion is None and any(not stage.inner for stage in stages):
            raise UserError(f"{thing}: a stage's inner is 0, which needs expansion; set the one or the other")
        for number, block in self.blocks():
            _check_block(f"{thing}, stage {number}", self, block)

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Every block from stem to head, with the number of its stage from 1."""
        in_channels = self.stem.widths[-1]
        for number, stage in enumerate(self.stages, 1):
            for index, letter in enumerate(stage.pattern):
                inner = stage.inner or int(in_channels * self.expansion)
                mixed = self.halo.value_width(inner) if letter == HALO_ATTENTION else inner
                stride = stage.stride if index == 0 else 1
                yield number, Block(letter, in_channels, inner, mixed, stage.width, stride, stage.num_heads)
                in_channels = stage.width

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
class Block:
    """One block of a Spec, with the widths that follow from it. Made by Spec.blocks, which checks it."""

    letter: str
    in_channels: int
    inner: int  # channels between the first 1x1 convolution and what mixes positions
    mixed: int  # channels between that and the second 1x1 convolution
    out_channels: int
    stride: int
    num_heads: int


def _check_block(thing: str, spec: Spec, block: Block) -> None:
    """Raises UserError for widths that do not divide among groups or heads."""
    if block.inner < 1 or block.mixed < 1:
        raise UserError(
            f"{thing}: {block.in_channels} channels become {block.inner} between the 1x1 convolutions of a block, and "
            f"{block.mixed} behind its {_LETTERS[block.letter]}; enlarge inner, expansion or value_expansion"
        )
    if block.letter == CONVOLUTION:
        if spec.group_width is not None:
            checks.check_multiple(thing, "inner width", block.inner, "group_width", spec.group_width)
        return
    what = "width of the values" if block.letter == HALO_ATTENTION else "inner width"
    checks.check_multiple(thing, what, block.mixed, "num_heads", block.num_heads)
    if block.letter == HALO_ATTENTION and spec.halo.key_width(block.inner, block.num_heads) < 1:
        raise UserError(
            f"{thing}: qk_ratio {spec.halo.qk_ratio} of the inner width {block.inner} must be at least one channel for "
            f"each of num_heads {block.num_heads}; set dim_head, or change one of them"
        )


@dataclass(frozen=True)
class Dialect:
    """The three facts in which the peers disagree; foreign weights need those of the peer that trained them."""

    name: str
    _: KW_ONLY
    zero_pool_border: bool = False  # the stem's max pool sees zeros around the map, not -inf
    se_act: str | None = "relu"  # None: the model's activation
    scrambled_windows: bool = False  # keys and values take MindCV's order of channels and positions

    def __post_init__(self) -> None:
        checks.check_name("Dialect", "name", self.name)
        checks.check_act("Dialect", "se_act", self.se_act, may_lack=True)
        for field in ("zero_pool_border", "scrambled_windows"):
            _keep(self, **{field: checks.check_flag("Dialect", field, getattr(self, field))})


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("timm"),
        Dialect("keras", zero_pool_border=True, se_act=None),
        Dialect("mindcv", zero_pool_border=True, scrambled_windows=True),
    )
}


def find_dialect(dialect: Dialect | str) -> Dialect:
    """The dialect of this name, or the one that is given, if it is one of ours: weights are saved by its name.

    Raises UserError for any other.
    """
    name = dialect.name if isinstance(dialect, Dialect) else dialect
    if not isinstance(name, str) or name not in DIALECTS:
        raise unknown_name("dialect", name, DIALECTS)
    if isinstance(dialect, Dialect) and dialect != DIALECTS[name]:
        raise UserError(f"{dialect!r} is not the dialect {name!r} as it is: {DIALECTS[name]!r}; give its name")
    return DIALECTS[name]


def with_conv_stages(spec: Spec, conv_stages: Iterable[int] | None) -> Spec:
    """`spec` with a 3x3 convolution in place of attention in the stages numbered from 1 (the paper's comparison of
    attention in stages 1234, 234, 34 and 4 is `()`, `(1,)`, `(1, 2)`, `(1, 2, 3)`).

    Raises UserError for a number that is no stage, one that is named twice, and a stage without attention.
    """
    stages = () if conv_stages is None else checks.list_items(conv_stages)
    possible = range(1, len(spec.stages) + 1)
    if not all(checks.is_whole(number) and number in possible for number in stages) or len(set(stages)) != len(stages):
        raise UserError(
            f"{spec.name}: conv_stages {stages} must name stages out of {tuple(possible)}, each at most once"
        )
    for number in stages:
        if set(spec.stages[number - 1].pattern) == {CONVOLUTION}:
            raise UserError(f"{spec.name}: conv_stages {stages}: stage {number} has no attention; leave {number} out")
    return replace(
        spec,
        stages=tuple(
            replace(stage, pattern=CONVOLUTION * len(stage.pattern)) if number in stages else stage
            for number, stage in enumerate(spec.stages, 1)
        ),
    )


def with_window(spec: Spec, block_size: int | None, halo_size: int | None) -> Spec:
    """`spec` with other blocks, or other halos around them, in its halo attention; None leaves its own.

    Raises UserError for a block below 1 and a halo below 0.
    """
    given = {"block_size": block_size, "halo_size": halo_size}
    for (name, value), least in zip(given.items(), (1, 0), strict=True):
        if value is not None:
            checks.check_whole(spec.name, name, value, least)
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(spec, halo=replace(spec.halo, **changes))
