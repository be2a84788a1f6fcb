"""Triangles."""

from __future__ import annotations

from ..errors import UserError
from .dynamic_lr import cyclic_lr
from .registry import Curve, Plan, register_schedule


@register_schedule("cyclic", uses=("min_lr", "decay_epochs", "num_cycles", "cycle_decay"))
def cyclic(plan: Plan) -> Curve:
    """`num_cycles` triangles from min_lr to lr within `decay_epochs`, their heights falling by `cycle_decay`"""
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
    return Curve(plan.min_lr, plan.bound(plan.hold(rates, plan.min_lr)), plan.decay_epochs or 0)
