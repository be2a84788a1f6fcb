"""Kernels on maps of bfloat16 against the same kernels on the same numbers in float32, and networks likewise."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from support.differentiate import differentiate, weighted_sum
from support.drawn_norms import draw_norms
from support.table import check_all
from support.ways import has_kernels

from mindcv_halo import accelerate, create_model, fuse_batchnorm
from mindcv_halo.errors import UserError
from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.native import load_kernels, name_bfloat16_instructions, precision
from mindcv_halo.native.operators import (
    BatchNorm,
    BottleneckKernel,
    ChannelGate,
    Convolution,
    Fork,
    HaloKernel,
    MaxPool,
    MeanPixels,
    MoveChannels,
    nothing,
)

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

# Of the largest entry: a number of bfloat16 is off by up to 1/256 of itself, and outputs are sums of such.
TOLERANCE = 1e-2
# Of a gradient's length, through all layers of halonet_test, each of whose maps and slopes is rounded, and batch norms
# over three images. One that lacks a term is off by more than that; each operator is held more tightly.
GRADIENTS = 0.3


@pytest.fixture(params=["tiles", "rows"])
def instructions(request):
    """AMX where there is some, and what processors without it do."""
    if not name_bfloat16_instructions():
        pytest.skip("this processor has no instructions for bfloat16 (AMX or AVX-512 BF16)")
    load_kernels().forbid_tiles(request.param == "rows")
    yield request.param
    load_kernels().forbid_tiles(0)


@pytest.fixture
def able():
    if not name_bfloat16_instructions():
        pytest.skip("this processor has no instructions for bfloat16 (AMX or AVX-512 BF16)")


def draw(*shape: int) -> Tensor:
    """Numbers that bfloat16 has, as float32."""
    exact = np.random.standard_normal(shape).astype(np.float32).view(np.uint32) & 0xFFFF0000
    return Tensor(exact.view(np.float32))


def narrow(x: Tensor) -> Tensor:
    return x.astype(ms.bfloat16)


def assert_near(actual: Tensor, expected: Tensor, name: str = "", tolerance: float = TOLERANCE) -> None:
    actual, expected = (x.astype(ms.float32).asnumpy() for x in (actual, expected))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)


@dataclass(frozen=True)
class Attention:
    """What decides on the work of a halo attention."""

    block: int = 8
    halo: int = 3
    heads: int = 2
    dim_key: int = 32
    dim_value: int = 32
    height: int = 16
    width: int = 16
    query: int | None = None
    mask_padding: bool = False
    scale_pos_embed: bool = False
    scrambled_windows: bool = False
    for_pool: bool = False


ATTENTIONS = {
    "as in halonet_50t": Attention(),
    "as in halonet_26t, whose heads of 16 fill half a tile": Attention(halo=2, dim_key=16, dim_value=16),
    "stride 2": Attention(halo=2, query=4),
    "odd windows, and maps that blocks do not divide": Attention(block=5, halo=1, height=13, width=8),
    "odd depths": Attention(block=4, halo=1, dim_key=9, dim_value=21, height=7, width=10),
    "deep heads": Attention(block=4, halo=1, dim_key=72, dim_value=40),
    "windows of more than a tile": Attention(block=14, halo=3, height=28, width=28),
    "queries that fill a tile and a half": Attention(block=6, halo=2, height=12, width=18),
    "queries that fill no tile": Attention(block=3, halo=2, height=9, width=6),
    "no halo": Attention(halo=0),
    "a map smaller than a window": Attention(height=3, width=5),
    "what is outside kept out": Attention(mask_padding=True, height=11, width=11),
    "positions scaled": Attention(scale_pos_embed=True),
    "for a pool": Attention(block=5, halo=1, height=6, width=7, for_pool=True),
    "MindCV's windows": Attention(scrambled_windows=True),
    "MindCV's windows, and what is outside": Attention(
        block=4, halo=1, heads=3, dim_key=9, dim_value=21, height=7, width=10, scrambled_windows=True, mask_padding=True
    ),
}


def test_halo_attention(instructions):
    def check(name, attention: Attention) -> None:
        a, query = attention, attention.query or attention.block
        kernel = HaloKernel(
            block_size=a.block,
            halo_size=a.halo,
            num_heads=a.heads,
            query_size=query,
            mask_padding=a.mask_padding,
            scale_pos_embed=a.scale_pos_embed,
            scrambled_windows=a.scrambled_windows,
            for_pool=a.for_pool,
        )
        rows = 2 * (a.block + 2 * a.halo) - 1
        q = draw(2, -(-a.height * query // a.block), -(-a.width * query // a.block), a.heads * a.dim_key)
        kv = draw(2, a.height, a.width, a.heads * (a.dim_key + a.dim_value))
        tables = [draw(rows, a.dim_key) * 0.25 for _ in range(2)]
        found, scales = kernel(narrow(q), narrow(kv), *tables)
        expected, expected_scales = kernel(q, kv, *tables)
        assert found.dtype == ms.bfloat16 and scales.dtype == ms.float32
        assert_near(found, expected)
        assert_near(scales[..., 0], expected_scales[..., 0], "largest logits")
        slope = draw(*found.shape)
        gradients = kernel.backward(narrow(slope), narrow(q), narrow(kv), *tables, scales, kernel.settings)
        right = kernel.backward(slope, q, kv, *tables, expected_scales, kernel.settings)
        for of, ours, theirs in zip(("q", "kv", "heights", "widths"), gradients, right, strict=True):
            assert_near(ours, theirs, f"gradient of {of}", 2 * TOLERANCE)

    check_all(ATTENTIONS, check)


@dataclass(frozen=True)
class Pixels:
    """A 1x1 convolution."""

    channels: int = 64
    out: int = 64
    height: int = 8
    width: int = 8
    stride: int = 1
    activation: str | None = None
    adds: bool = False


PIXELS = {
    "plain": Pixels(),
    "few pixels": Pixels(height=1, width=3),
    "rows that fill no tile": Pixels(height=7, width=7),
    "many pixels": Pixels(height=37, width=41),
    "many channels out": Pixels(out=1024, height=5, width=5),
    "more channels than stay in the cache": Pixels(channels=1120, out=96),
    "stride 2": Pixels(stride=2, height=9, width=7),
    "relu": Pixels(activation="relu", adds=True),
    "silu": Pixels(activation="silu", adds=True),
    "silu, many blocks": Pixels(out=256, activation="silu", height=6, width=11),
    "channels that fill no tile": Pixels(channels=24, out=40, activation="silu", adds=True),
    "channels out that fill no block": Pixels(out=48, activation="relu"),
}


@pytest.mark.parametrize("frozen", [False, True])
def test_pointwise_convolution(instructions, frozen):
    def check(name, pixels: Pixels) -> None:
        p = pixels
        kernel = Convolution(stride=p.stride, activation=p.activation, has_bias=True, adds=p.adds, frozen=frozen)
        x, weight, bias = draw(2, p.height, p.width, p.channels), draw(p.out, p.channels, 1, 1), draw(p.out)
        shape = (2, -(-p.height // p.stride), -(-p.width // p.stride), p.out)
        added = draw(*shape) if p.adds else nothing()
        found = kernel(narrow(x), weight, bias, narrow(added) if p.adds else added)
        assert found.dtype == ms.bfloat16
        assert_near(found, kernel(x, weight, bias, added))

    check_all(PIXELS, check)


@dataclass(frozen=True)
class Groups:
    """A convolution in groups of 16 channels."""

    kernel: int = 3
    height: int = 6
    width: int = 8
    stride: int = 1
    activation: str | None = None
    adds: bool = False


GROUPS = {
    "plain": Groups(),
    "a row that fills no block": Groups(width=37),
    "one pixel": Groups(height=1, width=1),
    "stride 2": Groups(stride=2, height=7, width=41),
    "5x5": Groups(kernel=5, height=3, activation="relu"),
    "silu": Groups(activation="silu", adds=True),
}


@pytest.mark.parametrize("frozen", [False, True])
def test_grouped_convolution(able, frozen):
    def check(name, groups: Groups) -> None:
        g = groups
        options = {"stride": g.stride, "groups": 3, "activation": g.activation, "has_bias": True, "adds": g.adds}
        kernel = Convolution(**options, frozen=frozen)
        x, weight, bias = draw(2, g.height, g.width, 48), draw(48, 16, g.kernel, g.kernel), draw(48)
        added = draw(2, -(-g.height // g.stride), -(-g.width // g.stride), 48) if g.adds else nothing()
        found = kernel(narrow(x), weight, bias, narrow(added) if g.adds else added)
        assert found.dtype == ms.bfloat16
        assert_near(found, Convolution(**options)(x, weight, bias, added))

    check_all(GROUPS, check)


def test_frozen_weights_are_packed_for_each_type_of_maps(able):
    kernel = Convolution(groups=3, frozen=True)
    x, weight = draw(1, 4, 4, 48), draw(48, 16, 3, 3)
    expected = Convolution(groups=3)(x, weight, nothing(), nothing())
    for maps in (x, narrow(x), x):
        assert_near(kernel(maps, weight, nothing(), nothing()), expected)


def test_what_is_no_number_stays_none(able):
    """Through an activation that would make a zero of it, and hide that a run has diverged."""
    x = np.ones((1, 4, 4, 32), np.float32)
    x[0, 1, 1] = np.nan
    found = Convolution(groups=2, activation="relu")(narrow(Tensor(x)), draw(32, 16, 3, 3), nothing(), nothing())
    assert np.isnan(found.astype(ms.float32).asnumpy()[0, 1, 1]).all()


class Norm(nn.Cell):
    def __init__(self, training: bool, activation: str | None, adds: bool):
        super().__init__()
        self.kernel = BatchNorm(eps=1e-5, momentum=0.9, activation=activation, adds=adds, training=training)
        self.adds = adds
        self.statistics = [Tensor(np.linspace(0.5, 1.5, 24, dtype=np.float32)) for _ in range(4)]

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x, x if self.adds else nothing(), *self.statistics)[0]


class Convolved(nn.Cell):
    def __init__(self, kernel: int, stride: int, groups: int, out: int = 24):
        super().__init__()
        self.kernel = Convolution(stride=stride, groups=groups)
        self.weight = ms.Parameter(draw(out, 24 // groups, kernel, kernel) * 0.1, name="weight")

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x, self.weight, nothing(), nothing())


class Gated(nn.Cell):
    def __init__(self):
        super().__init__()
        self.fork, self.mean, self.gate = Fork(), MeanPixels(), ChannelGate()

    def construct(self, x: Tensor) -> Tensor:
        x, other = self.fork(x)
        return self.gate(x, self.mean(other))


class Attended(nn.Cell):
    """Halo attention with tables of its own, in blocks that do not divide the map."""

    def __init__(self):
        super().__init__()
        self.fork, self.project = Fork(), Convolved(1, 1, 1, out=12)
        self.kernel = HaloKernel(
            block_size=4, halo_size=1, num_heads=2, query_size=4, mask_padding=False, scale_pos_embed=False
        )
        self.height_rel, self.width_rel = (
            ms.Parameter(draw(11, 6) * 0.25, name=name) for name in ("height_rel", "width_rel")
        )

    def construct(self, x: Tensor) -> Tensor:
        x, kv = self.fork(x)
        return self.kernel(self.project(x), kv, self.height_rel, self.width_rel)[0]


class WholeMap(nn.Cell):
    """Bottleneck attention with tables of its own, for maps of 9 x 7."""

    def __init__(self):
        super().__init__()
        self.kernel = BottleneckKernel(num_heads=2)
        self.height_rel, self.width_rel = (
            ms.Parameter(draw(2 * side - 1, 4) * 0.25, name=f"rel{side}") for side in (9, 7)
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x, self.height_rel, self.width_rel)[0]


OPERATORS = {
    "halo attention": Attended,
    "attention over the whole map": WholeMap,
    "norm by batch": lambda: Norm(True, "silu", adds=False),
    "norm by batch, and a sum": lambda: Norm(True, "silu", adds=True),
    "norm by running statistics, and a sum": lambda: Norm(False, "relu", adds=True),
    "3x3": lambda: Convolved(3, 1, 1),
    "3x3, stride 2, groups": lambda: Convolved(3, 2, 3),
    "1x1": lambda: Convolved(1, 1, 1),
    "max pool": lambda: MaxPool(0.0),
    "mean and gate": Gated,
}


def test_operators(able):
    """Outputs, and gradients of the map and of parameters, which are float32."""

    def check(name, build) -> None:
        cell, x = build(), draw(2, 9, 7, 24)
        slope = draw(*cell(x).shape)
        gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)(
            cell, ms.ParameterTuple(cell.trainable_params())
        )
        assert_near(cell(narrow(x)), cell(x), "output")
        ours, theirs = gradient(narrow(x), narrow(slope)), gradient(x, slope)
        assert ours[0][0].dtype == ms.bfloat16
        assert_near(ours[0][0], theirs[0][0], "gradient of the map", 2 * TOLERANCE)
        for found, expected in zip(ours[1], theirs[1], strict=True):
            assert found.dtype == ms.float32
            assert_near(found, expected, "gradient of a parameter")

    check_all(OPERATORS, check)


def test_channels_move_between_types(able):
    x = draw(2, 3, 5, 4)
    for channels in (3, 17):
        x = draw(2, channels, 5, 4)
        last = MoveChannels("last", ms.bfloat16)(x)
        assert last.dtype == ms.bfloat16
        np.testing.assert_array_equal(last.astype(ms.float32).asnumpy(), x.asnumpy().transpose(0, 2, 3, 1))
        first = MoveChannels("first", ms.bfloat16)(last)
        assert first.dtype == ms.float32
        np.testing.assert_array_equal(first.asnumpy(), x.asnumpy())


def test_rounds_to_the_nearest_and_of_two_to_the_even_one(able):
    values = np.array([1.0, 1.00390625, 1.01171875, 1.0039063, -1.0117188, 3e38, np.inf, np.nan], np.float32)
    found = MoveChannels("last", ms.bfloat16)(Tensor(values.reshape(1, 8, 1, 1))).astype(ms.float32).asnumpy().ravel()
    np.testing.assert_array_equal(found, Tensor(values).astype(ms.bfloat16).astype(ms.float32).asnumpy())


def build_pair(**options) -> tuple[nn.Cell, nn.Cell]:
    """Two networks with the same random weights."""
    networks = [create_model("halonet_test", **options) for _ in range(2)]
    draw_norms(networks[0])
    weights = {name: ms.Parameter(p.asnumpy().copy(), name=name) for name, p in networks[0].parameters_dict().items()}
    ms.load_param_into_net(networks[1], weights)
    return networks[0], networks[1]


FROZEN = {
    "norms folded": ({}, True),
    "norms as they are": ({}, False),
    "MindCV's windows": ({"dialect": "mindcv"}, True),
    "Keras' border of the pool": ({"dialect": "keras"}, True),
}


def test_frozen_networks(able, pynative):
    def check(name, case) -> None:
        options, folds = case
        network, portable = build_pair(**options)
        network.set_train(False), portable.set_train(False)
        network = accelerate(fuse_batchnorm(network) if folds else network, frozen=True, precision="bfloat16")
        assert network.stem[0].to_last.forward_kernel.find_types(ms.float32) == ms.bfloat16
        images = Tensor(np.random.standard_normal((3, 3, 48, 40)).astype(np.float32))
        found = network(images)
        assert found.dtype == ms.float32
        assert_near(found, portable(images), tolerance=3 * TOLERANCE)

    check_all(FROZEN, check)


TRAINED = {
    "as it is": {},  # in graph mode, where MindSpore chooses the operators before anything runs
    "stochastic depth": {"drop_path_rate": 0.3},
    "MindCV's windows": {"dialect": "mindcv"},
    "maps": {"features_only": True},
}


WIDTHS = (16, 32, 48, 64, 96)  # of halonet_test's maps


class Maps(nn.Cell):
    """The sum of what a network that gives maps gives."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, x: Tensor) -> Tensor:
        return ops.concat([maps.mean((2, 3)) for maps in self.network(x)], 1)


