"""What the optimizers of this package share: the values that differ from one parameter to the next."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ..errors import UserError

CLIP_NORM = 5.0  # MindCV's, for clip=True


def check_betas(cls: str, **betas: float) -> None:
    """Raise UserError unless every decay rate of a moving average lies strictly between 0 and 1."""
    for name, beta in betas.items():
        if not 0 < beta < 1:
            raise UserError(f"{cls}: {name} {beta!r} must lie between 0 and 1")


def check_eps(cls: str, eps: float) -> None:
    """Raise UserError unless the term that keeps a division finite is above zero."""
    if not eps > 0:
        raise UserError(f"{cls}: eps {eps!r} must be above 0")


def bias_correction(log_beta: float, step):
    """1 - beta ** step to float32 precision; `step` is a float32 tensor.

    The CPU's expm1 is exp - 1, which loses 7e-6 of the result next to 0: a series there. (The CPU's exp is off by
    4e-6 itself.)
    """
    x = step * -log_beta
    return ops.where(x < 0.1, x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4))), -ops.expm1(-x))


def next_step(optimizer: nn.Optimizer):
    """Count this step, and return its number, from 1, as a float32 scalar. After `rates`, which reads the old count."""
    optimizer.assignadd(optimizer.global_step, optimizer.global_step_increase_tensor)
    return optimizer.global_step.astype(ms.float32).reshape(())


def rates(optimizer: nn.Optimizer):
    """The learning rate of every parameter at this step."""
    rate = optimizer.get_lr()
    return rate if optimizer.is_group_lr else (rate,) * optimizer.param_length


def decays(optimizer: nn.Optimizer, weight_decay: float) -> tuple[float, ...]:
    """The weight decay of every parameter, for decoupled decay; once, in the constructor.

    nn.Optimizer stores those of groups times the loss scale, for adding them to gradients that are still scaled; this
    undoes it. Without groups it decays no parameter with "beta" or "gamma" in its name.
    """
    if optimizer.is_group:
        return tuple(decay / optimizer.loss_scale for decay in optimizer.group_weight_decay)
    return tuple(float(weight_decay) if flag else 0.0 for flag in optimizer.decay_flags)
