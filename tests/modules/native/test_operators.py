"""Each kernel against the portable layers: outputs and gradients, for shapes that vectors and threads do not divide."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from support.differentiate import differentiate, weighted_sum
from support.ways import has_kernels

from mindcv_halo.models.layers.conv_norm_act import make_norm
from mindcv_halo.models.layers.stem_pool import StemPool
from mindcv_halo.native.operators import BatchNorm, ChannelGate, Convolution, Fork, MaxPool, MeanPixels, nothing

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

# Of the largest entry. Sums of up to 3,000 terms in float32, in another order.
TOLERANCE = 1e-5


def random(*shape: int) -> np.ndarray:
    return np.random.standard_normal(shape).astype(np.float32)


def assert_near(actual: np.ndarray, expected: np.ndarray, name: str = "") -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=name)


class ChannelsLast(nn.Cell):
    """A cell on channels-last maps, as one on (B, C, H, W)."""

    def __init__(self, cell: nn.Cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x: Tensor) -> Tensor:
        return self.cell(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def assert_same_derivatives(native: nn.Cell, portable: nn.Cell, x: np.ndarray) -> None:
    """Output, gradient of the input and of all parameters, for a random slope of the output."""
    slope = random(*portable(Tensor(x)).shape)
    ours, theirs = (differentiate(cell, weighted_sum, x, slope) for cell in (native, portable))
    assert_near(ours.output, theirs.output, "output")
    assert_near(ours.of_input, theirs.of_input, "input")
    for name, gradient in theirs.of_parameters.items():
        assert_near(ours.of_parameters[name], gradient, name)


class NativeConvolution(nn.Cell):
    def __init__(self, conv: nn.Conv2d):
        super().__init__(auto_prefix=False)
        self.conv = conv
        self.kernel = Convolution(stride=conv.stride[0], groups=conv.group)
        self.nothing = nothing()

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x, self.conv.weight, self.nothing, self.nothing)


@pytest.mark.parametrize(
    ("channels", "out", "kernel", "stride", "groups", "height", "width"),
    [
        (3, 24, 3, 2, 1, 9, 12),
        (16, 20, 1, 1, 1, 5, 7),
        (16, 20, 1, 2, 1, 5, 8),
        (24, 24, 3, 1, 3, 6, 5),
        (32, 32, 3, 2, 2, 7, 7),
        (48, 48, 3, 1, 3, 3, 37),
        (32, 32, 5, 2, 2, 6, 9),
        (5, 7, 5, 1, 1, 3, 2),
    ],
)
def test_convolution(mode, channels, out, kernel, stride, groups, height, width):
    conv = nn.Conv2d(channels, out, kernel, stride, pad_mode="pad", padding=kernel // 2, group=groups, has_bias=False)
    conv.weight.set_data(Tensor(random(*conv.weight.shape)))
    assert_same_derivatives(ChannelsLast(NativeConvolution(conv)), conv, random(2, channels, height, width))


class Forked(nn.Cell):
    def __init__(self):
        super().__init__()
        self.fork = Fork()

    def construct(self, x: Tensor) -> Tensor:
        one, other = self.fork(x)
        return 2 * one + 3 * other


def test_gradients_of_a_map_that_forks(mode):
    x, slope = random(2, 3, 5, 7), random(2, 3, 5, 7)
    found = differentiate(Forked(), weighted_sum, x, slope)
    assert_near(found.output, 5 * x)
    assert_near(found.of_input, 5 * slope)


def test_the_same_operands_under_other_settings(mode):
    """MindSpore remembers the shapes of outputs in PyNative mode, and must not take one stride's for another's."""
    x, weight, none = Tensor(random(1, 6, 6, 4)), Tensor(random(4, 4, 3, 3)), nothing()
    sizes = [Convolution(stride=stride)(x, weight, none, none).shape[1] for stride in (1, 2, 1)]
    assert sizes == [6, 3, 6]


def test_frozen_weights_are_not_taken_for_others():
    """Two networks share a number where a graph comes out of MindSpore's cache."""
    x, none = Tensor(random(1, 4, 4, 16)), nothing()
    weights = [Tensor(random(16, 16, 3, 3)) for _ in range(2)]
    kernels = [Convolution(frozen=True) for _ in range(2)]
    kernels[1].settings = kernels[0].settings
    for _ in range(2):
        for kernel, weight in zip(kernels, weights, strict=True):
            expected = Convolution()(x, weight, none, none).asnumpy()
            assert_near(kernel(x, weight, none, none).asnumpy(), expected)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("channels", "groups"), [(12, 1), (32, 2)])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_convolution_with_bias_sum_and_activation(activation, channels, groups, frozen):
    x, weight = random(2, 5, 6, channels), random(channels, channels // groups, 3, 3)
    bias, added = random(channels), random(2, 5, 6, channels)
    kernel = Convolution(groups=groups, activation=activation, has_bias=True, adds=True, frozen=frozen)
    out = kernel(*(Tensor(array) for array in (x, weight, bias, added))).asnumpy()
    plain = nn.Conv2d(channels, channels, 3, pad_mode="pad", padding=1, group=groups, has_bias=False)
    plain.weight.set_data(Tensor(weight))
    plain = plain(Tensor(x.transpose(0, 3, 1, 2))).asnumpy()
    z = plain.transpose(0, 2, 3, 1).astype(np.float64) + bias + added
    expected = {None: z, "relu": np.maximum(z, 0), "silu": z / (1 + np.exp(-z))}[activation]
    assert_near(out, expected)


def test_convolution_with_activation_has_no_gradient():
    class Step(nn.Cell):
        def __init__(self):
            super().__init__()
            self.kernel = Convolution(activation="relu")
            self.gradient = ops.GradOperation()(self.kernel)

        def construct(self, x: Tensor, weight: Tensor, rest: Tensor) -> Tensor:
            return self.gradient(x, weight, rest, rest)

    with pytest.raises(RuntimeError, match="for inference"):
        Step()(Tensor(random(1, 4, 4, 8)), Tensor(random(8, 8, 1, 1)), nothing())


class NativeNorm(nn.Cell):
    def __init__(self, norm: nn.BatchNorm2d, activation: str | None, adds: bool, training: bool):
        super().__init__(auto_prefix=False)
        self.norm = norm
        self.adds = adds
        self.nothing = nothing()
        options = {"eps": norm.eps, "momentum": 1 - norm.momentum, "activation": activation, "adds": adds}
        self.kernel = BatchNorm(**options, training=training)

    def construct(self, x: Tensor) -> Tensor:
        added = x * x if self.adds else self.nothing
        norm = self.norm
        return self.kernel(x, added, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)[0]


class PortableNorm(nn.Cell):
    def __init__(self, norm: nn.BatchNorm2d, activation: nn.Cell, adds: bool):
        super().__init__(auto_prefix=False)
        self.norm = norm
        self.activation = activation
        self.adds = adds

    def construct(self, x: Tensor) -> Tensor:
        z = self.norm(x)
        return self.activation(z + x * x if self.adds else z)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_batch_norm(activation, adds, training):
    norm = make_norm(19)
    for parameter in norm.get_parameters():
        parameter.set_data(Tensor(np.random.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    layer = {None: nn.Identity(), "relu": nn.ReLU(), "silu": nn.SiLU()}[activation]
    portable = PortableNorm(norm, layer, adds).set_train(training)
    native = ChannelsLast(NativeNorm(norm, activation, adds, training))
    assert_same_derivatives(native, portable, random(3, 19, 7, 9))


@pytest.mark.parametrize("training", [True, False])
def test_what_is_no_number_stays_none(training):
    """Through an activation that would make a zero of it, and hide that a run has diverged."""
    x = random(2, 4, 4, 32)
    x[0, 1, 1] = np.nan
    ones = Tensor(np.ones(32, np.float32))
    kernel = BatchNorm(eps=1e-5, momentum=0.9, activation="relu", adds=False, training=training)
    out, _, _, mean, variance = kernel(Tensor(x), nothing(), ones, ones, ones, ones)
    assert np.isnan(out.asnumpy()[0, 1, 1]).all()
    assert not training or np.isnan([mean.asnumpy(), variance.asnumpy()]).all()
    grouped = Convolution(groups=2, activation="relu")(Tensor(x), Tensor(random(32, 16, 3, 3)), nothing(), nothing())
    assert np.isnan(grouped.asnumpy()[0, 1, 1]).all()


def test_batch_norm_of_numbers_far_from_zero():
    """A mean of a thousand standard deviations; sums of squares in float32 would know nothing of the variance."""
    x = 1000 + random(4, 16, 16, 8)
    kernel = BatchNorm(eps=1e-5, momentum=0.9, activation=None, adds=False, training=True)
    ones, zeros = Tensor(np.ones(8, np.float32)), Tensor(np.zeros(8, np.float32))
    _, mean, inverse, new_mean, new_variance = kernel(Tensor(x), nothing(), ones, zeros, zeros, ones)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean.asnumpy(), exact.mean((0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(inverse.asnumpy(), (exact.var((0, 1, 2)) + 1e-5) ** -0.5, rtol=1e-5)
    np.testing.assert_allclose(new_mean.asnumpy(), 0.1 * exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(new_variance.asnumpy(), 0.9 + 0.1 * exact.var((0, 1, 2), ddof=1), rtol=1e-5)


@pytest.mark.parametrize("zero_border", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 2)])
def test_max_pool(size, zero_border):
    portable = StemPool(zero_border=zero_border)
    assert_same_derivatives(ChannelsLast(MaxPool(portable.border)), portable, random(2, 19, *size))


class Gated(nn.Cell):
    """map * sigmoid(2 * mean of the map), which needs both kernels' gradients."""

    def __init__(self):
        super().__init__()
        self.mean = MeanPixels()
        self.gate = ChannelGate()

    def construct(self, x: Tensor) -> Tensor:
        return self.gate(x, 2 * self.mean(x))


class PortableGated(nn.Cell):
    def construct(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(2 * x.mean((2, 3), keep_dims=True))


@pytest.mark.parametrize("shape", [(2, 19, 5, 7), (1, 24, 32, 33), (3, 4, 1, 1)])
def test_mean_and_gate(shape):
    assert_same_derivatives(ChannelsLast(Gated()), PortableGated(), random(*shape))
