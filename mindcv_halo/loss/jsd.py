"""Cross entropy plus the disagreement between differently augmented copies of an image."""

from __future__ import annotations

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from ..errors import UserError
from .common import ClassificationLoss, reduce_loss
from .cross_entropy_smooth import CrossEntropySmooth
from .registry import register_loss


@register_loss("JSD", compares_copies=True)
class JSDCrossEntropy(ClassificationLoss):
    """Cross entropy of the clean images + `alpha` * Jensen-Shannon divergence between all splits.

    In training the batch is `num_splits` stacked splits of the same images, the clean one first (aug_splits in a
    recipe): logits (num_splits * B, C), or a tuple of them whose further members add their loss times `aux_factor`;
    labels (num_splits * B, ...) or (B, ...), of which the first B count, as CrossEntropySmooth takes them. In
    evaluation (`set_train(False)`) the batch is plain and the loss is CrossEntropySmooth. Output: a scalar, or (B,)
    with reduction "none". Computed in float32.

    Raises UserError for a setting out of range and for a batch that does not divide into the splits.
    Source: Hendrycks et al. 2019, AugMix, arXiv:1912.02781.
    """

    def __init__(
        self,
        num_splits: int = 3,
        alpha: float = 12,
        smoothing: float = 0.1,
        weight: Tensor | None = None,
        reduction: str = "mean",
        aux_factor: float = 0.0,
    ):
        super().__init__(smoothing, aux_factor, reduction, weight)
        if num_splits < 2:
            raise UserError(f"num_splits {num_splits} must be at least 2: there is nothing to compare")
        self.num_splits = num_splits
        self.alpha = alpha
        self.cross_entropy = CrossEntropySmooth(smoothing, aux_factor, reduction, weight)

    def construct(self, logits, labels):
        if not self.training:
            return self.cross_entropy(logits, labels)
        return super().construct(logits, labels)

    def loss(self, logits, labels):
        size = _split_size(logits.shape[0], self.num_splits)
        log_split = ops.log_softmax(logits, axis=-1).reshape(self.num_splits, size, -1)
        split = ops.exp(log_split)
        log_mean = ops.log(ops.clamp(split.mean(axis=0), 1e-7, 1.0))
        divergence = (split * (log_split - log_mean)).sum(axis=-1).mean(axis=0)
        clean = self.cross_entropy.loss(logits[:size], labels[:size])
        return clean + self.alpha * reduce_loss(divergence, self.reduction)


@constexpr(check=False)
def _split_size(batch: int, num_splits: int) -> int:
    if batch % num_splits:
        raise UserError(
            f"JSD: a batch of {batch} does not divide into {num_splits} splits; give that many copies of the images, "
            "which aug_splits 3 (separate) makes, or set num_splits to match"
        )
    return batch // num_splits
