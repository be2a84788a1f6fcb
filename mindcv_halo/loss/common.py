"""What every loss does first and last: check its settings, take its inputs apart, reduce.

Axes: B batch, C classes.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from ..errors import UserError, unknown_name

REDUCTIONS = ("mean", "sum", "none")


class ClassificationLoss(nn.LossBase):
    """A loss of logits and labels, with what all of them share; a subclass says `loss(logits, labels)`.

    Logits are a tensor (B, C) or a tuple (main, auxiliary, ...), whose further members add `aux_factor` times their
    loss. They are computed with in float32: float16 sums over C lose digits. In training a model without auxiliary
    heads raises UserError unless `aux_factor` is 0; in evaluation such models often return the main logits alone.
    Raises UserError for a setting out of range, too.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        aux_factor: float = 0.0,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        if not 0 <= smoothing < 1:
            raise UserError(f"label_smoothing (smoothing) {smoothing!r} must be at least 0 and below 1")
        if not aux_factor >= 0:
            raise UserError(f"aux_factor {aux_factor!r} must be at least 0")
        self.smoothing = smoothing
        self.aux_factor = aux_factor
        self.reduction = reduction
        self.weight = weight

    def construct(self, logits, labels):
        heads = logits if isinstance(logits, (tuple, list)) else (logits,)
        total = self.loss(heads[0].astype(ms.float32), labels)
        if self.aux_factor > 0:
            _check_heads(len(heads), self.aux_factor, self.training)
            for head in heads[1:]:
                total = total + self.aux_factor * self.loss(head.astype(ms.float32), labels)
        return total


def dense_labels(labels: Tensor, logits: Tensor) -> Tensor:
    """Class probabilities (B, C), float32, from such or from class numbers (B,).

    A class number outside 0 .. C - 1 gives a row of NaN, so that the loss shows it: operators that index with it
    stop on a CPU, take another class if it is negative, and say nothing on other devices.
    """
    _check_shapes(labels.shape, logits.shape)
    if labels.ndim == 2:
        return labels.astype(ms.float32)
    # Floats for on and off: of the integers that are its defaults Ascend takes no int32 labels.
    one_hot = ops.one_hot(labels.astype(ms.int32), logits.shape[1], 1.0, 0.0)
    return one_hot / one_hot.sum(axis=1, keepdims=True)


def smooth_labels(labels: Tensor, smoothing: float) -> Tensor:
    """Move the share `smoothing` of every row to a uniform distribution."""
    if smoothing == 0:
        return labels
    return labels * (1 - smoothing) + smoothing / labels.shape[1]


def reduce_loss(values: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of `values`, or with "none" `values` themselves."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    return values


# In graph mode `construct` can raise only Python's own exceptions; a compile-time function raises any.
@constexpr(check=False)
def _check_shapes(labels: tuple[int, ...], logits: tuple[int, ...]) -> None:
    if len(logits) != 2 or labels not in (logits, logits[:1]):
        raise UserError(
            f"labels of shape {labels} do not fit logits of shape {logits}: "
            "logits are (batch, classes), labels (batch,) class numbers or (batch, classes) probabilities"
        )


@constexpr(check=False)
def _check_heads(heads: int, aux_factor: float, training: bool) -> None:
    if training and heads == 1:
        raise UserError(f"aux_factor is {aux_factor:g}, but the model has no auxiliary head; set aux_factor to 0")
