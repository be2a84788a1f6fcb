"""Every curve against values worked out by hand, or against a formula that the code does not use."""

from __future__ import annotations

import ast
import inspect
import math

import pytest

from mindcv_halo.scheduler import dynamic_lr
from mindcv_halo.scheduler.dynamic_lr import (
    constant_lr,
    cosine_annealing_lr,
    cosine_annealing_warm_restarts_lr,
    cosine_decay_lr,
    cosine_decay_refined_lr,
    cyclic_lr,
    exponential_lr,
    exponential_refined_lr,
    linear_lr,
    linear_refined_lr,
    multi_step_lr,
    one_cycle_lr,
    polynomial_lr,
    polynomial_refined_lr,
    step_lr,
)

HALF = math.sqrt(0.5)  # cos(pi / 4)
SIZE = {"steps_per_epoch": 2, "epochs": 4}


def close(values):
    return pytest.approx(values, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "values, wanted",
    [
        (constant_lr(0.5, 2, lr=4.0, **SIZE), [2, 2, 2, 2, 4, 4, 4, 4]),
        (linear_lr(0.0, 1.0, 2, lr=4.0, **SIZE), [0, 0, 2, 2, 4, 4, 4, 4]),
        (linear_refined_lr(0.0, 1.0, 2, lr=4.0, **SIZE), [0, 1, 2, 3, 4, 4, 4, 4]),
        (linear_refined_lr(1.0, 0.5, 2, lr=4.0, **SIZE), [4, 3.5, 3, 2.5, 2, 2, 2, 2]),
        (polynomial_lr(2, 2.0, lr=4.0, **SIZE), [4, 4, 1, 1, 0, 0, 0, 0]),
        (polynomial_refined_lr(2, 2.0, lr=16.0, **SIZE), [16, 9, 4, 1, 0, 0, 0, 0]),
        (exponential_lr(0.25, lr=4.0, **SIZE), [4, 4, 1, 1, 0.25, 0.25, 0.0625, 0.0625]),
        (exponential_refined_lr(0.25, lr=4.0, **SIZE), [4, 2, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        (step_lr(2, 0.1, lr=4.0, **SIZE), [4, 4, 4, 4, 0.4, 0.4, 0.4, 0.4]),
        (multi_step_lr([3, 1], 0.1, lr=4.0, **SIZE), [4, 4, 0.4, 0.4, 0.4, 0.4, 0.04, 0.04]),
        (cosine_decay_lr(2, 1.0, eta_max=5.0, **SIZE), [5, 5, 3, 3, 1, 1, 1, 1]),
        (cosine_decay_refined_lr(2, 1.0, eta_max=5.0, **SIZE), [5, 3 + 2 * HALF, 3, 3 - 2 * HALF, 1, 1, 1, 1]),
        (
            cosine_decay_refined_lr(1, 1.0, eta_max=5.0, num_cycles=3, cycle_decay=0.5, **SIZE),
            [5, 3, 2.5, 1.75, 1.25, 1.125, 1, 1],
        ),
        (cosine_annealing_lr(2, 1.0, eta_max=5.0, **SIZE), [5, 5, 3, 3, 1, 1, 3, 3]),
        (
            cosine_annealing_warm_restarts_lr(1, 2, 1.0, eta_max=5.0, **SIZE),
            [5, 3, 5, 3 + 2 * HALF, 3, 3 - 2 * HALF, 5, 3 + 2 * math.cos(math.pi / 8)],
        ),
        (cyclic_lr(1.0, 5.0, 2, 4, **SIZE), [1, 3, 5, 4, 3, 2, 1, 3]),
        (cyclic_lr(1.0, 5.0, 2, None, "triangular2", **SIZE), [1, 3, 5, 3, 1, 2, 3, 2]),
        (cyclic_lr(1.0, 5.0, 2, 2, "exp_range", 0.5, **SIZE), [1, 2, 2, 1.25, 1, 1.0625, 1.0625, 1.015625]),
        (cyclic_lr(1.0, 5.0, 2, 2, scale_fn=lambda cycle: 1 / cycle, **SIZE), [1, 3, 5, 3, 1, 2, 3, 2]),
        # pct_start 0.5 of 8 steps: the top is at step 3
        (
            one_cycle_lr(9.0, 0.5, "linear", 3.0, 3.0, steps_per_epoch=2, epochs=4),
            [3, 5, 7, 9, 7, 5, 3, 1],
        ),
        (
            one_cycle_lr(9.0, 0.375, "linear", 3.0, 3.0, True, steps_per_epoch=2, epochs=4),
            [3, 6, 9, 6, 3, 3 - 2 / 3, 3 - 4 / 3, 1],
        ),
        (one_cycle_lr(9.0, 0.375, "cos", 3.0, 3.0, steps_per_epoch=2, epochs=4)[:3], [3, 6, 9]),
    ],
)
def test_values(values, wanted):
    assert values == close(wanted)


@pytest.mark.parametrize(
    "coarse, refined",
    [
        (linear_lr(0.1, 1.0, 3, lr=1.0, steps_per_epoch=7, epochs=5), linear_refined_lr),
        (polynomial_lr(3, 0.9, lr=1.0, steps_per_epoch=7, epochs=5), polynomial_refined_lr),
        (exponential_lr(0.9, lr=1.0, steps_per_epoch=7, epochs=5), exponential_refined_lr),
    ],
)
def test_coarse_curves_hold_what_refined_ones_begin_an_epoch_with(coarse, refined):
    arguments = {linear_refined_lr: (0.1, 1.0, 3), polynomial_refined_lr: (3, 0.9), exponential_refined_lr: (0.9,)}
    fine = refined(*arguments[refined], lr=1.0, steps_per_epoch=7, epochs=5)
    assert coarse == [fine[step - step % 7] for step in range(35)]


def test_no_step_is_lost_at_awkward_sizes():
    assert len(one_cycle_lr(1.0, steps_per_epoch=1, epochs=1)) == 1
    assert len(cyclic_lr(0.1, 1.0, 1.5, steps_per_epoch=3, epochs=5)) == 15
    assert cosine_decay_lr(5, 0.0, eta_max=1.0, steps_per_epoch=3, epochs=0) == []


def test_needs_no_mindspore():
    imports = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(dynamic_lr)))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    modules = {alias.name for node in imports for alias in node.names} | {
        getattr(node, "module", "") for node in imports
    }
    assert not any("mindspore" in module for module in modules)
