"""Binary cross entropy with label smoothing: every class is a yes-or-no question of its own."""

from __future__ import annotations

from mindspore import Tensor, ops

from .common import ClassificationLoss, dense_labels, smooth_labels
from .registry import register_loss


@register_loss("BCE")
class BinaryCrossEntropySmooth(ClassificationLoss):
    """Binary cross entropy between sigmoid(logits) and labels.

    Inputs: logits (B, C), or a tuple of them whose further members add their loss times `aux_factor`; labels (B,)
    class numbers or (B, C) probabilities. Output: a scalar, the mean or sum over all B * C values, or (B, C) with
    reduction "none". Computed in float32.
    `smoothing` moves a label y to y * (1 - smoothing) + smoothing / C; `weight` (C,) scales the classes, `pos_weight`
    (C,) only the part of the loss that a positive label causes.

    Raises UserError for a setting out of range and for labels that do not fit the logits.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        aux_factor: float = 0.0,
        reduction: str = "mean",
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
    ):
        super().__init__(smoothing, aux_factor, reduction, weight)
        self.pos_weight = pos_weight

    def loss(self, logits, labels):
        targets = smooth_labels(dense_labels(labels, logits), self.smoothing)
        ones = ops.ones_like(logits)
        weight = ones if self.weight is None else self.weight
        pos_weight = ones if self.pos_weight is None else self.pos_weight
        return ops.binary_cross_entropy_with_logits(logits, targets, weight, pos_weight, self.reduction)