def test_gradients_of_networks(able, pynative):
    """In graph mode what is in question alone: the reference by operator, and no pass but the one."""

    def check(name, options: dict) -> None:
        found = []
        images = np.random.standard_normal((3, 3, 48, 40)).astype(np.float32)
        gives_maps = options.get("features_only", False)
        slope = np.random.standard_normal((3, sum(WIDTHS) if gives_maps else 1000)).astype(np.float32)
        for network, kind in zip(build_pair(**options), ("bfloat16", "float32"), strict=True):
            ms.set_context(mode=ms.PYNATIVE_MODE if options or kind == "float32" else ms.GRAPH_MODE)
            network.set_train(not options.get("drop_path_rate"))  # whose masks differ from network to network
            network = accelerate(network, precision=kind)
            cell = Maps(network) if gives_maps else network
            found.append(differentiate(cell, weighted_sum, images, slope))
        ours, theirs = found
        assert ours.output.dtype == np.float32
        assert_near(Tensor(ours.output), Tensor(theirs.output), tolerance=5 * TOLERANCE)
        for name, gradient in theirs.of_parameters.items():
            distance = np.linalg.norm(ours.of_parameters[name] - gradient)
            assert distance <= GRADIENTS * np.linalg.norm(gradient) + 1e-6, name

    check_all(TRAINED, check)


def test_a_layer_alone(able):
    layer = HaloAttention(16, num_heads=2, block_size=4, halo_size=1)
    maps = draw(2, 16, 6, 7)
    expected = layer(maps)
    found = accelerate(layer, precision="bfloat16")(maps)
    assert found.dtype == ms.float32
    assert_near(found, expected, tolerance=2 * TOLERANCE)


def test_a_processor_without_instructions_computes_float32(monkeypatch):
    monkeypatch.setattr(precision, "name_bfloat16_instructions", lambda: "")
    network, portable = build_pair()
    network.set_train(False), portable.set_train(False)
    with pytest.warns(UserWarning, match="this processor has no instructions for it .* float32 is computed"):
        network = accelerate(network, frozen=True, precision="bfloat16")
    assert network.precision == "float32"
    images = Tensor(np.random.standard_normal((1, 3, 48, 48)).astype(np.float32))
    assert_near(network(images), portable(images), tolerance=1e-5)


def test_unknown_precision():
    with pytest.raises(UserError, match="unknown precision 'float16'; nearest: bfloat16, float32"):
        accelerate(create_model("halonet_test"), precision="float16")
