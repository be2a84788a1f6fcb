"""Batch norm over ranks is batch norm over their joined batch.

Two ranks sit in one tensor here: the first half of the channels is what one sees, the second half what the other sees.
Their AllReduce is then the sum of both halves, for both; its gradient is the sum of both halves too, as a collective's.
"""

from __future__ import annotations

from contextlib import nullcontext

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from support.small_networks import SMALL

from mindcv_halo import HaloNet
from mindcv_halo.runtime import pynative_mode
from mindcv_halo.training.amp import auto_mixed_precision
from mindcv_halo.training.sync_batch_norm import RankBatchNorm, convert_sync_batch_norm

CHANNELS = 3
STATE = ("gamma", "beta", "moving_mean", "moving_variance")


class TwoRanks(nn.Cell):
    """Stands in for ops.AllReduce: (2 C,) -> (2 C,)."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.tile(x.reshape(2, -1).sum(0), (2,))


class OneRank(nn.Cell):
    """Stands in for the AllReduce of a group of one rank."""

    def construct(self, x: Tensor) -> Tensor:
        return x


def side_by_side(x: np.ndarray) -> np.ndarray:
    """The batch of two ranks, (2 B, C, H, W) -> what they see side by side, (B, 2 C, H, W)."""
    return np.concatenate(np.split(x, 2), axis=1)


def draw(*shape: int) -> np.ndarray:
    """Numbers far from zero with another spread on each half of the batch, so that the ranks' statistics differ."""
    x = np.random.default_rng(0).standard_normal(shape)
    x[: len(x) // 2] *= 3
    return (x + 2).astype(np.float32)


def make_norm(copies: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(copies * CHANNELS, eps=1e-3, momentum=0.8)
    for number, name in enumerate(STATE):
        values = np.random.default_rng(number + 1).random(CHANNELS).astype(np.float32)
        getattr(norm, name).set_data(Tensor(np.tile(values, copies)))
    return norm


def halves(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return array[:CHANNELS], array[CHANNELS:]


def test_the_joined_batch(mode, monkeypatch):
    """Outputs, running statistics and all gradients, over two steps; 1e-5: float32 sums in another order."""
    monkeypatch.setattr(ops, "AllReduce", TwoRanks)
    whole, ranks = make_norm(1).set_train(), RankBatchNorm(make_norm(2), 2).set_train()
    weights = np.random.default_rng(9).standard_normal((8, CHANNELS, 4, 5)).astype(np.float32)
    x = draw(8, CHANNELS, 4, 5)
    for _ in range(2):
        output, gradients = step(whole, x, weights)
        outputs, rank_gradients = step(ranks, side_by_side(x), side_by_side(weights))
        np.testing.assert_allclose(outputs, side_by_side(output), atol=1e-5)
        np.testing.assert_allclose(rank_gradients[0], side_by_side(gradients[0]), atol=1e-5)
        for found, expected in zip(
            rank_gradients[1:], gradients[1:], strict=True
        ):  # gamma, beta: AllReduceMean adds these
            np.testing.assert_allclose(np.add(*halves(found)), expected, rtol=1e-5, atol=1e-5)
        for name in ("moving_mean", "moving_variance"):
            expected = getattr(whole, name).asnumpy()
            for found in halves(getattr(ranks, name).asnumpy()):
                np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(ranks.moving_mean.asnumpy() - make_norm(2).moving_mean.asnumpy()).min() > 0.1


def step(norm: nn.Cell, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output, and the gradients of its weighted sum towards x, gamma and beta."""

    def weighted(x: Tensor) -> tuple[Tensor, Tensor]:
        output = norm(x)
        return (output * Tensor(weights)).sum(), output

    run = ms.value_and_grad(weighted, 0, [norm.gamma, norm.beta], has_aux=True)
    (_, output), (towards_x, towards_parameters) = run(Tensor(x))
    return output.asnumpy(), [each.asnumpy() for each in (towards_x, *towards_parameters)]


def test_evaluation_has_the_running_statistics_of_one_rank(mode, monkeypatch):
    monkeypatch.setattr(ops, "AllReduce", OneRank)
    norm = make_norm(1).set_train(False)
    x = Tensor(draw(2, CHANNELS, 4, 5))
    expected = norm(x).asnumpy()
    np.testing.assert_array_equal(RankBatchNorm(norm, 2).set_train(False)(x).asnumpy(), expected)


@pytest.mark.parametrize("training", [True, False])
def test_half_precision_stays(mode, monkeypatch, training):
    """It is computed in float32 and rounded once, where MindSpore may round twice: a unit of the last place."""
    monkeypatch.setattr(ops, "AllReduce", OneRank)
    x = Tensor(draw(4, CHANNELS, 4, 5).astype(np.float16))
    expected = make_norm(1).set_train(training)(x)
    found = RankBatchNorm(make_norm(1), 1).set_train(training)(x)
    assert found.dtype == expected.dtype == ms.float16
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=2**-10, atol=2**-12)


@pytest.mark.parametrize("mode, level", [("graph", "O0"), ("pynative", "O2"), ("pynative", "O3")], indirect=["mode"])
def test_a_network_of_one_rank(mode, monkeypatch, level):
    """All batch norms are replaced, all parameters keep their names, and nothing else changes.

    Compiled, they train; test_evaluation_has_the_running_statistics_of_one_rank compiles the rest.
    1e-5: float32 sums in another order. A float16 has 11 bits, and the layers after each other round anew: 1e-2.
    """
    monkeypatch.setattr(ops, "AllReduce", OneRank)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    network, twin = (HaloNet(SMALL, 5) for _ in range(2))
    for name, parameter in twin.parameters_dict().items():
        parameter.set_data(network.parameters_dict()[name].value())
    for cell in (network, twin):
        auto_mixed_precision(cell, level)
    assert convert_sync_batch_norm(twin, 1) is twin
    assert count(network, nn.BatchNorm2d) == count(twin, RankBatchNorm) > 0 == count(twin, nn.BatchNorm2d)
    assert set(twin.parameters_dict()) == set(network.parameters_dict())
    allowed = 1e-5 if level == "O0" else 1e-2
    for training in (True, False):
        with pynative_mode():
            expected = network.set_train(training)(x).asnumpy().astype(np.float32)
        with nullcontext() if training else pynative_mode():
            found = twin.set_train(training)(x).asnumpy().astype(np.float32)
        np.testing.assert_allclose(found, expected, atol=allowed * np.abs(expected).max())
    for name, parameter in network.parameters_dict().items():
        np.testing.assert_allclose(twin.parameters_dict()[name].asnumpy(), parameter.asnumpy(), atol=allowed / 2)


def test_a_sequence_runs_what_it_was_given(pynative, monkeypatch):
    """Over two ranks, of which the other has zeros, a mean is half of what it is over one."""
    monkeypatch.setattr(ops, "AllReduce", OneRank)
    network = convert_sync_batch_norm(nn.SequentialCell(make_norm(1)), 2)
    x = Tensor(draw(4, CHANNELS, 4, 5))
    expected = RankBatchNorm(make_norm(1), 2).set_train()(x).asnumpy()
    np.testing.assert_array_equal(network.set_train()(x).asnumpy(), expected)
    assert np.abs(expected - make_norm(1).set_train()(x).asnumpy()).max() > 0.1


def count(network: nn.Cell, kind: type) -> int:
    return sum(isinstance(cell, kind) for _, cell in network.cells_and_names())


@pytest.mark.parametrize("level, dtype", [("O0", None), ("O2", ms.float32), ("O3", ms.float16)])
def test_mindspores_own_has_the_precision_of_what_it_replaces(monkeypatch, level, dtype):
    network = auto_mixed_precision(nn.SequentialCell(make_norm(1)), level)
    with monkeypatch.context() as patch:
        patch.setattr(ms, "get_context", {"device_target": "Ascend"}.__getitem__)
        convert_sync_batch_norm(network, 2)
    twin = nn.BatchNorm2d(1) if dtype is None else nn.BatchNorm2d(1).to_float(dtype)
    assert network.name_cells()["0"].get_flags() == twin.get_flags()


@pytest.mark.parametrize("device, kind", [("Ascend", nn.SyncBatchNorm), ("GPU", RankBatchNorm), ("CPU", RankBatchNorm)])
def test_only_ascend_has_mindspores_own(monkeypatch, device, kind):
    with monkeypatch.context() as patch:
        patch.setattr(ms, "get_context", {"device_target": device}.__getitem__)
        network = convert_sync_batch_norm(nn.SequentialCell(make_norm(1)), 2)
    assert type(network.name_cells()["0"]) is kind


def test_mindspores_own_computes_the_same(monkeypatch):
    """MindSpore's SyncBatchNorm runs on one CPU process, so that its arithmetic can be compared here."""
    network = nn.SequentialCell()
    network.block = nn.Cell()
    network.block.norm = make_norm(1)
    before = network.block.norm
    with monkeypatch.context() as patch:
        patch.setattr(ms, "get_context", {"device_target": "Ascend"}.__getitem__)
        convert_sync_batch_norm(network, 2)
    sync = network.block.norm
    assert type(sync) is nn.SyncBatchNorm
    assert all(getattr(sync, name) is getattr(before, name) for name in STATE)
    x = draw(4, CHANNELS, 4, 5)
    twin = make_norm(1).set_train()
    np.testing.assert_allclose(sync.set_train()(Tensor(x)).asnumpy(), twin(Tensor(x)).asnumpy(), atol=1e-5)
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(getattr(sync, name).asnumpy(), getattr(twin, name).asnumpy(), rtol=1e-5)
