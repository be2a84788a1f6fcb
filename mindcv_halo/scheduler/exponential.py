"""A constant factor every epoch."""

from __future__ import annotations

from .dynamic_lr import exponential_refined_lr
from .registry import Curve, Plan, register_schedule


@register_schedule("exponential_decay", uses=("min_lr", "decay_epochs", "decay_rate"))
def exponential_decay(plan: Plan) -> Curve:
    """times `decay_rate` every epoch, for `decay_epochs`"""
    rates = exponential_refined_lr(
        plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=min(plan.length, plan.epochs)
    )
    rates = plan.hold(rates, plan.lr * plan.decay_rate**plan.length)
    return Curve(plan.lr, plan.bound(rates), plan.decay_epochs or 0)
