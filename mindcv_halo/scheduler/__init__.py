"""Learning-rate schedules: one float per step."""

from __future__ import annotations

from .dynamic_lr import (
    constant_lr,
    cosine_annealing_lr,
    cosine_annealing_warm_restarts_lr,
    cosine_decay_lr,
    cosine_decay_refined_lr,
    cyclic_lr,
    exponential_lr,
    exponential_refined_lr,
    linear_lr,
    linear_refined_lr,
    multi_step_lr,
    one_cycle_lr,
    polynomial_lr,
    polynomial_refined_lr,
    step_lr,
)
from .scheduler_factory import create_scheduler

__all__ = [
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts_lr",
    "cosine_decay_lr",
    "cosine_decay_refined_lr",
    "create_scheduler",
    "cyclic_lr",
    "exponential_lr",
    "exponential_refined_lr",
    "linear_lr",
    "linear_refined_lr",
    "multi_step_lr",
    "one_cycle_lr",
    "polynomial_lr",
    "polynomial_refined_lr",
    "step_lr",
]
