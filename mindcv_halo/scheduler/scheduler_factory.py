"""From a schedule's name and its settings to one learning rate per step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise

from ..errors import UserError, unknown_name
from ..idle_settings import warn_of_idle
from .dynamic_lr import (
    cosine_decay_refined_lr,
    cyclic_lr,
    exponential_refined_lr,
    linear_refined_lr,
    multi_step_lr,
    one_cycle_lr,
    polynomial_refined_lr,
    step_lr,
)

_MILESTONES = "multi_step_decay_milestones (milestones)"  # the recipe's key, and the argument here
ONE_CYCLE_START = 1 / 25  # first rate / lr, as torch's OneCycleLR


@dataclass(frozen=True)
class _Plan:
    """What happens after the warm-up. `epochs` may be 0; `decay_epochs` is None when the decay fills them."""

    _: KW_ONLY
    lr: float
    min_lr: float
    steps_per_epoch: int
    epochs: int
    decay_epochs: int | None
    decay_rate: float
    milestones: tuple[int, ...]
    num_cycles: int
    cycle_decay: float

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def length(self) -> int:
        """Epochs that the whole decay takes; more than `epochs` when the end is to be cut off."""
        return self.decay_epochs or max(self.epochs, 1)


def create_scheduler(
    steps_per_epoch: int,
    scheduler: str = "constant",
    lr: float = 0.01,
    min_lr: float = 1e-6,
    warmup_epochs: int = 3,
    warmup_factor: float = 0.0,
    decay_epochs: int | None = None,
    decay_rate: float = 0.9,
    milestones: Sequence[int] | None = None,
    num_epochs: int = 200,
    num_cycles: int = 1,
    cycle_decay: float = 1.0,
    lr_epoch_stair: bool = False,
) -> list[float]:
    """The learning rate of every step of a run: exactly steps_per_epoch * num_epochs values.

    First `warmup_epochs` of a straight line from warmup_factor * r to r, the rate with which the schedule begins
    (r is `lr`; for one_cycle lr / 25, at least min_lr; for cyclic min_lr). Then one of

    - constant: lr
    - cosine_decay, also called warmup_cosine_decay: `num_cycles` half cosines of `decay_epochs` each down to min_lr;
      the peak of each is `cycle_decay` times the one before
    - exponential_decay: times `decay_rate` every epoch, for `decay_epochs`
    - polynomial_decay: lr * (1 - t / decay_epochs) ** decay_rate
    - step_decay: times `decay_rate` after every `decay_epochs`, which must be given
    - multi_step_decay: times `decay_rate` at each of `milestones`, in epochs after the warm-up as in MindCV
    - one_cycle: up to lr during 0.3 of `decay_epochs`, then down to min_lr
    - cyclic: `num_cycles` triangles between min_lr and lr within `decay_epochs`, their heights falling by `cycle_decay`

    No rate after the warm-up is below `min_lr` (constant is lr, always). decay_epochs=None means all epochs after the
    warm-up (cosine_decay: shared by the cycles). A decay that ends early stays at its final value. A run that is
    shorter than its warm-up and decay follows their first part, which is warned of, like a milestone that is never
    reached. With `lr_epoch_stair` each epoch keeps the rate of its first step.

    In a recipe `num_epochs` is called epoch_size, and `milestones` multi_step_decay_milestones.

    A setting that the schedule does not have is warned of, unless it is the default.

    Raises UserError for an unknown name, or a value out of its range.
    """
    if scheduler not in _BUILDERS:
        raise unknown_name("scheduler", scheduler, _BUILDERS)
    given = {
        "min_lr": min_lr, "decay_epochs": decay_epochs, "decay_rate": decay_rate, _MILESTONES: milestones,
        "num_cycles": num_cycles, "cycle_decay": cycle_decay,
    }  # fmt: skip
    idle = {name: f"{scheduler} has none" for name in given if name not in _USES[scheduler]}
    if "cycle_decay" not in idle and num_cycles == 1:
        idle["cycle_decay"] = "there is one cycle"
    settings = {name: (value, _DEFAULTS[name], idle.get(name, "")) for name, value in given.items()}
    settings["warmup_factor"] = (warmup_factor, 0.0, "" if warmup_epochs else "warmup_epochs is 0")
    warn_of_idle("scheduler", settings)
    _check_count("steps_per_epoch", steps_per_epoch, 1)
    _check_count("epoch_size (num_epochs)", num_epochs, 1)
    _check_count("num_cycles", num_cycles, 1)
    _check_count("warmup_epochs", warmup_epochs, 0)
    if decay_epochs is not None:
        _check_count("decay_epochs", decay_epochs, 1)
    _check_rates(lr, min_lr, warmup_factor, decay_rate, cycle_decay)
    if warmup_epochs and lr_epoch_stair and warmup_factor == 0:
        warnings.warn("warmup_factor 0 with lr_epoch_stair trains the whole first epoch at rate 0", stacklevel=2)

    plan = _Plan(
        lr=lr,
        min_lr=min_lr,
        steps_per_epoch=steps_per_epoch,
        epochs=max(num_epochs - warmup_epochs, 0),
        decay_epochs=decay_epochs,
        decay_rate=decay_rate,
        milestones=tuple(milestones or ()),
        num_cycles=num_cycles,
        cycle_decay=cycle_decay,
    )
    start, rates = _BUILDERS[scheduler](plan)
    warmup = linear_refined_lr(
        warmup_factor, 1.0, warmup_epochs, lr=start, steps_per_epoch=steps_per_epoch, epochs=warmup_epochs
    )
    rates = (warmup + rates)[: steps_per_epoch * num_epochs]
    assert len(rates) == steps_per_epoch * num_epochs, (scheduler, plan)
    decay = _decay_length(scheduler, plan)
    if warmup_epochs + decay > num_epochs:
        parts = f"{warmup_epochs} epochs of warm-up" + (f" and {decay} of decay" if decay else "")
        warnings.warn(
            f"epoch_size (num_epochs) {num_epochs} is less than the schedule's {parts}: the run follows its first part",
            stacklevel=2,
        )
    if lr_epoch_stair:
        rates = [rates[step - step % steps_per_epoch] for step in range(len(rates))]
    return rates


def _constant(plan: _Plan) -> tuple[float, list[float]]:
    return plan.lr, [plan.lr] * plan.steps


def _cosine(plan: _Plan) -> tuple[float, list[float]]:
    cycle_epochs = plan.decay_epochs or max(plan.epochs, 1) / plan.num_cycles
    rates = cosine_decay_refined_lr(
        cycle_epochs,
        plan.min_lr,
        eta_max=plan.lr,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.epochs,
        num_cycles=plan.num_cycles,
        cycle_decay=plan.cycle_decay,
    )
    return plan.lr, _bounded(plan, rates)


def _exponential(plan: _Plan) -> tuple[float, list[float]]:
    rates = exponential_refined_lr(
        plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=min(plan.length, plan.epochs)
    )
    return plan.lr, _bounded(plan, _held(plan, rates, plan.lr * plan.decay_rate**plan.length))


def _polynomial(plan: _Plan) -> tuple[float, list[float]]:
    rates = polynomial_refined_lr(
        plan.length, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return plan.lr, _bounded(plan, rates)


def _step(plan: _Plan) -> tuple[float, list[float]]:
    if plan.decay_epochs is None:
        raise UserError("step_decay needs decay_epochs, the number of epochs from one step to the next")
    rates = step_lr(
        plan.decay_epochs, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return plan.lr, _bounded(plan, rates)


def _multi_step(plan: _Plan) -> tuple[float, list[float]]:
    _check_milestones(plan)
    rates = multi_step_lr(
        plan.milestones, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return plan.lr, _bounded(plan, rates)


def _one_cycle(plan: _Plan) -> tuple[float, list[float]]:
    start = max(plan.lr * ONE_CYCLE_START, plan.min_lr)
    rates = one_cycle_lr(
        plan.lr,
        div_factor=plan.lr / start,
        final_div_factor=start / plan.min_lr if plan.min_lr else math.inf,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.length,
    )
    return start, _bounded(plan, _held(plan, rates, plan.min_lr))


def _cyclic(plan: _Plan) -> tuple[float, list[float]]:
    half = plan.length * plan.steps_per_epoch / plan.num_cycles / 2
    if half < 1:
        most = plan.length * plan.steps_per_epoch // 2
        raise UserError(
            f"num_cycles {plan.num_cycles} leaves less than two steps for a cycle of cyclic; "
            f"use {f'at most {most}' if most else 'more epochs'}"
        )
    rates = cyclic_lr(
        plan.min_lr,
        plan.lr,
        half,
        scale_fn=lambda cycle: plan.cycle_decay ** (cycle - 1),
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.length,
    )
    return plan.min_lr, _bounded(plan, _held(plan, rates, plan.min_lr))


# A builder returns the rate at which the warm-up ends, and plan.steps rates.
_BUILDERS: dict[str, Callable[[_Plan], tuple[float, list[float]]]] = {
    "constant": _constant,
    "cosine_decay": _cosine,
    "warmup_cosine_decay": _cosine,
    "exponential_decay": _exponential,
    "polynomial_decay": _polynomial,
    "step_decay": _step,
    "multi_step_decay": _multi_step,
    "one_cycle": _one_cycle,
    "cyclic": _cyclic,
}


_CYCLES = {"min_lr", "decay_epochs", "num_cycles", "cycle_decay"}
# Which of the settings that differ from schedule to schedule each of them has.
_USES: dict[str, set[str]] = {
    "constant": set(),
    "cosine_decay": _CYCLES,
    "warmup_cosine_decay": _CYCLES,
    "exponential_decay": {"min_lr", "decay_epochs", "decay_rate"},
    "polynomial_decay": {"min_lr", "decay_epochs", "decay_rate"},
    "step_decay": {"min_lr", "decay_epochs", "decay_rate"},
    "multi_step_decay": {"min_lr", "decay_rate", _MILESTONES},
    "one_cycle": {"min_lr", "decay_epochs"},
    "cyclic": _CYCLES,
}
_DEFAULTS = {
    **{"min_lr": 1e-6, "decay_epochs": None, "decay_rate": 0.9, _MILESTONES: None},
    **{"num_cycles": 1, "cycle_decay": 1.0},
}


def _decay_length(scheduler: str, plan: _Plan) -> int:
    """The epochs of decay that were asked for; 0 where the decay takes what the warm-up leaves, or has no end."""
    if plan.decay_epochs is None or _BUILDERS[scheduler] in (_constant, _step, _multi_step):
        return 0
    return plan.decay_epochs * (plan.num_cycles if _BUILDERS[scheduler] is _cosine else 1)


def _held(plan: _Plan, rates: list[float], final: float) -> list[float]:
    """`rates` cut or, with `final`, filled to the steps there are."""
    return rates[: plan.steps] + [final] * (plan.steps - len(rates))


def _bounded(plan: _Plan, rates: list[float]) -> list[float]:
    return [max(rate, plan.min_lr) for rate in rates]


def _check_milestones(plan: _Plan) -> None:
    if not plan.milestones:
        raise UserError(f"multi_step_decay needs {_MILESTONES}, the epochs after the warm-up at which the rate falls")
    for milestone in plan.milestones:
        _check_count(f"each of {_MILESTONES}", milestone, 1)
    if any(first >= second for first, second in pairwise(plan.milestones)):
        raise UserError(
            f"multi_step_decay_milestones (milestones) {list(plan.milestones)} must rise from one to the next"
        )
    if plan.milestones[-1] >= plan.epochs:
        warnings.warn(
            f"milestone {plan.milestones[-1]} of {_MILESTONES} is never reached: {plan.epochs} epochs are left after "
            "the warm-up",
            stacklevel=4,
        )


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _check_rates(lr: float, min_lr: float, warmup_factor: float, decay_rate: float, cycle_decay: float) -> None:
    """Written as `not (a <= b)` so that a NaN fails too."""
    if not 0 < lr < math.inf:
        raise UserError(f"lr must be a number above 0, not {lr!r}")
    if not 0 <= min_lr <= lr:
        raise UserError(f"min_lr must lie between 0 and lr ({lr:g}), not {min_lr!r}; lower min_lr or raise lr")
    if not 0 <= warmup_factor <= 1:
        raise UserError(f"warmup_factor must lie between 0 and 1, not {warmup_factor!r}")
    if not 0 < decay_rate < math.inf:
        raise UserError(f"decay_rate must be a number above 0, not {decay_rate!r}")
    if not 0 < cycle_decay <= 1:
        raise UserError(f"cycle_decay must lie above 0 and at most at 1, not {cycle_decay!r}")
