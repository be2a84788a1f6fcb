"""Half cosines."""

from __future__ import annotations

from .dynamic_lr import cosine_decay_refined_lr
from .registry import Curve, Plan, register_schedule


@register_schedule("cosine_decay", "warmup_cosine_decay", uses=("min_lr", "decay_epochs", "num_cycles", "cycle_decay"))
def cosine_decay(plan: Plan) -> Curve:
    """`num_cycles` half cosines of `decay_epochs` each down to min_lr; each peak is `cycle_decay` times the one before.

    decay_epochs None: the cycles share all epochs after the warm-up.
    """
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
    return Curve(plan.lr, plan.bound(rates), (plan.decay_epochs or 0) * plan.num_cycles)
