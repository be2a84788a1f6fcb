"""One update, however it is made: by accumulation, with a loss scale, clipped, averaged, in half precision."""

from __future__ import annotations

from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from support.small_networks import SMALL

from mindcv_halo import HaloNet, create_loss, create_optimizer
from mindcv_halo.runtime import pynative_mode
from mindcv_halo.training import step as train_step
from mindcv_halo.training.amp import auto_mixed_precision
from mindcv_halo.training.ema import EMA
from mindcv_halo.training.grad_scaler import GradScaler
from mindcv_halo.training.step import STATISTICS, TrainStep

INPUTS = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
LABELS = np.arange(8, dtype=np.int32) % 3


class ThreeRanks(nn.Cell):
    """Stands in for ops.AllReduce: three ranks with the same numbers."""

    def construct(self, x: Tensor) -> Tensor:
        return 3 * x


def make_step(average_decay: float | None = None, **options) -> TrainStep:
    """A step of plain gradient descent at rate 0.5 on two linear layers with fixed weights."""
    weights = np.random.default_rng(1)
    network = nn.SequentialCell(nn.Dense(5, 4), nn.ReLU(), nn.Dense(4, 3))
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(weights.standard_normal(parameter.shape).astype(np.float32)))
    if average_decay is not None:
        options["ema"] = EMA(network, average_decay)
    optimizer = create_optimizer(network, "sgd", lr=0.5, momentum=0.0)
    return TrainStep(network, nn.CrossEntropyLoss(), optimizer, **options)


