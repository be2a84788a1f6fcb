"""create_scheduler: length, warm-up, ends and refusals of every schedule."""

from __future__ import annotations

import warnings
from itertools import product

import pytest
from support.table import check_all

from mindcv_halo.errors import UserError
from mindcv_halo.scheduler import create_scheduler
from mindcv_halo.scheduler.registry import SCHEDULES

NAMES = tuple(SCHEDULES)
NEEDS = {"step_decay": {"decay_epochs": 2}, "multi_step_decay": {"milestones": [1, 3]}}


def schedule(name: str, **settings) -> list[float]:
    known = {"steps_per_epoch": 5, "lr": 0.1, "min_lr": 1e-3, "warmup_epochs": 2, "num_epochs": 10}
    return create_scheduler(scheduler=name, **{**known, **NEEDS.get(name, {}), **settings})


def test_one_rate_for_every_step():
    def check(case: tuple) -> None:
        name, warmup_epochs, decay_epochs, stair = case
        decay_epochs = decay_epochs or NEEDS.get(name, {}).get("decay_epochs")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rates = schedule(name, warmup_epochs=warmup_epochs, decay_epochs=decay_epochs, lr_epoch_stair=stair)
        assert len(rates) == 50
        assert all(type(rate) is float for rate in rates)
        assert all(0 <= rate <= 0.1 for rate in rates)
        assert all(rate >= 1e-3 for rate in rates[5 * warmup_epochs :])
        if stair:
            assert all(len(set(rates[start : start + 5])) == 1 for start in range(0, 50, 5))

    check_all(product(NAMES, (0, 2, 9, 10), (None, 1, 3, 8, 20), (False, True)), check)


@pytest.mark.parametrize("name", NAMES)
def test_warmup_is_a_line_to_where_the_schedule_begins(name):
    first = {"one_cycle": 0.1 / 25, "cyclic": 1e-3}.get(name, 0.1)
    rates = schedule(name, warmup_factor=0.1)
    assert rates[10] == pytest.approx(first)
    assert rates[:10] == pytest.approx([first * (0.1 + 0.9 * step / 10) for step in range(10)])


@pytest.mark.parametrize(
    "name, end",
    [
        ("cosine_decay", 1e-3),
        ("exponential_decay", 0.1 * 0.9**4),
        ("polynomial_decay", 1e-3),
        ("one_cycle", 1e-3),
        ("cyclic", 1e-3),
    ],
)
def test_after_the_decay_the_final_value_stays(name, end):
    rates = schedule(name, decay_epochs=4)
    assert rates[30:] == pytest.approx([end] * 20)
    assert rates[29] != pytest.approx(rates[10])


def test_decay_fills_the_run_by_default():
    for name in ("cosine_decay", "exponential_decay", "polynomial_decay", "one_cycle", "cyclic"):
        assert schedule(name) == schedule(name, decay_epochs=8), name


def test_cosine_cycles():
    rates = schedule("cosine_decay", warmup_epochs=0, num_cycles=2, cycle_decay=0.5)
    assert rates[0] == pytest.approx(0.1)
    assert rates[24] < 0.002
    assert rates[25] == pytest.approx(0.05)
    assert rates == schedule("cosine_decay", warmup_epochs=0, num_cycles=2, cycle_decay=0.5, decay_epochs=5)


def test_cyclic_cycles():
    rates = schedule("cyclic", steps_per_epoch=2, warmup_epochs=0, num_cycles=5, cycle_decay=0.5)
    assert rates[::4] == pytest.approx([1e-3] * 5)
    assert rates[2::4] == pytest.approx([1e-3 + 0.099 * 0.5**cycle for cycle in range(5)])


def test_one_cycle_reaches_its_three_rates():
    rates = schedule("one_cycle", steps_per_epoch=10, warmup_epochs=0)
    assert (rates[0], rates[29], rates[-1]) == pytest.approx((0.1 / 25, 0.1, 1e-3))
    assert schedule("one_cycle", min_lr=0.0)[-1] == 0.0


