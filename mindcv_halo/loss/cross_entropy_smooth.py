"""Cross entropy with label smoothing."""

from __future__ import annotations

from mindspore import ops

from .common import ClassificationLoss, dense_labels, reduce_loss, smooth_labels
from .registry import register_loss


@register_loss("CE")
class CrossEntropySmooth(ClassificationLoss):
    """Cross entropy between softmax(logits) and labels that are smoothed towards the uniform distribution.

    Inputs: logits (B, C), or a tuple of them whose further members add their loss times `aux_factor`; labels (B,)
    class numbers or (B, C) probabilities. Output: a scalar, or (B,) with reduction "none". Computed in float32.
    `weight` (C,) scales the classes; with class numbers the mean then divides by the weights of the labels, with
    probabilities by B, as torch does.

    Raises UserError for a setting out of range and for labels that do not fit the logits.
    """

    def loss(self, logits, labels):
        targets = dense_labels(labels, logits)
        weighted = smooth_labels(targets, self.smoothing)
        if self.weight is not None:
            weighted = weighted * self.weight
        losses = -(weighted * ops.log_softmax(logits, axis=1)).sum(axis=1)
        if self.reduction == "mean" and self.weight is not None and labels.ndim == 1:
            return losses.sum() / (targets * self.weight).sum()
        return reduce_loss(losses, self.reduction)
