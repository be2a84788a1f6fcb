"""Asymmetric losses: easy negatives count less than easy positives.

Source: Ridnik et al. 2020, arXiv:2009.14119. In every formula p is the probability of a class and y its label.
"""

from __future__ import annotations

from mindspore import ops

from ..errors import UserError
from .common import ClassificationLoss, dense_labels, reduce_loss, smooth_labels
from .registry import register_loss


@register_loss("asl_multi_label")
class AsymmetricLossMultilabel(ClassificationLoss):
    """-y (1 - p)^gamma_pos log p - (1 - y) q^gamma_neg log(1 - q), with p = sigmoid(logits), q = max(p - clip, 0).

    Inputs: logits (B, C), or a tuple of them whose further members add their loss times `aux_factor`; labels (B, C)
    of zeros and ones, or (B,) class numbers. Each image's loss is the sum over its classes; output: their sum (as in
    MindCV), mean, or (B,) with reduction "none". `eps` bounds the logarithms' arguments from below. Computed in
    float32.

    Raises UserError for a setting out of range and for labels that do not fit the logits.
    """

    def __init__(
        self,
        gamma_neg: float = 4,
        gamma_pos: float = 1,
        clip: float = 0.05,
        eps: float = 1e-8,
        reduction: str = "sum",
        aux_factor: float = 0.0,
    ):
        super().__init__(aux_factor=aux_factor, reduction=reduction)
        _check_gammas(gamma_pos, gamma_neg)
        self.gamma_neg = gamma_neg
        self.gamma_pos = gamma_pos
        self.clip = clip
        self.eps = eps

    def loss(self, logits, labels):
        targets = dense_labels(labels, logits)
        no = ops.sigmoid(-logits)  # 1 - p, without the rounding
        clipped_no = ops.clamp(no + self.clip, None, 1.0)
        gains = targets * ops.log(ops.clamp(1 - no, self.eps)) * _focus(no, self.gamma_pos)
        gains = gains + (1 - targets) * ops.log(ops.clamp(clipped_no, self.eps)) * _focus(
            1 - clipped_no, self.gamma_neg
        )
        return reduce_loss(-gains.sum(axis=1), self.reduction)


@register_loss("asl_single_label")
class AsymmetricLossSingleLabel(ClassificationLoss):
    """-sum over classes of t w log p, with p = softmax(logits), w = y (1 - p)^gamma_pos + (1 - y) p^gamma_neg.

    t is the label y after smoothing: only with `smoothing` do the wrong classes add anything. Inputs: logits (B, C),
    or a tuple of them whose further members add their loss times `aux_factor`; labels (B,) class numbers or (B, C)
    probabilities. Output: a scalar, or (B,) with reduction "none". Computed in float32.
    MindCV's parameter `eps`, which nothing reads, is left out.

    Raises UserError for a setting out of range and for labels that do not fit the logits.
    """

    def __init__(
        self,
        gamma_pos: float = 1,
        gamma_neg: float = 4,
        reduction: str = "mean",
        smoothing: float = 0.1,
        aux_factor: float = 0.0,
    ):
        super().__init__(smoothing, aux_factor, reduction)
        _check_gammas(gamma_pos, gamma_neg)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg

    def loss(self, logits, labels):
        targets = dense_labels(labels, logits)
        log_yes = ops.log_softmax(logits, axis=1)
        yes = ops.exp(log_yes)
        weight = targets * _focus(1 - yes, self.gamma_pos) + (1 - targets) * _focus(yes, self.gamma_neg)
        losses = -(smooth_labels(targets, self.smoothing) * weight * log_yes).sum(axis=1)
        return reduce_loss(losses, self.reduction)


def _focus(distance, gamma):
    """distance ** gamma; a constant for gamma 0, whose gradient at distance 0 would be 0 * infinity."""
    if gamma == 0:
        return 1.0
    return ops.pow(distance, gamma)


def _check_gammas(gamma_pos: float, gamma_neg: float) -> None:
    """Between 0 and 1 the gradient is infinite where a class is certain."""
    for name, gamma in (("gamma_pos", gamma_pos), ("gamma_neg", gamma_neg)):
        if gamma != 0 and not gamma >= 1:
            raise UserError(f"{name} {gamma!r} must be 0 or at least 1")
