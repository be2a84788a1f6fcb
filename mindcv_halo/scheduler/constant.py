"""No decay."""

from __future__ import annotations

from .registry import Curve, Plan, register_schedule


@register_schedule("constant")
def constant(plan: Plan) -> Curve:
    """lr"""
    return Curve(plan.lr, [plan.lr] * plan.steps)
