"""Steps at epochs of one's choice."""

from __future__ import annotations

import warnings
from itertools import pairwise

from ..errors import UserError
from .dynamic_lr import multi_step_lr
from .registry import MILESTONES, Curve, Plan, check_count, register_schedule


@register_schedule("multi_step_decay", uses=("min_lr", "decay_rate", "milestones"))
def multi_step_decay(plan: Plan) -> Curve:
    """times `decay_rate` at each of `milestones`, in epochs after the warm-up as in MindCV"""
    _check_milestones(plan)
    rates = multi_step_lr(
        plan.milestones, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return Curve(plan.lr, plan.bound(rates))


def _check_milestones(plan: Plan) -> None:
    if not plan.milestones:
        raise UserError(f"multi_step_decay needs {MILESTONES}, the epochs after the warm-up at which the rate falls")
    for milestone in plan.milestones:
        check_count(f"each of {MILESTONES}", milestone, 1)
    if any(first >= second for first, second in pairwise(plan.milestones)):
        raise UserError(f"{MILESTONES} {list(plan.milestones)} must rise from one to the next")
    if plan.milestones[-1] >= plan.epochs:
        warnings.warn(
            f"milestone {plan.milestones[-1]} of {MILESTONES} is never reached: {plan.epochs} epochs are left after "
            "the warm-up",
            stacklevel=4,
        )
