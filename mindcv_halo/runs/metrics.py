"""What a validation says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FEWEST_FOR_TOP5 = 6  # classes; of five, every image is among the first five


@dataclass(frozen=True)
class Metrics:
    """Shares in percent, and the mean cross entropy in nats, over `num_images` images.

    `top5` is None where there are fewer than six classes. `num_left_out` more images could not be decoded, and count
    for nothing.
    """

    top1: float
    top5: float | None
    loss: float
    num_images: int
    num_left_out: int = 0

    def __str__(self) -> str:
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.2f} %"
        left_out = f" ({self.num_left_out} left out)" if self.num_left_out else ""
        return f"top-1 {self.top1:.2f} %{top5}, loss {self.loss:.4f} on {self.num_images} images{left_out}"

    def as_mindcv(self) -> dict[str, float | None]:
        """The same under MindCV's names, as shares of 1; a loss that is not finite is None."""
        top5 = {} if self.top5 is None else {"Top_5_Accuracy": self.top5 / 100}
        loss = self.loss if math.isfinite(self.loss) else None
        return {"Top_1_Accuracy": self.top1 / 100, **top5, "loss": loss}


class MetricsCounter:
    """Sums over images, so that batches of any sizes give the same numbers.

    num_classes: how many there are, where that is fewer than the logits have.
    """

    def __init__(self, num_classes: int | None = None):
        self.num_classes = num_classes
        self.num_logits = 0  # of an image
        self.correct1 = 0
        self.correct5 = 0
        self.loss_sum = 0.0
        self.num_images = 0

    def update(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch: logits (B, classes), labels (B,)."""
        logits = logits.astype(np.float64)
        ranks = rank_labels(logits, labels)
        self.num_logits = logits.shape[1]
        self.correct1 += int((ranks < 1).sum())
        self.correct5 += int((ranks < 5).sum())
        self.loss_sum -= float(log_softmax(logits)[np.arange(len(labels)), labels].sum())
        self.num_images += len(labels)

    def sums(self) -> np.ndarray:
        """All that it has counted, as float64."""
        return np.array([self.num_logits, self.correct1, self.correct5, self.loss_sum, self.num_images])

    def add(self, sums: np.ndarray) -> None:
        """What another counter has counted."""
        self.num_logits = max(self.num_logits, int(sums[0]))
        self.correct1 += int(sums[1])
        self.correct5 += int(sums[2])
        self.loss_sum += float(sums[3])
        self.num_images += int(sums[4])

    def result(self) -> Metrics:
        """Of all images so far; there must be one."""
        num_classes = self.num_logits if self.num_classes is None else self.num_classes
        # Divided last: 22 * (100 / 22) is more than 100.
        top5 = 100 * self.correct5 / self.num_images if num_classes >= FEWEST_FOR_TOP5 else None
        return Metrics(100 * self.correct1 / self.num_images, top5, self.loss_sum / self.num_images, self.num_images)


def rank_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many other classes the true one does not exceed: 0 is right, less than 5 is in the top 5.

    Ties count against it, and a logit that is no number is behind all, so that a dead network scores nothing.
    """
    own = logits[np.arange(len(labels)), labels]
    ranks = (~(logits < own[:, None])).sum(1) - 1
    return np.where(np.isnan(own), max(logits.shape[1], 5), ranks)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(B, classes), NaN where logits are infinite."""
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
