"""Learning-rate curves as plain lists: the value at index i is for step i (counted from 0).

Every function returns steps_per_epoch * epochs values. A `..._refined_lr` curve moves at every step; its twin without
`refined` holds, through each epoch, the value that the refined curve has where the epoch begins. Time t is in epochs
unless a name says steps. Names and meanings follow mindcv.scheduler.dynamic_lr, which follows torch.optim.lr_scheduler;
`lr` is torch's base rate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise


def constant_lr(factor: float, total_iters: int, *, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """lr * factor for the first `total_iters` epochs, then lr."""
    return [lr * factor if epoch < total_iters else lr for epoch in _whole_epochs(steps_per_epoch, epochs)]


def linear_lr(
    start_factor: float, end_factor: float, total_iters: int, *, lr: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """A straight line from lr * start_factor to lr * end_factor over `total_iters` epochs, then flat; by epoch."""
    return [
        _line(lr * start_factor, lr * end_factor, min(epoch / total_iters, 1))
        for epoch in _whole_epochs(steps_per_epoch, epochs)
    ]


def linear_refined_lr(
    start_factor: float, end_factor: float, total_iters: int, *, lr: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """A straight line from lr * start_factor to lr * end_factor over `total_iters` epochs, then flat; by step."""
    return [
        _line(lr * start_factor, lr * end_factor, min(epoch / total_iters, 1))
        for epoch in _epochs(steps_per_epoch, epochs)
    ]


def polynomial_lr(total_iters: int, power: float, *, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """lr * (1 - t / total_iters) ** power, zero from epoch `total_iters` on; by epoch."""
    return [
        lr * (1 - min(epoch, total_iters) / total_iters) ** power for epoch in _whole_epochs(steps_per_epoch, epochs)
    ]


def polynomial_refined_lr(
    total_iters: int, power: float, *, lr: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """lr * (1 - t / total_iters) ** power, zero from epoch `total_iters` on; by step."""
    return [lr * (1 - min(epoch, total_iters) / total_iters) ** power for epoch in _epochs(steps_per_epoch, epochs)]


def exponential_lr(gamma: float, *, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """lr * gamma ** t; by epoch."""
    return [lr * gamma**epoch for epoch in _whole_epochs(steps_per_epoch, epochs)]


def exponential_refined_lr(gamma: float, *, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """lr * gamma ** t; by step."""
    return [lr * gamma**epoch for epoch in _epochs(steps_per_epoch, epochs)]


def step_lr(step_size: int, gamma: float, *, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """lr, multiplied by gamma after every `step_size` epochs."""
    return [lr * gamma ** (epoch // step_size) for epoch in _whole_epochs(steps_per_epoch, epochs)]


def multi_step_lr(
    milestones: Sequence[int], gamma: float, *, lr: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """lr, multiplied by gamma where each epoch of `milestones` begins (in any order)."""
    ascending = sorted(milestones)
    return [lr * gamma ** bisect_right(ascending, epoch) for epoch in _whole_epochs(steps_per_epoch, epochs)]


def cosine_decay_lr(
    decay_epochs: float,
    eta_min: float,
    *,
    eta_max: float,
    steps_per_epoch: int,
    epochs: int,
    num_cycles: int = 1,
    cycle_decay: float = 1.0,
) -> list[float]:
    """`num_cycles` half cosines of `decay_epochs` epochs each, then eta_min; by epoch.

    Cycle c (from 0) falls from eta_max * cycle_decay ** c to eta_min.
    """
    return [
        _cosine_cycle(epoch, decay_epochs, eta_min, eta_max, num_cycles, cycle_decay)
        for epoch in _whole_epochs(steps_per_epoch, epochs)
    ]


def cosine_decay_refined_lr(
    decay_epochs: float,
    eta_min: float,
    *,
    eta_max: float,
    steps_per_epoch: int,
    epochs: int,
    num_cycles: int = 1,
    cycle_decay: float = 1.0,
) -> list[float]:
    """As cosine_decay_lr; by step."""
    return [
        _cosine_cycle(epoch, decay_epochs, eta_min, eta_max, num_cycles, cycle_decay)
        for epoch in _epochs(steps_per_epoch, epochs)
    ]


def cosine_annealing_lr(
    t_max: int, eta_min: float, *, eta_max: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """A whole cosine wave between eta_max and eta_min, `t_max` epochs down and `t_max` up again; by epoch."""
    return [_cosine(eta_max, eta_min, epoch / t_max) for epoch in _whole_epochs(steps_per_epoch, epochs)]


def cosine_annealing_warm_restarts_lr(
    te: int, tm: int, eta_min: float, *, eta_max: float, steps_per_epoch: int, epochs: int
) -> list[float]:
    """Half cosines from eta_max to eta_min: the first lasts `te` epochs, each next one `tm` times as long; by step.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983.
    """
    rates, start, length = [], 0, te
    for epoch in _epochs(steps_per_epoch, epochs):
        if epoch >= start + length:
            start, length = start + length, length * tm
        rates.append(_cosine(eta_max, eta_min, (epoch - start) / length))
    return rates


def one_cycle_lr(
    max_lr: float,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 10000.0,
    three_phase: bool = False,
    *,
    steps_per_epoch: int,
    epochs: int,
) -> list[float]:
    """Up from max_lr / div_factor to max_lr, then down to max_lr / div_factor / final_div_factor; by step.

    `pct_start` is the rising share of all steps. `anneal_strategy` is "cos" or "linear". With `three_phase` the fall
    first mirrors the rise and then goes on to the final value.
    Source: Smith and Topin 2017, arXiv:1708.07120; turning points as in torch's OneCycleLR.
    """
    curve = {"cos": _cosine, "linear": _line}[anneal_strategy]
    steps = steps_per_epoch * epochs
    first, last = max_lr / div_factor, max_lr / div_factor / final_div_factor
    top = pct_start * steps - 1
    turns = [(0.0, first), (top, max_lr)]
    if three_phase:
        turns.append((2 * top, first))
    turns.append((steps - 1, last))
    return [_between(turns, step, curve) for step in range(steps)]


def cyclic_lr(
    base_lr: float,
    max_lr: float,
    step_size_up: float = 2000,
    step_size_down: float | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[float], float] | None = None,
    scale_mode: str = "cycle",
    *,
    steps_per_epoch: int,
    epochs: int,
) -> list[float]:
    """Straight lines from base_lr up to max_lr and back, `step_size_up` and `step_size_down` steps long; by step.

    Mode "triangular" keeps the height, "triangular2" halves it every cycle, "exp_range" scales it by gamma ** step.
    A `scale_fn` replaces `mode`: it gets the cycle, counted from 1, or with scale_mode="iterations" the step.
    Source: Smith 2015, arXiv:1506.01186.
    """
    if scale_fn is None:
        scale_fn, scale_mode = {
            "triangular": (lambda cycle: 1.0, "cycle"),
            "triangular2": (lambda cycle: 0.5 ** (cycle - 1), "cycle"),
            "exp_range": (lambda step: gamma**step, "iterations"),
        }[mode]
    down = step_size_up if step_size_down is None else step_size_down
    length = step_size_up + down
    rates = []
    for step in range(steps_per_epoch * epochs):
        cycle, position = divmod(step, length)
        share = position / step_size_up if position <= step_size_up else (length - position) / down
        scale = scale_fn(cycle + 1 if scale_mode == "cycle" else step)
        rates.append(base_lr + (max_lr - base_lr) * share * scale)
    return rates


def _epochs(steps_per_epoch: int, epochs: int) -> Iterator[float]:
    """The time at which each step begins."""
    return (step / steps_per_epoch for step in range(steps_per_epoch * epochs))


def _whole_epochs(steps_per_epoch: int, epochs: int) -> Iterator[int]:
    """The epoch to which each step belongs."""
    return (step // steps_per_epoch for step in range(steps_per_epoch * epochs))


def _line(start: float, end: float, share: float) -> float:
    return start + share * (end - start)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _cosine_cycle(
    epoch: float, decay_epochs: float, eta_min: float, eta_max: float, num_cycles: int, cycle_decay: float
) -> float:
    cycle, position = divmod(epoch, decay_epochs)
    if cycle >= num_cycles:
        return eta_min
    return _cosine(eta_max * cycle_decay**cycle, eta_min, position / decay_epochs)


def _between(turns: list[tuple[float, float]], step: int, curve: Callable[[float, float, float], float]) -> float:
    """The value at `step` of the curve through `turns`, which are (step, value) in ascending order of steps."""
    for (start, value), (end, next_value) in pairwise(turns):
        if step <= end and end > start:
            return curve(value, next_value, (step - start) / (end - start))
    return turns[-1][1]
