"""What native kernels stand for: layers exactly as the models build them. Everything else is refused by name.

A kernel does the work of several cells at once and never calls them, so that a cell that somebody changed would have no
say. `find_changes` therefore builds each layer anew from its own settings and compares: classes, plain attributes,
operators, shapes and types of parameters, hooks, precision. What a layer calls as a black box may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.nn.utils import no_init_parameters

from ..models.features import FeatureExtractor
from ..models.fusion import FoldedNorm
from ..models.layers.activation import UnbiasedSiLU
from ..models.layers.bottleneck import AttentionMix, Bottleneck, ConvMix
from ..models.layers.bottleneck_attention import BottleneckAttention
from ..models.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from ..models.layers.conv_norm_act import ConvNormAct, make_norm
from ..models.layers.halo_attention import HaloAttention
from ..models.layers.lambda_layer import LambdaLayer
from ..models.layers.random_drop import DropPath
from ..models.layers.stem_pool import LOWEST, StemPool
from ..models.network import HaloNet
from .guarded import MINDSPORES_OWN, has_hooks
from .registry import NATIVE, Check, is_called

# What differs between two cells that compute the same. A norm's numbers are compared with its operators'.
_IGNORED = MINDSPORES_OWN | {
    *("weight_init", "bias_init", "gamma_init", "beta_init", "moving_mean_init", "moving_var_init"),
    *("cls_name", "parallel_mode", "eps", "momentum", "use_batch_statistics", "frozen"),
}
_ACTIVATIONS: dict[type[nn.Cell], str | None] = {
    UnbiasedSiLU: "silu",
    nn.SiLU: "silu",
    nn.ReLU: "relu",
    nn.Identity: None,
}


def name_activation(cell: nn.Cell) -> str | None:
    """The name that make_activation was given; None for what is no activation of ours."""
    return _ACTIVATIONS.get(type(cell))


def is_plain_dense(cell: nn.Cell) -> bool:
    """Whether a classifier is one that `nn.Dense(in, out)` makes, with any weights."""
    if type(cell) is not nn.Dense:
        return False
    with no_init_parameters():
        built = nn.Dense(cell.in_channels, cell.out_channels)
    return not any(_compare("", cell, built))


def find_changes(network: nn.Cell) -> list[str]:
    """What kernels would not do as the cells of `network` do it, each a phrase that names the cell.

    [] where a network, or a layer that can be accelerated alone, is as create_model makes it.
    """
    state = np.random.get_state()
    try:
        with no_init_parameters():
            return list(_check("", network))
    finally:
        np.random.set_state(state)  # building layers draws seeds of masks


def _check(path: str, cell: nn.Cell) -> Iterator[str]:
    """Changes of a cell and of all in it that kernels stand for."""
    check = NATIVE[type(cell)].check if type(cell) in NATIVE else _CALLED.get(type(cell))
    if check is None:
        yield f"{path} is a {type(cell).__name__}, for which there is no kernel"
        return
    yield from _check_own(path, cell)
    try:
        yield from check(path, cell)
    except Exception as error:  # whatever building from settings that were changed trips over
        yield f"{path} has parts or settings that were changed ({error})"


def _check_own(path: str, cell: nn.Cell) -> Iterator[str]:
    """What every cell may have that kernels pass over, whether or not they call it."""
    where = path or "the network"
    flags = cell.get_flags()
    if flags.get("fp16") or flags.get("bf16"):
        yield f"{where} has a precision of its own, and kernels are float32; leave out to_float and amp"
    if path and has_hooks(cell):
        yield f"{where} has hooks, which kernels do not call; features_only and forward_intermediates give maps too"
    if getattr(cell, "_recompute_cell", None) is not None:
        yield f"{where} is set to be computed again in the backward pass; native attention need not: leave that out"
    if "construct" in vars(cell):
        yield f"{where} has a construct that was put into its place"


def _compare(path: str, cell: nn.Cell, built: nn.Cell, allowed: tuple[str, ...] = ()) -> Iterator[str]:
    """How a cell differs from one that was just built; `allowed` are attributes that may."""
    if type(cell) is not type(built):
        yield f"{path} is a {type(cell).__name__}, which stands where a {type(built).__name__} was built"
        return
    yield from _check_own(path, cell)
    found, expected = _list_settings(cell), _list_settings(built)
    for name in sorted({*found, *expected} - {*allowed}):
        if name in found and name not in expected and not hasattr(type(cell), name):
            continue  # somebody's own note, which nothing of ours reads
        if not _are_equal(found.get(name), expected.get(name)):
            yield f"{path}.{name} was changed"
    for name in sorted({*cell._params, *built._params} - {*allowed}):
        mine, other = cell._params.get(name), built._params.get(name)
        if not isinstance(mine, Parameter) or other is None:
            yield f"{path}.{name} is a parameter that was put in or taken out"
        elif mine.shape != other.shape or mine.dtype != other.dtype:
            yield f"{path}.{name} is {mine.dtype} of {mine.shape}, and kernels take {other.dtype} of {other.shape}"
    if isinstance(cell, nn.BatchNorm2d) and not _norm_agrees(cell):
        yield f"{path}: eps, momentum or use_batch_statistics is not what its operators have; make a new nn.BatchNorm2d"
    if [*cell._cells] != [*built._cells]:
        yield f"{path} has other cells in it than were built"
        return
    for name, child in built._cells.items():
        if name not in allowed:
            yield from _compare(f"{path}.{name}", cell._cells[name], child)


def _list_settings(cell: nn.Cell) -> dict[str, Any]:
    """What decides on the work of a cell besides its parameters and the cells in it."""
    return {
        name: value
        for name, value in vars(cell).items()
        if not name.startswith("_") and name not in _IGNORED and not isinstance(value, Parameter | nn.Cell)
    }


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, ops.Primitive):
        return type(one) is type(other) and _list_attributes(one) == _list_attributes(other)
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and np.array_equal(one.asnumpy(), other.asnumpy())
    if callable(one) and callable(other):
        return type(one) is type(other) and getattr(one, "__qualname__", "") == getattr(other, "__qualname__", "")
    return type(one) is type(other) and bool(one == other)


def _list_attributes(primitive: ops.Primitive) -> dict[str, Any]:
    return {name: value for name, value in primitive.attrs.items() if name not in ("epsilon", "momentum")}


def _norm_agrees(norm: nn.BatchNorm2d) -> bool:
    """MindSpore's operators keep the numbers that the norm was made with, whatever its attributes say later."""
    training, inference = norm.bn_train, norm.bn_infer
    return (
        norm.use_batch_statistics in (None, False, True)
        and training.epsilon == inference.epsilon == norm.eps
        and training.momentum == norm.momentum
    )


