"""The network that a specification describes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

from mindspore import Tensor, nn

from ..errors import UserError
from . import specs
from .layers.bottleneck import AttentionMix, Bottleneck, ConvMix
from .layers.bottleneck_attention import BottleneckAttention
from .layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from .layers.conv_norm_act import ConvNormAct
from .layers.halo_attention import HaloAttention
from .layers.init import classifier_init
from .layers.lambda_layer import LambdaLayer
from .layers.random_drop import Dropout
from .layers.rounding import make_divisible
from .layers.stem_pool import StemPool
from .specs import Dialect, Spec, Stage


class HaloNet(nn.Cell):
    """Stem, stages, head: images (B, in_channels, H, W) -> logits (B, num_classes).

    Any H and W will do; a model with bottleneck attention (`spec.fixed_size`) takes `image_size` only.

    Args:
        spec: the architecture.
        num_classes: classes of the head; 0 leaves the head out, so that the output is the pooled features.
        in_channels: channels of the images.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dialect: which peer's reading of the paper; see specs.Dialect.
        mask_padding: keep pixels outside the map out of the softmax of halo attention.
        image_size: (height, width) of the images, where the architecture needs to know it.

    Raises UserError for impossible settings, ValueError for images that the network was not built for.
    """

    def __init__(
        self,
        spec: Spec,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        dialect: Dialect = specs.DIALECTS["timm"],
        mask_padding: bool = False,
        image_size: tuple[int, int] = (256, 256),
    ):
        super().__init__()
        _check_settings(spec, num_classes, in_channels, drop_rate, drop_path_rate)
        self.spec = spec
        self.dialect = dialect
        num_classes, in_channels = int(num_classes), int(in_channels)  # of numpy's integers MindSpore takes none
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.num_features = spec.num_features
        self.built_size = image_size
        if spec.fixed_size:  # MindCV's models that take one size only have this attribute, the side of a square
            self.image_size = image_size[0] if image_size[0] == image_size[1] else image_size
        self.mask_padding = mask_padding

        self.stem = _make_stem(spec, in_channels, dialect)
        self.stages = nn.CellList(list(_make_stages(spec, dialect, mask_padding, image_size, drop_path_rate)))
        if spec.head_width:
            self.final_conv = ConvNormAct(spec.stages[-1].width, spec.head_width, act=spec.act)
        else:
            self.final_conv = nn.Identity()
        self.dropout = Dropout(drop_rate) if drop_rate else nn.Identity()
        self.classifier = _make_classifier(self.num_features, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images -> the last map, (B, num_features, H / 32, W / 32), rounded up (haloregnetz_b may round down)."""
        check_images(x, self.spec, self.in_channels, self.built_size)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.channels_first(self.final_conv(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        stop_early: bool = False,
        intermediates_only: bool = False,
    ) -> tuple[Tensor, list[Tensor]] | list[Tensor]:
        """Images -> (what forward_features gives, the maps on the way): 0 is the stem's, 1 to 4 are the stages'.

        Args:
            indices: which maps: a sequence, where negative numbers count from the end, a number for the last so many,
                None for all. They come in the order of the network.
            stop_early: go no further than the last of them; short of the end the first result is that map.
            intermediates_only: return the list alone.

        To be called from Python; for use inside another cell, which is compiled, there is FeatureExtractor.
        Raises UserError for indices that do not exist.
        """
        indices = _find_maps(self.spec, indices)
        last = indices[-1] if stop_early else len(self.stages)
        check_images(x, self.spec, self.in_channels, self.built_size)
        x = self.stem(x)
        maps = [self.channels_first(x)] if 0 in indices else []
        for index, stage in enumerate(self.stages, 1):
            if index <= last:
                x = stage(x)
                if index in indices:
                    maps.append(self.channels_first(x))
        if intermediates_only:
            return maps
        return self.channels_first(self.final_conv(x) if last == len(self.stages) else x), maps

    def channels_first(self, x: Tensor) -> Tensor:
        """A map from between the layers as (B, C, H, W), which it is; native kernels have another order inside."""
        return x

    def forward_head(self, x: Tensor) -> Tensor:
        """The last map -> logits, (B, num_classes)."""
        return self.classifier(self.dropout(x.mean((2, 3))))

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Of each map, the stem's first: its channels, pixels of the image per pixel, and cell; MindCV's keys."""
        spec = self.spec
        channels = (spec.stem.widths[-1], *(stage.width for stage in spec.stages))
        names = ("stem", *(f"stages.{index}" for index in range(len(spec.stages))))
        return [
            {"chs": chs, "reduction": reduction, "name": name}
            for chs, reduction, name in zip(channels, spec.strides, names, strict=True)
        ]

    def layer_ids(self) -> dict[str, int]:
        """Each trainable parameter's depth, for layer-wise learning rates: 0 the stem, then the blocks, the head."""
        blocks = [block for stage in self.stages for block in stage]
        depths = {id(parameter): 0 for parameter in self.stem.trainable_params()}
        for depth, block in enumerate(blocks, 1):
            depths.update({id(parameter): depth for parameter in block.trainable_params()})
        return {parameter.name: depths.get(id(parameter), len(blocks) + 1) for parameter in self.trainable_params()}

    def reset_classifier(self, num_classes: int) -> None:
        """A new, newly initialised classifier for `num_classes` classes; 0 for none."""
        check_count(self.spec.name, "num_classes", num_classes, 0)
        num_classes = int(num_classes)
        first = next(iter(self.stem.get_parameters())).name
        prefix = first[: first.index("stem.")]  # of a cell around this one
        self.num_classes = num_classes
        self.classifier = _make_classifier(self.num_features, num_classes)
        for parameter in self.classifier.get_parameters():
            parameter.name = f"{prefix}classifier.{parameter.name.rpartition('.')[2]}"
        self.compile_cache.clear()  # graph mode would go on with the old classifier


def _find_maps(spec: Spec, indices: int | Sequence[int] | None) -> tuple[int, ...]:
    """The maps that forward_intermediates is asked for, rising. Raises UserError where one does not exist."""
    count = len(spec.stages) + 1
    if indices is None:
        return tuple(range(count))
    if _is_whole(indices):
        if not 1 <= indices <= count:
            raise UserError(f"{spec.name}: indices {indices} must be from 1 to {count}: it is the number of last maps")
        return tuple(range(count - indices, count))
    wanted = tuple(indices) if isinstance(indices, Iterable) else (indices,)
    found = tuple(sorted({index % count for index in wanted if _is_whole(index) and -count <= index < count}))
    if len(found) != len(wanted) or not found:
        raise UserError(
            f"{spec.name}: indices {wanted} must name maps out of {tuple(range(count))}, each once, or as "
            f"{-count} to -1 from the end"
        )
    return found


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_images(x: Tensor, spec: Spec, in_channels: int, image_size: tuple[int, int]) -> None:
    """Raises ValueError for images that a network of this specification was not built for.

    Graph mode raises none but Python's own exceptions.
    """
    if x.ndim == 4 and 0 in x.shape:
        raise ValueError(f"{spec.name}: the images' shape {x.shape} holds none, and the mean over none is no number")
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise ValueError(
            f"{spec.name}: the images' shape {x.shape} must be (batch, {in_channels}, height, width); "
            "for another number of channels build the model with in_channels"
        )
    if spec.fixed_size and x.shape[2:] != image_size:
        raise ValueError(
            f"{spec.name}: images of {x.shape[2]}x{x.shape[3]}, but the model was built for "
            f"{image_size[0]}x{image_size[1]}; build it with image_resize (image_size) set to the images' size"
        )


def _check_settings(spec: Spec, num_classes: int, in_channels: int, drop_rate: float, drop_path_rate: float) -> None:
    check_count(spec.name, "num_classes", num_classes, 0)
    check_count(spec.name, "in_channels", in_channels, 1)
    for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 <= rate < 1:
            raise UserError(f"{spec.name}: {name} {rate!r} must be at least 0 and below 1")


def check_count(model: str, name: str, value: int, least: int) -> None:
    """Raises UserError for what is no whole number, and for one that is too small. True is none."""
    if not _is_whole(value) or value < least:
        raise UserError(f"{model}: {name} {value!r} must be a whole number of at least {least}")


def _make_stem(spec: Spec, in_channels: int, dialect: Dialect) -> nn.SequentialCell:
    layers = OrderedDict()
    for number, (width, stride) in enumerate(zip(spec.stem.widths, spec.stem.strides, strict=True), 1):
        layers[f"conv{number}"] = ConvNormAct(in_channels, width, spec.stem.kernel_size, stride=stride, act=spec.act)
        in_channels = width
    if spec.stem.pool:
        layers["pool"] = StemPool(zero_border=dialect.zero_pool_border)
    return nn.SequentialCell(layers)


def _make_stages(
    spec: Spec, dialect: Dialect, mask_padding: bool, image_size: tuple[int, int], drop_path_rate: float
) -> Iterator[nn.SequentialCell]:
    in_channels = spec.stem.widths[-1]
    num_blocks = sum(len(stage.pattern) for stage in spec.stages)
    block_number = 0
    for stage, total_stride in zip(spec.stages, spec.strides[1:], strict=True):
        map_size = tuple(-(-side // total_stride) for side in image_size)
        blocks = []
        for index, letter in enumerate(stage.pattern):
            inner = stage.inner or int(in_channels * spec.expansion)
            stride = stage.stride if index == 0 else 1
            mix, mixed = _make_mix(letter, spec, stage, inner, stride, dialect, mask_padding, map_size)
            block = Bottleneck(
                mix,
                in_channels=in_channels,
                inner=inner,
                mixed=mixed,
                out_channels=stage.width,
                stride=stride,
                act=spec.act,
                drop_path_rate=drop_path_rate * block_number / max(num_blocks - 1, 1),
                conv_shortcut=spec.conv_shortcut,
                act_after_sum=spec.act_after_sum,
            )
            blocks.append(block)
            in_channels = stage.width
            block_number += 1
        yield nn.SequentialCell(blocks)


def _make_mix(
    letter: str,
    spec: Spec,
    stage: Stage,
    inner: int,
    stride: int,
    dialect: Dialect,
    mask_padding: bool,
    map_size: tuple[int, int],
) -> tuple[nn.Cell, int]:
    """What mixes positions in a block, by its letter in the stage's pattern, and the channels that leave it."""
    if letter == specs.CONVOLUTION:
        groups = inner // spec.group_width if spec.group_width else 1
        conv = ConvNormAct(inner, inner, 3, stride=stride, groups=groups, act=spec.act)
        return ConvMix(conv, _make_gate(spec, inner, dialect)), inner
    mixed = inner
    if letter == specs.HALO_ATTENTION:
        halo = spec.halo
        mixed = int(inner * halo.value_expansion)
        attention = HaloAttention(
            inner,
            mixed,
            num_heads=stage.num_heads,
            dim_head=halo.dim_head or make_divisible(inner * halo.qk_ratio) // stage.num_heads,
            block_size=halo.block_size,
            halo_size=halo.halo_size,
            stride=stride,
            mask_padding=mask_padding,
            scrambled_windows=dialect.scrambled_windows,
        )
    elif letter == specs.LAMBDA_LAYER:
        attention = LambdaLayer(inner, num_heads=stage.num_heads)
    else:
        attention = BottleneckAttention(inner, map_size=map_size, num_heads=stage.num_heads)
    return AttentionMix(attention, mixed, act=spec.act), mixed


def _make_gate(spec: Spec, channels: int, dialect: Dialect) -> nn.Cell:
    if spec.gate is None:
        return nn.Identity()
    if spec.gate.kind == "eca":
        return EfficientChannelAttention(channels)
    return SqueezeExcite(channels, ratio=spec.gate.ratio, act=spec.gate.act or dialect.se_act or spec.act)


def _make_classifier(num_features: int, num_classes: int) -> nn.Cell:
    if num_classes == 0:
        return nn.Identity()
    return nn.Dense(num_features, num_classes, weight_init=classifier_init(), bias_init="zeros")
