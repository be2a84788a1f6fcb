"""Up, and down further than it began."""

from __future__ import annotations

import math

from .dynamic_lr import one_cycle_lr
from .registry import Curve, Plan, register_schedule

START = 1 / 25  # first rate / lr, as torch's OneCycleLR


@register_schedule("one_cycle", uses=("min_lr", "decay_epochs"))
def one_cycle(plan: Plan) -> Curve:
    """from lr / 25, at least min_lr, up to lr during 0.3 of `decay_epochs`, then down to min_lr"""
    start = max(plan.lr * START, plan.min_lr)
    rates = one_cycle_lr(
        plan.lr,
        div_factor=plan.lr / start,
        final_div_factor=start / plan.min_lr if plan.min_lr else math.inf,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.length,
    )
    return Curve(start, plan.bound(plan.hold(rates, plan.min_lr)), plan.decay_epochs or 0)