def check_conv_norm_act(path: str, cell: ConvNormAct) -> Iterator[str]:
    conv = cell.conv
    if type(conv) is not nn.Conv2d:
        yield f"{path}.conv is a {type(conv).__name__}, which stands where a Conv2d was built"
        return
    if conv.stride[0] not in (1, 2) or conv.kernel_size[0] % 2 == 0:
        yield f"{path}.conv has kernel {conv.kernel_size} and stride {conv.stride}; there are odd ones, and 1 and 2"
        return
    yield from _check_activation(f"{path}.act", cell.act)
    built = ConvNormAct(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        groups=conv.group,
    )
    folded = type(cell.norm) is FoldedNorm
    if folded:
        yield from _check_own(f"{path}.norm", cell.norm)
        yield from _check_folded(f"{path}.conv", conv, built.conv)
    else:
        yield from _compare(f"{path}.conv", conv, built.conv)
        yield from _compare(f"{path}.norm", cell.norm, built.norm)


def _check_folded(path: str, conv: nn.Conv2d, built: nn.Conv2d) -> Iterator[str]:
    """A convolution that has a norm folded into it, beside one that has none."""
    if type(conv) is nn.Conv2d and (
        conv.bias is None or conv.bias.shape != (conv.out_channels,) or conv.bias.dtype != mindspore.float32
    ):
        yield f"{path} has no bias, and its norm is folded into it"
    yield from _compare(path, conv, built, ("has_bias", "bias"))


def check_halo_attention(path: str, cell: HaloAttention) -> Iterator[str]:
    built = HaloAttention(
        cell.dim,
        cell.num_heads * cell.dim_value,
        num_heads=cell.num_heads,
        dim_head=cell.dim_key,
        block_size=cell.block_size,
        halo_size=cell.halo_size,
        stride=cell.stride,
        avg_down=type(cell.pool) is nn.AvgPool2d,
        qkv_bias=cell.q.has_bias,
        scale_pos_embed=cell.scale_pos_embed,
        mask_padding=cell.mask_padding,
        scrambled_windows=cell.scrambled_windows,
    )
    yield from _compare(path or "the attention", cell, built)


def check_bottleneck_attention(path: str, cell: BottleneckAttention) -> Iterator[str]:
    built = BottleneckAttention(cell.dim, map_size=cell.map_size, num_heads=cell.num_heads)
    yield from _compare(path, cell, built)


def check_lambda_layer(path: str, cell: LambdaLayer) -> Iterator[str]:
    built = LambdaLayer(
        cell.num_heads * cell.dim_value,
        num_heads=cell.num_heads,
        dim_key=cell.dim_key,
        reach=cell.position.kernel_size[0],
    )
    if type(cell.norm_q) is not FoldedNorm or type(cell.norm_v) is not FoldedNorm:
        yield from _compare(path, cell, built)
        return
    for name in ("norm_q", "norm_v"):
        yield from _check_own(f"{path}.{name}", getattr(cell, name))
    yield from _compare(path, cell, built, ("qkv", "norm_q", "norm_v"))
    yield from _check_folded(f"{path}.qkv", cell.qkv, built.qkv)


