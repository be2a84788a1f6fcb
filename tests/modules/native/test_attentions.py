"""Attention layers on their kernels against the portable layers: outputs and gradients, in float32 and bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from support.differentiate import differentiate, weighted_sum
from support.table import check_all
from support.ways import has_bfloat16, has_kernels

from mindcv_halo.models.layers import BottleneckAttention, HaloAttention
from mindcv_halo.native.operators import MoveChannels
from mindcv_halo.native.registry import NATIVE

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

# Of the largest entry.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
TYPES = {"float32": ms.float32, "bfloat16": ms.bfloat16}


class Alone(nn.Cell):
    """A layer on its kernels with a float32 map (B, C, H, W) in and out."""

    def __init__(self, layer: nn.Cell, dtype: ms.Type, frozen: bool = False):
        super().__init__(auto_prefix=False)
        self.layer = deepcopy(layer)
        self.layer.__class__ = NATIVE[type(layer)].kind
        self.layer.prepare(frozen, dtype)
        self.to_last, self.to_first = MoveChannels("last", dtype), MoveChannels("first", dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.to_first(self.layer(self.to_last(x)))


def draw_weights(layer: nn.Cell) -> nn.Cell:
    """Such that numbers keep their size, and positions matter as much as contents."""
    for name, parameter in layer.parameters_and_names():
        scale = np.prod(parameter.shape[1:]) ** -0.5 if name.endswith("weight") else 0.3
        drawn = scale * np.random.standard_normal(parameter.shape)
        parameter.set_data(Tensor(np.abs(drawn) + 0.5 if "variance" in name else drawn, ms.float32))
    return layer


HALO = {"dim": 24, "num_heads": 2, "block_size": 4, "halo_size": 1, "scrambled_windows": True}
Case = tuple[Callable[[], nn.Cell], tuple[int, int]]  # a layer, and the map's height and width
LAYERS: dict[str, Case] = {
    "bottleneck attention": (lambda: BottleneckAttention(24, map_size=(4, 7), num_heads=2), (4, 7)),
    "of two rows": (lambda: BottleneckAttention(9, map_size=(2, 5), num_heads=3), (2, 5)),
    "of more queries than a tile": (lambda: BottleneckAttention(40, map_size=(7, 6), num_heads=1), (7, 6)),
    "MindCV's windows": (lambda: HaloAttention(**HALO), (8, 8)),
    "of maps that blocks do not divide": (lambda: HaloAttention(**HALO, dim_out=42, mask_padding=True), (7, 9)),
    "that are pooled": (lambda: HaloAttention(**(HALO | {"block_size": 3}), stride=2, qkv_bias=True), (7, 8)),
    "with stride 2": (lambda: HaloAttention(**HALO, stride=2), (6, 9)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_outputs_and_gradients(pynative, kind):
    if kind == "bfloat16" and not has_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")

    def check(name: str, case: Case) -> None:
        layer = draw_weights(case[0]())
        x = np.random.standard_normal((2, layer.dim, *case[1])).astype(np.float32)
        slope = np.random.standard_normal(layer(Tensor(x)).shape).astype(np.float32)
        ours, theirs = (differentiate(cell, weighted_sum, x, slope) for cell in (Alone(layer, TYPES[kind]), layer))
        assert_near(ours.output, theirs.output, "output", kind)
        assert_near(ours.of_input, theirs.of_input, "input", kind)
        for parameter, gradient in theirs.of_parameters.items():
            assert_near(ours.of_parameters[parameter], gradient, parameter, kind)
        frozen = Alone(layer, TYPES[kind], frozen=True)(Tensor(x))
        assert_near(frozen.asnumpy(), theirs.output, "frozen", kind)

    check_all(LAYERS, check)


def assert_near(found: np.ndarray, expected: np.ndarray, name: str, kind: str) -> None:
    atol = TOLERANCE[kind] * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def test_a_map_of_another_size_is_refused(pynative):
    layer = Alone(BottleneckAttention(8, map_size=(4, 6)), ms.float32)
    with pytest.raises(ValueError, match="a 6x4 map, but the position tables cover 4x6"):
        layer(Tensor(np.zeros((1, 8, 6, 4), np.float32)))
