"""A power of the time that is left."""

from __future__ import annotations

from .dynamic_lr import polynomial_refined_lr
from .registry import Curve, Plan, register_schedule


@register_schedule("polynomial_decay", uses=("min_lr", "decay_epochs", "decay_rate"))
def polynomial_decay(plan: Plan) -> Curve:
    """lr * (1 - t / decay_epochs) ** decay_rate"""
    rates = polynomial_refined_lr(
        plan.length, plan.decay_rate, lr=plan.lr, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
    )
    return Curve(plan.lr, plan.bound(rates), plan.decay_epochs or 0)
