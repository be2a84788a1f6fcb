"""Multiply-accumulates of one image in convolutions, matrix products and halo attention: macs.py SIZE MODEL ..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mindcv_halo import create_model  # noqa: E402  before MindSpore

# isort: split

import mindspore  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

from mindcv_halo.models.layers import HaloAttention  # noqa: E402
from mindcv_halo.utils.execution_mode import pynative_mode  # noqa: E402


def count_macs(model: str, size: int) -> int:
    """Counted while the network runs, so that every map has its real size. Lambda and bottleneck attention are not."""
    total = 0

    def count_convolution(cell: nn.Cell, inputs: tuple, out: Tensor) -> None:
        nonlocal total
        total += out.size * cell.weight.size // cell.weight.shape[0]

    def count_attention(cell: HaloAttention, inputs: tuple, out: Tensor) -> None:
        nonlocal total
        rows, columns = cell.grid(*inputs[0].shape[2:])
        queries = rows * columns * cell.query_size**2 * cell.num_heads
        position = cell.dim_key * 2 * cell.window
        total += queries * (cell.window**2 * (cell.dim_key + cell.dim_value) + position)

    network = create_model(model).set_train(False)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d | nn.Dense):
            cell.register_forward_hook(count_convolution)
        elif isinstance(cell, HaloAttention):
            cell.register_forward_hook(count_attention)
    with pynative_mode():
        network(Tensor(np.zeros((1, network.in_channels, size, size), np.float32)))
    return total


if __name__ == "__main__":
    mindspore.set_device("CPU")
    print(json.dumps({model: count_macs(model, int(sys.argv[1])) for model in sys.argv[2:]}))
