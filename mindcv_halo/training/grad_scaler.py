"""Loss scaling: small gradients survive half precision, and updates that overflowed are left out."""

from __future__ import annotations

import mindspore
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

GROWTH_STEPS = 2000  # good updates in a row after which a dynamic scale doubles


class GradScaler(nn.Cell):
    """What the loss is multiplied by, and what its gradients are divided by.

    A dynamic scale halves when gradients are not finite and doubles after GROWTH_STEPS good updates, within
    1 and 2^24; it is part of the cell's parameters, so that a checkpoint of them carries it on. `skips` tells whether
    updates with gradients that are not finite are left out.
    """

    def __init__(self, scale: float, *, dynamic: bool = False, skips: bool = False, growth_steps: int = GROWTH_STEPS):
        super().__init__(auto_prefix=False)
        self.dynamic = dynamic
        self.skips = skips or dynamic
        self.growth_steps = growth_steps
        self.value = Parameter(Tensor(scale, mstype.float32), name="loss_scale.value", requires_grad=False)
        self.good_steps = Parameter(Tensor(0, mstype.int32), name="loss_scale.good_steps", requires_grad=False)

    def scale(self, loss: Tensor) -> Tensor:
        return loss * self.value.astype(loss.dtype)

    def unscale(self, gradients: tuple[Tensor, ...], multiply: nn.Cell) -> tuple[Tensor, ...]:
        """`multiply` is that of make_multiply for the gradients' parameters."""
        return multiply(gradients, 1 / self.value)

    def adjust(self, is_finite: Tensor) -> None:
        """Learn from an update. Only for a dynamic scale."""
        good_steps = ops.select(is_finite, self.good_steps + 1, ops.zeros_like(self.good_steps))
        grows = good_steps >= self.growth_steps
        value = ops.select(is_finite, self.value, ops.maximum(self.value / 2, ops.ones_like(self.value)))
        value = ops.select(grows, ops.minimum(value * 2, ops.full_like(value, 2.0**24)), value)
        ops.assign(self.value, value)
        ops.assign(self.good_steps, ops.select(grows, ops.zeros_like(good_steps), good_steps))


def all_finite(gradients: tuple[Tensor, ...]) -> Tensor:
    """A boolean scalar: whether no gradient holds infinity or NaN.

    On a chip that saturates: whether nothing has overflowed there since the last time that this was asked.
    """
    return mindspore.amp.all_finite(gradients)
