"""The network that a specification describes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from mindspore import Tensor, nn

from ..errors import UserError
from . import specs
from .compiled_graphs import forget_graphs
from .feature_info import FeatureInfo
from .layers.bottleneck import AttentionMix, Bottleneck, ConvMix
from .layers.bottleneck_attention import BottleneckAttention
from .layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from .layers.checks import check_flag, check_image_size, check_kind, check_rate, check_whole, is_whole, list_items
from .layers.conv_norm_act import ConvNormAct
from .layers.halo_attention import HaloAttention
from .layers.init import classifier_init
from .layers.lambda_layer import LambdaLayer
from .layers.random_drop import Dropout
from .layers.stem_pool import StemPool
from .recompute import recompute_attention
from .specs import Block, Dialect, Spec


class HaloNet(nn.Cell):
    """Stem, stages, head: images (B, in_channels, H, W) -> logits (B, num_classes).

    Any H and W will do; a model with bottleneck attention (`spec.fixed_size`) takes `image_size` only.

    Args:
        spec: the architecture.
        num_classes: classes of the head; 0 leaves the head out, so that the output is the pooled features.
        in_channels: channels of the images.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dialect: which peer's reading of the paper, "timm", "keras" or "mindcv"; see specs.Dialect.
        mask_padding: keep pixels outside the map out of the softmax of halo attention.
        image_size: side, or (height, width), of the images, where the architecture needs to know it.

    `default_cfg`, or `pretrained_cfg`, is what its registered name says of images and weights; empty for a network that
    was made from a specification.

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
        dialect: Dialect | str = "timm",
        mask_padding: bool = False,
        image_size: int | tuple[int, int] = (256, 256),
    ):
        super().__init__()
        thing = check_kind("HaloNet", "spec", spec, Spec).name
        num_classes = check_whole(thing, "num_classes", num_classes, 0)  # of numpy's integers MindSpore takes none
        in_channels = check_whole(thing, "in_channels", in_channels)
        drop_rate = check_rate(thing, "drop_rate", drop_rate)
        drop_path_rate = check_rate(thing, "drop_path_rate", drop_path_rate)
        mask_padding = check_flag(thing, "mask_padding", mask_padding)
        image_size = check_image_size(thing, image_size)
        self.spec = spec
        self.dialect = dialect = specs.find_dialect(dialect)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = spec.num_features
        self.default_cfg: Mapping[str, Any] = {}
        self.pretrained_cfg = self.default_cfg
        self.grad_checkpointing = False
        self.built_size = image_size
        if spec.fixed_size:  # MindCV's models that take one size only have this attribute, the side of a square
            self.image_size = image_size[0] if image_size[0] == image_size[1] else image_size
        self.mask_padding = mask_padding

        self.stem = _make_stem(spec, in_channels, dialect)
        self.stages = nn.CellList(_make_stages(spec, dialect, mask_padding, image_size, drop_path_rate))
        if spec.head_width:
            self.final_conv = ConvNormAct(spec.stages[-1].width, spec.head_width, act=spec.act)
        else:
            self.final_conv = nn.Identity()
        self.dropout = Dropout(drop_rate) if drop_rate else nn.Identity()
        self.classifier = _make_classifier(self.num_features, num_classes)

    def __setattr__(self, name: str, value: Any) -> None:
        replaces = name == "classifier" and "classifier" in self._cells
        super().__setattr__(name, value)
        if replaces:  # graph mode would go on with the old one, here and in cells around this one
            forget_graphs()

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
        maps = []
        if 0 in indices:
            x, kept = self.keep(x)
            maps.append(kept)
        for index, stage in enumerate(self.stages, 1):
            if index <= last:
                x = stage(x)
                if index in indices:
                    x, kept = self.keep(x)
                    maps.append(kept)
        if intermediates_only:
            return maps
        return self.channels_first(self.final_conv(x) if last == len(self.stages) else x), maps

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map between the layers, for what comes after it, and as `channels_first` has it."""
        return x, self.channels_first(x)

    def channels_first(self, x: Tensor) -> Tensor:
        """A map from between the layers as (B, C, H, W), which it is; native kernels have another order inside."""
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map -> logits, (B, num_classes), or with `pre_logits` what enters the classifier."""
        x = self.dropout(x.mean((2, 3)))
        return x if pre_logits else self.classifier(x)

    @property
    def feature_info(self) -> FeatureInfo:
        """Of each map, the stem's first: its channels, pixels of the image per pixel, and cell."""
        return FeatureInfo.of_spec(self.spec)

    def get_classifier(self) -> nn.Cell:
        """The last layer, an Identity where `num_classes` is 0."""
        return self.classifier

    def layer_ids(self) -> dict[str, int]:
        """Each trainable parameter's depth, for layer-wise learning rates: 0 the stem, then the blocks, the head."""
        blocks = [block for stage in self.stages for block in stage]
        depths = {id(parameter): 0 for parameter in self.stem.trainable_params()}
        for depth, block in enumerate(blocks, 1):
            depths.update({id(parameter): depth for parameter in block.trainable_params()})
        return {parameter.name: depths.get(id(parameter), len(blocks) + 1) for parameter in self.trainable_params()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names, from the stem's to the blocks', as timm's helpers for groups of layers take.

        `coarse` makes a stage one group.
        """
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def no_weight_decay(self) -> set[str]:
        """Parameters that no optimizer may decay whatever its settings: none."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute attention again in the backward pass, to save memory, as the recipe's `recompute`.

        Raises UserError to turn it off again, which MindSpore cannot, and for a network without attention.
        """
        enable = check_flag(self.spec.name, "set_grad_checkpointing: enable", enable)
        if self.grad_checkpointing and not enable:
            raise UserError(
                f"{self.spec.name}: set_grad_checkpointing(False), but MindSpore cannot undo it; build the network "
                "anew, and give it these weights (mindspore.load_param_into_net(new, old.parameters_dict()))"
            )
        if enable and not self.grad_checkpointing:
            recompute_attention(self)
            self.grad_checkpointing = True
            forget_graphs()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, newly initialised classifier for `num_classes` classes; 0 for none.

        Whatever MindSpore has compiled is compiled again at its next call, this network or not. `global_pool` may be
        "avg", which it is; raises UserError for any other.
        """
        num_classes = check_whole(self.spec.name, "num_classes", num_classes, 0)
        if global_pool not in (None, "avg"):
            raise UserError(
                f"{self.spec.name}: global_pool {global_pool!r} must be 'avg', or left out; for another pool take "
                "forward_features"
            )
        first = next(iter(self.stem.get_parameters())).name
        prefix = first[: first.index("stem.")]  # of a cell around this one
        self.num_classes = num_classes
        self.classifier = _make_classifier(self.num_features, num_classes)
        for parameter in self.classifier.get_parameters():
            parameter.name = f"{prefix}classifier.{parameter.name.rpartition('.')[2]}"


def _find_maps(spec: Spec, indices: int | Sequence[int] | None) -> tuple[int, ...]:
    """The maps that forward_intermediates is asked for, rising. Raises UserError where one does not exist."""
    count = len(spec.stages) + 1
    if indices is None:
        return tuple(range(count))
    if is_whole(indices):
        if not 1 <= indices <= count:
            raise UserError(f"{spec.name}: indices {indices} must be from 1 to {count}: it is the number of last maps")
        return tuple(range(count - int(indices), count))
    wanted = list_items(indices)
    found = tuple(sorted({int(index) % count for index in wanted if is_whole(index) and -count <= index < count}))
    if len(found) != len(wanted) or not found:
        raise UserError(
            f"{spec.name}: indices {wanted} must name maps out of {tuple(range(count))}, each once, or as "
            f"{-count} to -1 from the end"
        )
    return found


def check_images(x: Tensor, spec: Spec, in_channels: int, image_size: tuple[int, int]) -> None:
    """Raises ValueError for images that a network of this specification was not built for.

    Graph mode raises none but Python's own exceptions.
    """
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
) -> list[nn.SequentialCell]:
    blocks = list(spec.blocks())
    stages: list[list[nn.Cell]] = [[] for _ in spec.stages]
    for depth, (number, block) in enumerate(blocks):
        map_size = tuple(-(-side // spec.strides[number]) for side in image_size)
        cell = Bottleneck(
            _make_mix(block, spec, dialect, mask_padding, map_size),
            in_channels=block.in_channels,
            inner=block.inner,
            mixed=block.mixed,
            out_channels=block.out_channels,
            stride=block.stride,
            act=spec.act,
            drop_path_rate=drop_path_rate * depth / max(len(blocks) - 1, 1),
            conv_shortcut=spec.conv_shortcut,
            act_after_sum=spec.act_after_sum,
        )
        stages[number - 1].append(cell)
    return [nn.SequentialCell(cells) for cells in stages]


def _make_mix(
    block: Block, spec: Spec, dialect: Dialect, mask_padding: bool, map_size: tuple[int, int]
) -> ConvMix | AttentionMix:
    """What mixes positions in a block, by its letter in the stage's pattern."""
    inner, num_heads = block.inner, block.num_heads
    if block.letter == specs.CONVOLUTION:
        groups = inner // spec.group_width if spec.group_width else 1
        conv = ConvNormAct(inner, inner, 3, stride=block.stride, groups=groups, act=spec.act)
        return ConvMix(conv, _make_gate(spec, inner, dialect))
    if block.letter == specs.HALO_ATTENTION:
        attention = HaloAttention(
            inner,
            block.mixed,
            num_heads=num_heads,
            dim_head=spec.halo.key_width(inner, num_heads),
            block_size=spec.halo.block_size,
            halo_size=spec.halo.halo_size,
            stride=block.stride,
            mask_padding=mask_padding,
            scrambled_windows=dialect.scrambled_windows,
        )
    elif block.letter == specs.LAMBDA_LAYER:
        attention = LambdaLayer(inner, num_heads=num_heads)
    else:
        attention = BottleneckAttention(inner, map_size=map_size, num_heads=num_heads)
    return AttentionMix(attention, block.mixed, act=spec.act)


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