def test_steps_are_counted_from_the_end_of_the_warmup():
    assert schedule("step_decay", decay_rate=0.5)[::5] == pytest.approx(
        [0.0, 0.05, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]
    )
    assert schedule("multi_step_decay", decay_rate=0.5)[10::5] == pytest.approx([0.1] + [0.05] * 2 + [0.025] * 5)


def test_halonet_recipe():
    rates = create_scheduler(
        7, "warmup_cosine_decay", 0.00125, 0.000006, warmup_epochs=3, decay_epochs=297, num_epochs=300
    )
    assert len(rates) == 2100
    assert rates[0] == 0.0
    assert rates[21] == max(rates) == pytest.approx(0.00125)
    assert 0.000006 < rates[-1] < 0.0000061


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "cosine"}, "unknown scheduler 'cosine'; nearest: cosine_decay"),
        ({"name": "cosine", "steps_per_epoch": 0}, "unknown scheduler"),
        ({"steps_per_epoch": 0}, "steps_per_epoch 0 must be a whole number of at least 1"),
        ({"num_epochs": 1.5}, r"epoch_size \(num_epochs\) 1.5 must be a whole number"),
        ({"warmup_epochs": -1}, "warmup_epochs -1 must be a whole number of at least 0"),
        ({"decay_epochs": 0}, "decay_epochs 0 must be a whole number of at least 1"),
        ({"num_cycles": 0}, "num_cycles 0 must be"),
        ({"lr": -0.1}, "lr -0.1 must be a number above 0"),
        ({"lr": float("nan")}, "lr nan must be"),
        ({"min_lr": 0.2}, r"min_lr 0.2 must lie between 0 and lr \(0.1\)"),
        ({"min_lr": -1e-9}, "min_lr -1e-09 must lie between 0"),
        ({"warmup_factor": 2}, "warmup_factor 2 must lie between 0 and 1"),
        ({"decay_rate": 0}, "decay_rate 0 must be a number above 0"),
        ({"cycle_decay": 1.5}, "cycle_decay 1.5 must lie above 0"),
        ({"name": "step_decay", "decay_epochs": None}, "step_decay needs decay_epochs"),
        ({"name": "multi_step_decay", "milestones": None}, "multi_step_decay needs multi_step_decay_milestones"),
        (
            {"name": "multi_step_decay", "milestones": [3, 1]},
            r"multi_step_decay_milestones \(milestones\) \[3, 1\] must rise",
        ),
        (
            {"name": "multi_step_decay", "milestones": [0, 1]},
            r"each of multi_step_decay_milestones \(milestones\) 0 must be a whole number of at least 1",
        ),
        ({"name": "cyclic", "num_cycles": 30}, "less than two steps for a cycle of cyclic; use at most 20"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UserError, match=message):
        schedule(**{"name": "constant", **settings})


@pytest.mark.parametrize(
    "name, settings, message",
    [
        (
            "cosine_decay",
            {"decay_epochs": 9},
            r"epoch_size \(num_epochs\) 10 is less than .* 2 epochs of warm-up and 9 of",
        ),
        ("cosine_decay", {"decay_epochs": 5, "num_cycles": 2}, "and 10 of decay: the run follows its first part"),
        ("multi_step_decay", {"milestones": [1, 8]}, "milestone 8 of .* is never reached"),
        ("constant", {"warmup_epochs": 11}, "schedule's 11 epochs of warm-up: the run follows its first part"),
        ("constant", {"lr_epoch_stair": True}, "trains the whole first epoch at rate 0"),
    ],
)
def test_warnings(name, settings, message):
    with pytest.warns(UserWarning, match=message):
        schedule(name, **settings)


def test_a_run_shorter_than_its_schedule_follows_its_first_part():
    """As the first trial of a recipe does: 3 epochs of warm-up and 7 of decay, of which the run has 1, 2, 3 or 7."""

    def check(case: tuple) -> None:
        name, num_epochs, stair = case
        settings = {"warmup_epochs": 3, "decay_epochs": 7, "lr_epoch_stair": stair, "warmup_factor": 0.1}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = schedule(name, **settings)
            assert schedule(name, **settings, num_epochs=num_epochs) == whole[: 5 * num_epochs]

    check_all(product(NAMES, (1, 2, 3, 7), (False, True)), check)