def check_attention_mix(path: str, cell: AttentionMix) -> Iterator[str]:
    if not is_called(cell.attention):
        yield from _check(f"{path}.attention", cell.attention)
    yield from _compare(f"{path}.norm", cell.norm, make_norm(cell.norm.num_features))
    yield from _check_activation(f"{path}.act", cell.act)


def _check_activation(path: str, cell: nn.Cell) -> Iterator[str]:
    if type(cell) not in _ACTIVATIONS:
        yield f"{path} is a {type(cell).__name__}, and there are kernels for ReLU and SiLU"
    else:
        yield from _compare(path, cell, type(cell)())


def check_conv_mix(path: str, cell: ConvMix) -> Iterator[str]:
    yield from _check_one_of(f"{path}.conv", cell.conv, ConvNormAct)
    if not is_called(cell.gate):
        yield from _check(f"{path}.gate", cell.gate)


def check_squeeze_excite(path: str, cell: SqueezeExcite) -> Iterator[str]:
    channels, hidden = cell.expand.out_channels, cell.reduce.out_channels
    built = SqueezeExcite(channels, ratio=hidden / channels, act=name_activation(cell.act) or "relu")
    yield from _compare(path, cell, built)


def check_efficient_channel_attention(path: str, cell: EfficientChannelAttention) -> Iterator[str]:
    length = cell.conv.kernel_size[1]
    yield from _compare(path, cell, EfficientChannelAttention(2 ** (2 * length - 1)))


def check_stem_pool(path: str, cell: StemPool) -> Iterator[str]:
    yield from _compare(path, cell, StemPool(zero_border=cell.border != LOWEST))


def check_bottleneck(path: str, cell: Bottleneck) -> Iterator[str]:
    yield from _check_one_of(f"{path}.reduce", cell.reduce, ConvNormAct)
    yield from _check_one_of(f"{path}.mix", cell.mix, ConvMix, AttentionMix)
    yield from _check_one_of(f"{path}.expand", cell.expand, ConvNormAct)
    yield from _check_one_of(f"{path}.shortcut", cell.shortcut, ConvNormAct, nn.Identity)
    yield from _check_one_of(f"{path}.drop_path", cell.drop_path, DropPath, nn.Identity)
    yield from _check_activation(f"{path}.act", cell.act)
    if type(cell.expand) is ConvNormAct and type(cell.expand.act) is not nn.Identity:
        yield f"{path}.expand has an activation, and the block has its own after the sum"


def _check_drop_path(path: str, cell: DropPath) -> Iterator[str]:
    built = DropPath(0.5, scale_by_keep=cell.scale != 1)
    yield from _compare(path, cell, built, ("scale", "keep"))
    yield from _compare(f"{path}.keep", cell.keep, built.keep, ("decide",))
    yield from _compare(f"{path}.keep.decide", cell.keep.decide, built.keep.decide, ("threshold", "last_kept"))


def _check_stem(path: str, cell: nn.SequentialCell) -> Iterator[str]:
    yield from _check_own(path, cell)
    for name, layer in _list_in_order(path, cell):
        yield from _check_one_of(name, layer, ConvNormAct, StemPool)


def _check_stages(path: str, stages: nn.CellList) -> Iterator[str]:
    for name, stage in stages.name_cells().items():
        where = f"{path}.{name}"
        if type(stage) is not nn.SequentialCell:
            yield f"{where} is a {type(stage).__name__}, which stands where a SequentialCell was built"
            continue
        yield from _check_own(where, stage)
        for block_name, block in _list_in_order(where, stage):
            yield from _check_one_of(block_name, block, Bottleneck)


def _list_in_order(path: str, cell: nn.SequentialCell) -> Iterator[tuple[str, nn.Cell]]:
    """The cells that it runs, which are not those of its names where somebody changed one of the two."""
    for (name, child), runs in zip(cell.name_cells().items(), cell.cell_list, strict=True):
        yield f"{path}.{name}", child if child is runs else cell


def check_network(path: str, network: HaloNet) -> Iterator[str]:
    if type(network.stem) is not nn.SequentialCell:
        yield f"stem is a {type(network.stem).__name__}, which stands where a SequentialCell was built"
    else:
        yield from _check_stem("stem", network.stem)
    yield from _check_stages("stages", network.stages)
    yield from _check_one_of("final_conv", network.final_conv, ConvNormAct, nn.Identity)


def check_feature_extractor(path: str, extractor: FeatureExtractor) -> Iterator[str]:
    yield from _check_stem("stem", extractor.stem)
    yield from _check_stages("stages", extractor.stages)


def _check_one_of(path: str, cell: nn.Cell, *classes: type[nn.Cell]) -> Iterator[str]:
    if type(cell) not in classes:
        names = " or ".join(kind.__name__ for kind in classes)
        yield f"{path} is a {type(cell).__name__}, which stands where a {names} was built"
    else:
        yield from _check(path, cell)


def _check_identity(path: str, cell: nn.Identity) -> Iterator[str]:
    yield from ()


# What has no kernel and is called between those that have one.
_CALLED: dict[type[nn.Cell], Check] = {DropPath: _check_drop_path, nn.Identity: _check_identity}
