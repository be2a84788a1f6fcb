"""Steps of equal length."""

from __future__ import annotations

from ..errors import UserError
from .dynamic_lr import step_lr
from .registry import Curve, Plan, register_schedule


@register_schedule("step_decay", uses=("min_lr", "decay_epochs", "decay_rate"))
def step_decay(plan: Plan) -> Curve:
    """times `decay_rate` after every `decay_epochs`, which must be given"""
    if plan.decay_epochs is None:
        raise UserError("step_decay needs decay_epochs, the number of epochs from one step to the next")
    rates = step_lr(
        plan.decay_epochs, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return Curve(plan.lr, plan.bound(rates))
