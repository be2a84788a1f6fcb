"""One step of training as one cell, in graph and in PyNative mode."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

from ..distributed.all_reduce import AllReduceMean
from ..errors import UserError
from .amp import to_float32
from .ascend import saturates
from .ema import EMA
from .grad_scaler import GradScaler, all_finite
from .multiply import make_multiply

STATISTICS = ("moving_mean", "moving_variance")  # what batch norm's running statistics are called


def check_step_settings(
    *, gradient_accumulation_steps: int, clip_grad: bool, clip_value: float, ema_decay: float
) -> None:
    """Raises UserError for what no step can do, by the names of a recipe."""
    if gradient_accumulation_steps < 1:
        raise UserError(f"gradient_accumulation_steps {gradient_accumulation_steps} must be at least 1")
    if clip_grad and not clip_value > 0:
        raise UserError(f"clip_value {clip_value} must be above 0")
    if not 0 <= ema_decay < 1:
        raise UserError(f"ema_decay {ema_decay} must be at least 0 and below 1")


class TrainStep(nn.Cell):
    """Forward, backward, update: (images, labels) -> the loss, a scalar.

    Args:
        network, loss: logits = network(images), one tensor or a tuple; loss(logits in float32, labels).
        optimizer: holds the network's trainable parameters.
        accumulation_steps: batches whose mean gradient makes one update, equal to one batch of their sum.
        clip_mode: "norm" bounds the norm of all gradients together by `clip_value`, "value" each element; None is off.
        grad_scaler: multiplies the loss and divides the gradients; may leave out updates that are not finite.
        ema: is updated after the weights.
        num_ranks: of processes that each have their part of the batch. Loss, gradients and running statistics are
            their means, so that all ranks stay equal in everything after every step.
        frozen: parts of the network that compute as in validation while the others train: their batch norms keep their
            statistics. Their parameters must have lost requires_grad before the optimizer was made.

    Everything that the next step depends on is a parameter of this cell.
    """

    def __init__(
        self,
        network: nn.Cell,
        loss: nn.Cell,
        optimizer: nn.Optimizer,
        *,
        accumulation_steps: int = 1,
        clip_mode: str | None = None,
        clip_value: float = 15.0,
        grad_scaler: GradScaler | None = None,
        ema: EMA | None = None,
        num_ranks: int = 1,
        frozen: Sequence[nn.Cell] = (),
    ):
        super().__init__(auto_prefix=False)  # parameters keep their names, so that checkpoints fit the bare network
        # Cells of the network, which MindSpore would otherwise name and count once more.
        object.__setattr__(self, "frozen", tuple(frozen))
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.grad_scaler = grad_scaler
        self.multiply = make_multiply(optimizer.parameters)
        self.ema = ema
        self.clip_mode = clip_mode
        self.clip_value = clip_value
        self.accumulation_steps = accumulation_steps
        self.saturates = grad_scaler is not None and grad_scaler.skips and saturates()
        self.all_reduce_mean = None
        if num_ranks > 1:
            kept = {id(parameter) for part in self.frozen for parameter in part.get_parameters()}
            self.statistics = ParameterTuple(
                parameter
                for parameter in network.get_parameters()
                if parameter.name.endswith(STATISTICS) and id(parameter) not in kept
            )
            shapes = [[parameter.shape for parameter in group] for group in (optimizer.parameters, self.statistics)]
            self.all_reduce_mean = AllReduceMean(*shapes, num_ranks)
            self.add_up = ops.AllReduce()
        if accumulation_steps > 1:
            self.accumulated = ParameterTuple(optimizer.parameters).clone(prefix="accumulated", init="zeros")
            self.num_accumulated = Parameter(Tensor(0, mstype.int32), name="num_accumulated", requires_grad=False)
        self.value_and_grad = mindspore.value_and_grad(self.forward, None, optimizer.parameters)
        self.hyper_map = ops.HyperMap()
        self.set_train()

    def set_train(self, mode: bool = True) -> TrainStep:
        """As nn.Cell has it, but for the frozen parts, which never train."""
        super().set_train(mode)
        for part in self.frozen:
            part.set_train(False)
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self.loss(to_float32(self.network(images)), labels)
        return loss if self.grad_scaler is None else self.grad_scaler.scale(loss)

    def construct(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.saturates:
            # It looks for a mark and wipes it off: what overflowed before the step is none of it.
            images = ops.depend(images, all_finite((images,)))
        loss, gradients = self.value_and_grad(images, labels)
        if self.all_reduce_mean is not None:
            gradients, loss = self.all_reduce_mean(gradients, self.statistics, loss)
        if self.grad_scaler is None:
            self.collect(gradients)
            return loss
        loss = loss / self.grad_scaler.value
        gradients = self.grad_scaler.unscale(gradients, self.multiply)
        if not self.grad_scaler.skips:
            self.collect(gradients)
            return loss
        is_finite = all_finite(gradients)
        if self.saturates and self.all_reduce_mean is not None:
            # The mark is on one rank's chip, and mean gradients tell the others nothing.
            is_finite = self.add_up(1 - is_finite.astype(mstype.float32)) == 0
        if self.grad_scaler.dynamic:
            self.grad_scaler.adjust(is_finite)
        if is_finite:
            self.collect(gradients)
        return loss

    def collect(self, gradients: tuple[Tensor, ...]) -> bool:
        """Update at once, or after so many batches with their mean gradient."""
        if self.accumulation_steps == 1:
            return self.update(gradients)
        self.hyper_map(_accumulate, self.accumulated, gradients)
        ops.assign(self.num_accumulated, self.num_accumulated + 1)
        if self.num_accumulated >= self.accumulation_steps:
            self.update(self.hyper_map(ops.partial(_divide, self.accumulation_steps), self.accumulated))
            self.hyper_map(_clear, self.accumulated)
            ops.assign(self.num_accumulated, ops.zeros_like(self.num_accumulated))
        return True

    def update(self, gradients: tuple[Tensor, ...]) -> bool:
        if self.clip_mode == "norm":
            gradients = ops.clip_by_global_norm(gradients, self.clip_value)
        elif self.clip_mode == "value":
            gradients = ops.clip_by_value(gradients, -self.clip_value, self.clip_value)
        self.optimizer(gradients)
        if self.ema is not None:
            self.ema()
        return True


_accumulate = ops.MultitypeFuncGraph("accumulate")
_divide = ops.MultitypeFuncGraph("divide")
_clear = ops.MultitypeFuncGraph("clear")


@_accumulate.register("Tensor", "Tensor")
def _accumulate_tensor(accumulated, gradient):
    return ops.assign_add(accumulated, gradient)


@_divide.register("Number", "Tensor")
def _divide_tensor(count, accumulated):
    return accumulated / count


@_clear.register("Tensor")
def _clear_tensor(accumulated):
    return ops.assign(accumulated, ops.zeros_like(accumulated))
