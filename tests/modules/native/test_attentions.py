"""Attention layers on their kernels against the portable layers: outputs and gradients, in float32 and bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from support.differentiate import differentiate, weighted_sum
from support.drawn_norms import draw_norms
from support.table import check_all
from support.ways import has_bfloat16, has_kernels

from mindcv_halo.models.layers import BottleneckAttention, HaloAttention, LambdaLayer
from mindcv_halo.native.operators import MoveChannels, load_kernels
from mindcv_halo.native.registry import NATIVE

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

# Of the largest entry.
TOLERANCE = {ms.float32: 1e-5, ms.bfloat16: 3e-2}


class Alone(nn.Cell):
    """A layer on its kernels with a float32 map (B, C, H, W) in and out."""

    def __init__(self, layer: nn.Cell, dtype: ms.Type):
        super().__init__(auto_prefix=False)
        self.layer = deepcopy(layer)
        self.layer.__class__ = NATIVE[type(layer)].kind
        self.layer.prepare(False, dtype)
        self.to_last, self.to_first = MoveChannels("last", dtype), MoveChannels("first", dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.to_first(self.layer(self.to_last(x)))


def draw_weights(layer: nn.Cell) -> nn.Cell:
    """Such that numbers keep their size, and positions matter as much as contents."""
    for name, parameter in layer.parameters_and_names():
        if "norm" not in name:
            scale = 0.3 if len(parameter.shape) < 4 else np.prod(parameter.shape[1:]) ** -0.5
            parameter.set_data(Tensor(scale * np.random.standard_normal(parameter.shape), ms.float32))
    return layer


HALO = {"dim": 24, "num_heads": 2, "block_size": 4, "halo_size": 1, "scrambled_windows": True}
Case = tuple[Callable[[], nn.Cell], tuple[int, int]]  # a layer, and the map's height and width
LAYERS: dict[str, Case] = {
    "lambda layer": (lambda: draw_norms(LambdaLayer(64, num_heads=2, dim_key=16, reach=5)), (6, 17)),
    "of heads that fill no vector": (lambda: draw_norms(LambdaLayer(63, num_heads=7, dim_key=5, reach=3)), (5, 3)),
    "of many channels": (lambda: draw_norms(LambdaLayer(100, num_heads=2, dim_key=37, reach=7)), (4, 5)),
    "of a neighbourhood beyond the map": (
        lambda: draw_norms(LambdaLayer(8, num_heads=4, dim_key=2, reach=19)),
        (4, 33),
    ),
    "of one place": (lambda: draw_norms(LambdaLayer(8, num_heads=2, dim_key=4, reach=1)), (2, 3)),
    "whose norms take the batch": (lambda: LambdaLayer(12, num_heads=2, dim_key=4, reach=3), (5, 4)),
    "bottleneck attention": (lambda: BottleneckAttention(24, map_size=(4, 7), num_heads=2), (4, 7)),
    "of two rows": (lambda: BottleneckAttention(9, map_size=(2, 5), num_heads=3), (2, 5)),
    "of more queries than a tile": (lambda: BottleneckAttention(40, map_size=(7, 6), num_heads=1), (7, 6)),
    "MindCV's windows": (lambda: HaloAttention(**HALO), (8, 8)),
    "of maps that blocks do not divide": (lambda: HaloAttention(**HALO, dim_out=42, mask_padding=True), (7, 9)),
    "that are pooled": (lambda: HaloAttention(**(HALO | {"block_size": 3}), stride=2, qkv_bias=True), (7, 8)),
    "with stride 2": (lambda: HaloAttention(**HALO, stride=2), (6, 9)),
}


def test_outputs_and_gradients(pynative):
    check_all(LAYERS, lambda name, case: check_layer(case, ms.float32))


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no instructions for bfloat16")
@pytest.mark.parametrize("instructions", ["tiles", "rows"])
def test_bfloat16(pynative, instructions):
    """On AMX where there is some, and on what processors without it have."""
    load_kernels().forbid_tiles(instructions == "rows")
    try:
        check_all(LAYERS, lambda name, case: check_layer(case, ms.bfloat16, differentiates=instructions == "tiles"))
    finally:
        load_kernels().forbid_tiles(0)


def check_layer(case: Case, dtype: ms.Type, differentiates: bool = True) -> None:
    layer = draw_weights(case[0]())
    channels = next(layer.get_parameters()).shape[1]
    x = np.random.standard_normal((2, channels, *case[1])).astype(np.float32)
    if not differentiates:
        assert_near(Alone(layer, dtype)(Tensor(x)).asnumpy(), layer(Tensor(x)).asnumpy(), "output", dtype)
        return
    slope = np.random.standard_normal(layer(Tensor(x)).shape).astype(np.float32)
    ours, theirs = (differentiate(cell, weighted_sum, x, slope) for cell in (Alone(layer, dtype), layer))
    assert_near(ours.output, theirs.output, "output", dtype)
    assert_near(ours.of_input, theirs.of_input, "input", dtype)
    for parameter, gradient in theirs.of_parameters.items():
        assert_near(ours.of_parameters[parameter], gradient, parameter, dtype)


def assert_near(found: np.ndarray, expected: np.ndarray, name: str, dtype: ms.Type) -> None:
    atol = TOLERANCE[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def test_a_map_of_another_size_is_refused(pynative):
    layer = Alone(BottleneckAttention(8, map_size=(4, 6)), ms.float32)
    with pytest.raises(ValueError, match="a 6x4 map, but the position tables cover 4x6"):
        layer(Tensor(np.zeros((1, 8, 6, 4), np.float32)))
