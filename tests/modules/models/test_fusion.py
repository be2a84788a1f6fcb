"""Batch norm folded into convolutions: the same outputs, for inference alone."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn
from support.drawn_norms import draw_norms
from support.small_networks import SMALL, narrow, shorten

from mindcv_halo import HaloNet, create_model, fuse_batchnorm, list_models
from mindcv_halo.errors import UserError
from mindcv_halo.models.halonet import SPECS
from mindcv_halo.models.layers import ConvNormAct, LambdaLayer
from mindcv_halo.training.amp import auto_mixed_precision

# H4 to H7 are H3's blocks in other numbers and sizes.
MODELS = list_models(exclude_filters=[f"halonet_h{number}" for number in (4, 5, 6, 7)])
TOLERANCE = 1e-5  # of the largest output: rounding, which differs as the sums do


def images(size: int = 32, batch: int = 2) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32))


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    actual, expected = actual.asnumpy(), expected.asnumpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    "name, is_whole",
    [*((name, False) for name in MODELS), *(pytest.param(name, True, marks=pytest.mark.thorough) for name in MODELS)],
)
def test_logits_of_every_model(pynative, name, is_whole):
    """Each kind of block in each stage; with --thorough in its whole depth and width."""
    network = draw_norms(HaloNet(SPECS[name] if is_whole else narrow(shorten(SPECS[name])), 20, image_size=32))
    fused = fuse_batchnorm(network)
    assert_near(fused(images()), network(images()))
    left = {key for key, cell in fused.cells_and_names() if isinstance(cell, nn.BatchNorm2d)}
    assert left == {key for key, _ in network.cells_and_names() if key.endswith("mix.norm")}


@pytest.mark.parametrize("name, dialect", [("halonet_se33t", "keras"), ("halonet_26t", "mindcv")])
def test_dialects_stay(pynative, name, dialect):
    x = images(64)
    spec = narrow(shorten(SPECS[name]))
    network = draw_norms(HaloNet(spec, 20, dialect=dialect))
    other = draw_norms(HaloNet(spec, 20))
    for parameter, theirs in zip(other.get_parameters(), network.get_parameters(), strict=True):
        parameter.set_data(theirs.value())
    fused = fuse_batchnorm(network)
    assert fused.dialect.name == dialect
    assert_near(fused(x), network(x))
    with pytest.raises(AssertionError):
        assert_near(fused(x), other(x), 10 * TOLERANCE)


def test_folding_what_is_folded_copies_it(pynative):
    once = fuse_batchnorm(create_model("halonet_test"))
    twice = fuse_batchnorm(once)
    assert twice.stem.conv1.conv.weight is not once.stem.conv1.conv.weight


def test_after_compilation(mode):
    """The copy has a graph of its own, and the network keeps its parameters."""
    network = draw_norms(HaloNet(SMALL, 5))
    before = network(images())
    fused = fuse_batchnorm(network)
    assert_near(fused(images()), before)
    fused.stem.conv1.conv.bias.set_data(fused.stem.conv1.conv.bias.value() + 1)
    assert np.abs((fused(images()) - before).asnumpy()).max() > 1e-3
    np.testing.assert_array_equal(network(images()).asnumpy(), before.asnumpy())
    assert network.stem.conv1.conv.bias is None


def test_features_only(pynative):
    network = draw_norms(create_model("halonet_test", features_only=True, out_indices=(0, 2, 3)))
    fused = fuse_batchnorm(network)
    assert fused.strides == network.strides and fused.out_channels == network.out_channels
    for ours, theirs in zip(fused(images()), network(images()), strict=True):
        assert_near(ours, theirs)


def test_training_is_refused(mode):
    network = HaloNet(SMALL, 5)
    fused = fuse_batchnorm(network)
    assert not fused.training
    fused.set_train(True)
    with pytest.raises(RuntimeError, match=r"this network is for inference: its batch norms are folded into"):
        fused(images())
    network.set_train(True)(images())


def test_names_of_parameters():
    network = create_model("halonet_test")
    names = fuse_batchnorm(network).parameters_dict().keys()
    folded = {"stem.conv1.norm", "stages.0.0.reduce.norm", "stages.3.0.shortcut.norm"}
    assert not any(name.rpartition(".")[0] in folded for name in names)
    new = names - network.parameters_dict().keys()
    assert "stem.conv1.conv.bias" in new and all(name.endswith(".conv.bias") for name in new)


def test_lambda_layer(mode):
    """Queries and values have a norm each, keys have none; all three come out of one projection."""
    layer = draw_norms(LambdaLayer(16, num_heads=2, dim_key=4, reach=5))
    x = Tensor(np.random.default_rng(0).standard_normal((2, 16, 6, 5)).astype(np.float32))
    fused = fuse_batchnorm(layer)
    assert_near(fused(x), layer(x), 1e-6)
    assert not any(isinstance(cell, nn.BatchNorm2d) for _, cell in fused.cells_and_names())


def test_float64():
    """Where the variance is tiny, or the mean cancels the offset, float32 would lose digits on the way."""
    cell = ConvNormAct(3, 4, 3, act=None)
    for parameter, values in (
        (cell.norm.moving_variance, (1e-9, 1e-3, 1.0, 1e6)),
        (cell.norm.moving_mean, (1e-3, 1.0, -3.1, 1e3)),
        (cell.norm.gamma, (1.1, -0.7, 1e-3, 3.3)),
        (cell.norm.beta, (0.3162, 31.5, 0.1, 3.301)),
    ):
        parameter.set_data(Tensor(np.array(values, np.float32)))
    gamma, beta, mean, variance = (
        np.float64(getattr(cell.norm, name).asnumpy()) for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    weight = np.float64(cell.conv.weight.asnumpy())
    deviation = (variance + 1e-5) ** 0.5
    fused = fuse_batchnorm(cell).conv
    np.testing.assert_allclose(fused.bias.asnumpy(), beta - gamma * mean / deviation, rtol=6e-8)
    np.testing.assert_allclose(
        fused.weight.asnumpy(), weight * (gamma / deviation).reshape(-1, 1, 1, 1), rtol=6e-8, atol=0
    )


def test_half_precision_comes_afterwards(pynative):
    network = draw_norms(create_model("halonet_test", num_classes=5))
    half = auto_mixed_precision(fuse_batchnorm(network), "O1")
    assert_near(half(images()), network(images()), 2e-2)
    for level in ("O1", "O2", "O3"):
        network = auto_mixed_precision(HaloNet(SMALL), level)
        with pytest.raises(UserError, match=r"stem.conv1 has a precision of its own; call auto_mixed_precision after"):
            fuse_batchnorm(network)


def test_a_second_time(pynative):
    network = draw_norms(create_model("halonet_test", num_classes=5))
    fused = fuse_batchnorm(network)
    np.testing.assert_array_equal(fuse_batchnorm(fused)(images()).asnumpy(), fused(images()).asnumpy())