def run(step: TrainStep, batch_size: int = 8, times: int = 1, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Feed the inputs in batches; the weights after them."""
    for _ in range(times):
        for start in range(0, 8, batch_size):
            part = slice(start, start + batch_size)
            step(Tensor(INPUTS[part] * np.float32(scale)), Tensor(LABELS[part]))
    return weights_of(step)


@cache
def three_plain_steps() -> dict[str, np.ndarray]:
    """What every way to make an update should come to, in either mode."""
    with pynative_mode():
        return run(make_step(), times=3)


def weights_of(step: TrainStep) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy().copy() for parameter in step.network.get_parameters()}


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    """1e-6: float32 sums of eight in another order, for weights around 1."""
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, atol=tolerance, err_msg=name)


MUST_CHANGE_NOTHING = [
    ({"accumulation_steps": 2}, 4),
    ({"accumulation_steps": 4}, 2),
    ({"grad_scaler": (1024.0, False, False)}, 8),
    ({"grad_scaler": (1024.0, False, True)}, 8),
    ({"grad_scaler": (1024.0, True, False), "accumulation_steps": 2}, 4),
    ({"clip_mode": "norm", "clip_value": 1e6}, 8),
    ({"clip_mode": "value", "clip_value": 1e6}, 8),
    ({"num_ranks": 3}, 8),
    ({"num_ranks": 3, "accumulation_steps": 2, "grad_scaler": (1024.0, True, True)}, 4),
]
EVERYTHING = {**MUST_CHANGE_NOTHING[-1][0], "clip_mode": "norm", "clip_value": 1e6}


@pytest.mark.parametrize(
    "mode, options, batch_size",
    [
        *(("pynative", *case) for case in MUST_CHANGE_NOTHING),
        ("graph", EVERYTHING, 4),
        *(pytest.param("graph", *case, marks=pytest.mark.thorough) for case in MUST_CHANGE_NOTHING),
    ],
    indirect=["mode"],
)
def test_what_must_not_change_an_update(mode, monkeypatch, options, batch_size):
    """Nor do ranks that have the same batch. Compiled, it is all of it in one step, as each step takes seconds."""
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    if "grad_scaler" in options:
        value, dynamic, skips = options["grad_scaler"]
        options = {**options, "grad_scaler": GradScaler(value, dynamic=dynamic, skips=skips)}
    assert_same(three_plain_steps(), run(make_step(**options), batch_size, times=3))


class OppositeRanks(nn.Cell):
    """Stands in for ops.AllReduce: the other rank has the same numbers with another sign."""

    def construct(self, x: Tensor) -> Tensor:
        return x - x


def test_loss_gradients_and_statistics_are_those_of_all_ranks(mode, monkeypatch):
    monkeypatch.setattr(ops, "AllReduce", OppositeRanks)
    network = nn.SequentialCell(nn.Dense(5, 4), nn.BatchNorm1d(4), nn.Dense(4, 3))
    network.set_train()
    optimizer = create_optimizer(network, "sgd", lr=0.5, momentum=0.0)
    step = TrainStep(network, nn.CrossEntropyLoss(), optimizer, num_ranks=2)
    before = weights_of(step)
    assert float(step(Tensor(INPUTS), Tensor(LABELS))) == 0
    after = weights_of(step)
    assert sum(name.endswith(STATISTICS) for name in after) == 2
    for name, value in after.items():
        np.testing.assert_array_equal(value, 0 if name.endswith(STATISTICS) else before[name], err_msg=name)


class OtherRanks(nn.Cell):
    """Stands in for ops.AllReduce: two other ranks have other numbers."""

    def construct(self, x: Tensor) -> Tensor:
        return 3 * x + 1


@pytest.mark.parametrize(
    "mode, num_ranks",
    [("pynative", 1), ("pynative", 3), ("graph", 1), pytest.param("graph", 3, marks=pytest.mark.thorough)],
    indirect=["mode"],
)
def test_frozen_parts_stay_bit_for_bit(mode, monkeypatch, num_ranks):
    """And compute by their running statistics, through a validation too; ranks leave them alone."""
    monkeypatch.setattr(ops, "AllReduce", OtherRanks)
    middle = nn.SequentialCell(nn.Dense(4, 4, has_bias=False), nn.BatchNorm1d(4))
    network = nn.SequentialCell(nn.Dense(5, 4), nn.BatchNorm1d(4), middle, nn.Dense(4, 3))
    frozen = [network[0], network[1]]
    for part in frozen:
        for parameter in part.trainable_params():
            parameter.requires_grad = False
    optimizer = create_optimizer(network, "sgd", lr=0.5, momentum=0.0)
    step = TrainStep(network, nn.CrossEntropyLoss(), optimizer, num_ranks=num_ranks, frozen=frozen)
    before = weights_of(step)
    run(step)
    network.set_train(False)
    step.set_train()
    assert middle[1].training and not network[1].training
    after = run(step)
    assert {name for name, value in after.items() if np.array_equal(value, before[name])} == {
        parameter.name for part in frozen for parameter in part.get_parameters()
    }


class AnotherRankOverflows(nn.Cell):
    """Stands in for ops.AllReduce over two ranks of equal gradients, of which the other met an overflow on its chip."""

    def construct(self, x: Tensor) -> Tensor:
        return 2 * x if x.ndim else x + 1


def test_ranks_agree_on_an_overflow(mode, monkeypatch):
    """One that only another rank's chip knows of leaves the update out here too."""
    monkeypatch.setattr(ops, "AllReduce", AnotherRankOverflows)
    monkeypatch.setattr(train_step, "saturates", lambda: True)
    scale = GradScaler(1024.0, dynamic=True)
    step = make_step(grad_scaler=scale, num_ranks=2)
    before = weights_of(step)
    assert_same(before, run(step), tolerance=0)
    assert float(scale.value.asnumpy()) == 512


@pytest.mark.parametrize("overflows", [False, True])
def test_what_overflowed_before_a_step_is_none_of_it(pynative, monkeypatch, overflows):
    """A chip that saturates keeps a mark until it is asked; optimizers and validation may have left it."""
    chip = {"marked": True}

    def all_finite(tensors: tuple[Tensor, ...]) -> Tensor:
        marked, chip["marked"] = chip["marked"], False
        return Tensor(not marked)

    monkeypatch.setattr(train_step, "saturates", lambda: True)
    monkeypatch.setattr(train_step, "all_finite", all_finite)
    step = make_step(grad_scaler=GradScaler(1024.0, skips=True))
    forward = step.forward
    step.value_and_grad = ms.value_and_grad(
        lambda *batch: chip.update(marked=chip["marked"] or overflows) or forward(*batch),
        None,
        step.optimizer.parameters,
    )
    before = weights_of(step)
    step(Tensor(INPUTS), Tensor(LABELS))
    assert all(np.array_equal(before[name], value) for name, value in weights_of(step).items()) is overflows


class TwoHeads(nn.Cell):
    """The logits of a network, and twice them as those of an auxiliary head."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(x)
        return logits, logits * 2


def test_auxiliary_heads_reach_the_loss(mode):
    """In half precision too, whose logits become float32 before the loss: 1e-3 of the loss for their 11 bits."""
    network = TwoHeads(make_step().network)
    loss = create_loss("CE", aux_factor=0.4)
    with pynative_mode():
        expected = float(loss(network(Tensor(INPUTS)), Tensor(LABELS)))
    for level in ("O3",) if mode == "graph" else ("O0", "O3"):
        step = TrainStep(auto_mixed_precision(network, level), loss, create_optimizer(network, "sgd", lr=0.0))
        assert float(step(Tensor(INPUTS), Tensor(LABELS))) == pytest.approx(expected, rel=1e-3)


def test_an_update_waits_for_its_batches(pynative):
    step = make_step(accumulation_steps=2)
    before = weights_of(step)
    step(Tensor(INPUTS[:4]), Tensor(LABELS[:4]))
    assert_same(before, weights_of(step), tolerance=0)


@pytest.mark.parametrize("clip_mode, grad_scaler", [("norm", 1024.0), ("value", None)])
def test_clipping_bounds_an_update(mode, clip_mode, grad_scaler):
    """Whatever the gradients were scaled by before."""
    before = weights_of(make_step())
    scaler = None if grad_scaler is None else GradScaler(grad_scaler)
    after = run(make_step(clip_mode=clip_mode, clip_value=0.01, grad_scaler=scaler))
    moves = np.concatenate([(after[name] - before[name]).ravel() for name in before]) / 0.5
    largest = np.linalg.norm(moves) if clip_mode == "norm" else np.abs(moves).max()
    assert largest == pytest.approx(0.01, rel=1e-3)


def test_a_dynamic_scale_leaves_out_what_overflows_and_recovers(mode):
    scale = GradScaler(1024.0, dynamic=True, growth_steps=2)
    step = make_step(grad_scaler=scale)
    before = weights_of(step)
    assert_same(before, run(step, scale=np.inf), tolerance=0)
    assert float(scale.value.asnumpy()) == 512
    run(step, times=2)
    assert float(scale.value.asnumpy()) == 1024
    assert any(not np.array_equal(before[name], value) for name, value in weights_of(step).items())


@pytest.mark.parametrize(
    "mode", ["pynative", pytest.param("graph", marks=pytest.mark.thorough)], indirect=True
)  # compiled, a dynamic scale below leaves them out
def test_a_fixed_scale_leaves_overflows_out_only_if_asked(mode):
    kept = run(make_step(grad_scaler=GradScaler(2.0, skips=True)), scale=np.inf)
    assert all(np.isfinite(value).all() for value in kept.values())
    lost = run(make_step(grad_scaler=GradScaler(2.0)), scale=np.inf)
    assert not all(np.isfinite(value).all() for value in lost.values())


def test_the_average_by_hand(mode):
    step = make_step(average_decay=0.9)
    expected = weights_of(step)
    for number in (1, 2, 3):
        weights = run(step)
        decay = 0.9 * (1 - np.exp(-number / 2000))
        expected = {name: decay * expected[name] + (1 - decay) * weights[name] for name in weights}
    assert_same(expected, {item.name.removeprefix("ema."): item.asnumpy() for item in step.ema.averages})
    other = make_step().network
    step.ema.copy_to(other)
    assert_same(expected, {item.name: item.asnumpy() for item in other.get_parameters()})


def test_all_that_the_next_step_needs_is_a_parameter():
    options = {"accumulation_steps": 3, "average_decay": 0.9}
    first = make_step(grad_scaler=GradScaler(8.0, dynamic=True), **options)
    run(first, batch_size=4, times=2)
    second = make_step(grad_scaler=GradScaler(8.0, dynamic=True), **options)
    for name, parameter in second.parameters_dict().items():
        parameter.set_data(Tensor(first.parameters_dict()[name].asnumpy()))
    assert_same(run(first, batch_size=4, times=2), run(second, batch_size=4, times=2), tolerance=0)


@pytest.mark.parametrize(
    "mode, level", [("graph", "O2"), ("pynative", "O1"), ("pynative", "O2"), ("pynative", "O3")], indirect=["mode"]
)
def test_half_precision_is_near_and_leaves_the_names(mode, level):
    """float16 has 11 bits: about 1e-3 of the largest logit for a net of this depth."""
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    network = HaloNet(SMALL, 5).set_train(False)
    with pynative_mode():
        expected = network(x).asnumpy()
    names = set(network.parameters_dict())
    half = HaloNet(SMALL, 5).set_train(False)
    for name, parameter in half.parameters_dict().items():
        parameter.set_data(network.parameters_dict()[name].value())
    auto_mixed_precision(half, level)
    assert set(half.parameters_dict()) == names
    found = half(x).asnumpy().astype(np.float32)
    assert 0 < np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()
