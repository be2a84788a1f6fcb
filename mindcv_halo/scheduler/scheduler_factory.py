"""From a schedule's name and its settings to one learning rate per step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from ..errors import UserError, unknown_name
from ..idle_settings import find_defaults, warn_of_idle
from ..registration import import_modules
from .dynamic_lr import linear_refined_lr
from .registry import MILESTONES, SCHEDULES, Plan, check_count

import_modules(__package__)

_KEYS = {"milestones": MILESTONES}  # where the recipe's key is another word than the argument


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
    (mostly `lr`). Then the schedule, one of those in this package; docs/configuration.md lists them.

    No rate after the warm-up is below `min_lr` (constant is lr, always). decay_epochs=None means all epochs after the
    warm-up. A decay that ends early stays at its final value. A run that is shorter than its warm-up and decay follows
    their first part, which is warned of, like a milestone that is never reached. With `lr_epoch_stair` each epoch keeps
    the rate of its first step.

    In a recipe `num_epochs` is called epoch_size, and `milestones` multi_step_decay_milestones.

    A setting that the schedule does not have is warned of, unless it is the default.

    Raises UserError for an unknown name, or a value out of its range.
    """
    if scheduler not in SCHEDULES:
        raise unknown_name("scheduler", scheduler, SCHEDULES)
    schedule = SCHEDULES[scheduler]
    given = {
        "min_lr": min_lr,
        "decay_epochs": decay_epochs,
        "decay_rate": decay_rate,
        "milestones": milestones,
        "num_cycles": num_cycles,
        "cycle_decay": cycle_decay,
    }
    idle = {name: f"{scheduler} has none" for name in given if name not in schedule.uses}
    if "cycle_decay" not in idle and num_cycles == 1:
        idle["cycle_decay"] = "there is one cycle"
    idle["warmup_factor"] = "" if warmup_epochs else "warmup_epochs is 0"
    defaults = find_defaults(create_scheduler)
    settings = {
        _KEYS.get(name, name): (value, defaults[name], idle.get(name, ""))
        for name, value in (*given.items(), ("warmup_factor", warmup_factor))
    }
    warn_of_idle("scheduler", settings)
    check_count("steps_per_epoch", steps_per_epoch, 1)
    check_count("epoch_size (num_epochs)", num_epochs, 1)
    check_count("num_cycles", num_cycles, 1)
    check_count("warmup_epochs", warmup_epochs, 0)
    if decay_epochs is not None:
        check_count("decay_epochs", decay_epochs, 1)
    _check_rates(lr, min_lr, warmup_factor, decay_rate, cycle_decay)
    if warmup_epochs and lr_epoch_stair and warmup_factor == 0:
        warnings.warn("warmup_factor 0 with lr_epoch_stair trains the whole first epoch at rate 0", stacklevel=2)

    plan = Plan(
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
    curve = schedule.build(plan)
    warmup = linear_refined_lr(
        warmup_factor, 1.0, warmup_epochs, lr=curve.start, steps_per_epoch=steps_per_epoch, epochs=warmup_epochs
    )
    rates = (warmup + curve.rates)[: steps_per_epoch * num_epochs]
    assert len(rates) == steps_per_epoch * num_epochs, (scheduler, plan)
    decay = curve.decay_epochs
    if warmup_epochs + decay > num_epochs:
        parts = f"{warmup_epochs} epochs of warm-up" + (f" and {decay} of decay" if decay else "")
        warnings.warn(
            f"epoch_size (num_epochs) {num_epochs} is less than the schedule's {parts}: the run follows its first part",
            stacklevel=2,
        )
    if lr_epoch_stair:
        rates = [rates[step - step % steps_per_epoch] for step in range(len(rates))]
    return rates


def _check_rates(lr: float, min_lr: float, warmup_factor: float, decay_rate: float, cycle_decay: float) -> None:
    """Written as `not (a <= b)` so that a NaN fails too."""
    if not 0 < lr < math.inf:
        raise UserError(f"lr {lr!r} must be a number above 0")
    if not 0 <= min_lr <= lr:
        raise UserError(f"min_lr {min_lr!r} must lie between 0 and lr ({lr:g}); lower min_lr or raise lr")
    if not 0 <= warmup_factor <= 1:
        raise UserError(f"warmup_factor {warmup_factor!r} must lie between 0 and 1")
    if not 0 < decay_rate < math.inf:
        raise UserError(f"decay_rate {decay_rate!r} must be a number above 0")
    if not 0 < cycle_decay <= 1:
        raise UserError(f"cycle_decay {cycle_decay!r} must lie above 0 and at most at 1")
