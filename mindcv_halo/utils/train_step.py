"""MindCV's TrainStep: a step of training of a cell that gives the loss itself."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn

from ..errors import UserError
from ..training import step
from ..training.ema import EMA
from ..training.grad_scaler import GROWTH_STEPS, GradScaler
from .reduce_manager import count_ranks


class TrainStep(step.TrainStep):
    """Forward, backward, update: (data, label) -> the loss, a scalar; with MindCV's arguments.

    Args:
        network: loss = network(data, label), such as nn.WithLossCell.
        optimizer: holds its trainable parameters. If it was created with a loss scale, it must be that of
            `scale_sense`, and it divides the gradients.
        scale_sense: what the loss is multiplied by: a number, or MindSpore's FixedLossScaleUpdateCell, which leaves out
            updates that are not finite, or DynamicLossScaleUpdateCell, which changes the scale as well.
        ema: keep a running average of the weights, `ema.*`, which rises to a decay of `ema_decay`.
        clip_grad: bound the norm of all gradients by `clip_value`.
        gradient_accumulation_steps: batches whose mean gradient makes one update.

    Under MindSpore's data-parallel context loss, gradients and running statistics are the means of all ranks.
    Raises UserError for values out of range.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        scale_sense: float | Tensor | nn.Cell = 1.0,
        ema: bool = False,
        ema_decay: float = 0.9999,
        clip_grad: bool = False,
        clip_value: float = 15.0,
        gradient_accumulation_steps: int = 1,
    ):
        step.check_step_settings(
            gradient_accumulation_steps=gradient_accumulation_steps,
            clip_grad=clip_grad,
            clip_value=clip_value,
            ema_decay=ema_decay,
        )
        super().__init__(
            network,
            nn.Identity(),  # the network has the loss in it
            optimizer,
            accumulation_steps=gradient_accumulation_steps,
            clip_mode="norm" if clip_grad else None,
            clip_value=clip_value,
            grad_scaler=_make_grad_scaler(scale_sense, optimizer.loss_scale, clip_grad),
            ema=EMA(network, ema_decay) if ema else None,
            num_ranks=count_ranks(),
        )

    def forward(self, data: Tensor, label: Tensor) -> Tensor:
        loss = self.network(data, label)
        return loss if self.grad_scaler is None else self.grad_scaler.scale(loss)


class _ScaleOfOptimizer(GradScaler):
    """Where the optimizer divides the gradients."""

    def unscale(self, gradients: tuple[Tensor, ...], multiply: nn.Cell) -> tuple[Tensor, ...]:
        return gradients


def _make_grad_scaler(scale_sense: float | Tensor | nn.Cell, of_optimizer: float, clip_grad: bool) -> GradScaler | None:
    is_cell = isinstance(scale_sense, nn.Cell)
    scale = float(scale_sense.get_loss_scale() if is_cell else Tensor(scale_sense, mindspore.float32).asnumpy())
    if not scale > 0:
        raise UserError(f"loss_scale (scale_sense) {scale:g} must be above 0")
    if of_optimizer != 1 and (is_cell or clip_grad):
        raise UserError(
            f"the optimizer has a loss_scale of {of_optimizer:g} of its own, which does not go with clip_grad, nor "
            "with a scale that leaves out updates; create it with loss_scale 1"
        )
    if of_optimizer not in (1.0, scale):
        raise UserError(
            f"loss_scale (scale_sense) {scale:g} is not the loss_scale {of_optimizer:g} of the optimizer; create the "
            "optimizer with the same, or with 1"
        )
    if of_optimizer != 1:
        return _ScaleOfOptimizer(scale)
    if isinstance(scale_sense, nn.DynamicLossScaleUpdateCell):
        return GradScaler(scale, dynamic=True, growth_steps=int(getattr(scale_sense, "scale_window", GROWTH_STEPS)))
    return GradScaler(scale, skips=is_cell) if is_cell or scale != 1 else None
