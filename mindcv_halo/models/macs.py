"""How much a model computes for one image."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn

from ..errors import UserError
from ..runtime import pynative_mode
from .layers.bottleneck_attention import BottleneckAttention
from .layers.checks import check_size
from .layers.halo_attention import HaloAttention
from .layers.lambda_layer import LambdaLayer
from .network import HaloNet


def count_macs(network: HaloNet, image_size: tuple[int, int]) -> int:
    """Multiply-accumulates for one image of `image_size` (height, width).

    In convolutions, the classifier, and the products of attentions with keys, values and position tables; norms,
    activations and softmaxes are not counted. Counted while the network runs once, so that every map has its real
    size, padding to whole blocks included. Raises UserError for a network that `accelerate` changed, and for what is no
    size.
    """
    if isinstance(network, HaloNet) and type(network).channels_first is not HaloNet.channels_first:
        raise UserError("count_macs: the network is on native kernels; count before accelerate")
    if type(network) is not HaloNet:
        raise UserError(f"count_macs: {type(network).__name__} is no HaloNet; give one as create_model makes it")
    image_size = check_size("count_macs", "image_size", image_size)
    total = 0

    def count(cell: nn.Cell, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        total += COUNTS[type(cell)](cell, inputs[0].shape, out.shape)

    hooks = [cell.register_forward_hook(count) for _, cell in network.cells_and_names() if type(cell) in COUNTS]
    was_training = network.training
    try:
        with pynative_mode():
            network.set_train(False)(Tensor(np.zeros((1, network.in_channels, *image_size), np.float32)))
    finally:
        network.set_train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def _of_weights(cell: nn.Conv2d | nn.Dense, _: tuple[int, ...], out: tuple[int, ...]) -> int:
    return int(np.prod(out)) * (cell.weight.size // cell.weight.shape[0])


def _of_halo_attention(cell: HaloAttention, shape: tuple[int, ...], _: tuple[int, ...]) -> int:
    rows, columns = cell.grid(*shape[2:])
    queries = rows * columns * cell.query_size**2 * cell.num_heads
    positions = 2 * cell.window * cell.dim_key
    return queries * (cell.window**2 * (cell.dim_key + cell.dim_value) + positions)


def _of_bottleneck_attention(cell: BottleneckAttention, shape: tuple[int, ...], _: tuple[int, ...]) -> int:
    height, width = shape[2:]
    queries = height * width * cell.num_heads
    return queries * cell.dim_head * (2 * height * width + height + width)


def _of_lambda_layer(cell: LambdaLayer, shape: tuple[int, ...], _: tuple[int, ...]) -> int:
    """Without its convolutions, which count themselves: keys with values, and queries with what comes of it."""
    pixels = shape[2] * shape[3]
    return pixels * cell.dim_key * cell.dim_value * (1 + cell.num_heads)


COUNTS = {
    nn.Conv2d: _of_weights,
    nn.Dense: _of_weights,
    HaloAttention: _of_halo_attention,
    BottleneckAttention: _of_bottleneck_attention,
    LambdaLayer: _of_lambda_layer,
}
