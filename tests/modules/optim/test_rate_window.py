"""An optimizer with a window on its rates takes the steps of one that has them all."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from mindcv_halo.optim import (
    RateWindow,
    create_optimizer,
    is_setting,
    load_optimizer_state,
    move_rates,
    optimizer_state,
)
from mindcv_halo.optim.registry import OPTIMIZERS

pytestmark = pytest.mark.usefixtures("pynative")

RATES = [0.01, 0.03, 0.02, 0.04]


class Layers(nn.Cell):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.weight = Parameter(Tensor(rng.standard_normal((3, 4)).astype(np.float32)), name="weight")
        self.bias = Parameter(Tensor(rng.standard_normal(4).astype(np.float32)), name="bias")

    def layer_ids(self) -> dict[str, int]:
        return {"weight": 0, "bias": 1}


GRADIENTS = [
    [
        np.random.default_rng([step, place]).standard_normal(shape).astype(np.float32)
        for place, shape in enumerate(((3, 4), 4))
    ]
    for step in range(len(RATES))
]


def walk(optimizer: nn.Optimizer, steps: range, window: int | None = None, since: int = 0) -> list[np.ndarray]:
    """Take these of the gradients' steps, and bring a window of rates where one is used up; the weights after them."""
    for number, step in enumerate(steps):
        if window and number % window == 0:
            move_rates(optimizer, since)
        optimizer(tuple(map(Tensor, GRADIENTS[step])))
    return [parameter.asnumpy().copy() for parameter in optimizer.parameters]


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_window_changes_no_step(opt, layer_decay):
    whole = create_optimizer(Layers(), opt, lr=RATES, layer_decay=layer_decay)
    window = create_optimizer(Layers(), opt, lr=RateWindow(RATES, 2), layer_decay=layer_decay)
    steps = range(len(RATES))
    for expected, found in zip(walk(whole, steps), walk(window, steps, window=2), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_new_run_with_the_state_of_an_earlier_one(opt, tmp_path):
    """As resume_opt: moving averages and the counter go on, the rates begin. It ran past the table's end before."""
    first = create_optimizer(Layers(), opt, lr=RateWindow(RATES, 4))
    walk(first, range(4), window=4)
    file = tmp_path / "optim.ckpt"
    ms.save_checkpoint([{"name": name, "data": value} for name, value in optimizer_state(first).items()], str(file))
    assert not any(map(is_setting, optimizer_state(first)))

    second = create_optimizer(Layers(), opt, lr=RateWindow([0.5, 0.25], 2), checkpoint_path=str(file))
    expected = create_optimizer(Layers(), opt, lr=[0.0] * 4 + [0.5, 0.25])
    load_optimizer_state(expected, file)
    assert int(second.global_step.asnumpy()[0]) == 4
    for one, other in zip(walk(expected, range(2)), walk(second, range(2), window=2, since=4), strict=True):
        np.testing.assert_array_equal(other, one)


def test_the_end_of_the_schedule_holds():
    """An update too many, as a skipped one can leave, has the last rate; what is held stays of one size."""
    window = RateWindow([1.0, 2.0, 3.0], 2)
    for made, since, expected in ((0, 0, [1, 2]), (2, 0, [3, 3]), (9, 0, [3, 3]), (11, 10, [2, 3])):
        window.move(made, since)
        assert window.window.asnumpy().tolist() == expected
        assert float(window(Tensor([made], ms.int32)).asnumpy()[0]) == expected[0]
