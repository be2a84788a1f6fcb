"""What a network said of each image of a validation, and of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runs.metrics import log_softmax, rank_labels

_ROWS_AT_ONCE = 1024  # float64 copies of all logits would take several times their memory


@dataclass(frozen=True)
class ImageResults:
    """Arrays of shape (images,), in the order of the images.

    An image is right as in Metrics: the logit of its class exceeds all others. The prediction is the true class of an
    image that is right, else the highest of the other classes, so that ties and NaN are mistakes here too.
    """

    labels: np.ndarray  # int
    predictions: np.ndarray  # int
    ranks: np.ndarray  # int; how many classes the true one does not exceed: 0 is right, less than 5 is in the top 5
    losses: np.ndarray  # cross entropy in nats
    label_probabilities: np.ndarray  # of the true class
    probabilities: np.ndarray  # of the prediction

    def mistakes(self) -> np.ndarray:
        """The indices of the images that are not right, highest loss first; losses that are no numbers lead."""
        wrong = np.flatnonzero(self.ranks > 0)
        return wrong[np.argsort(-np.nan_to_num(self.losses[wrong], nan=np.inf), kind="stable")]


def judge_images(logits: np.ndarray, labels: np.ndarray) -> ImageResults:
    """logits: (images, classes); labels: (images,)."""
    parts = [
        _judge(logits[start : start + _ROWS_AT_ONCE].astype(np.float64), labels[start : start + _ROWS_AT_ONCE])
        for start in range(0, len(labels), _ROWS_AT_ONCE)
    ]
    return ImageResults(labels, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _judge(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of ImageResults after the labels."""
    rows = np.arange(len(labels))
    ranks = rank_labels(logits, labels)
    log_probabilities = log_softmax(logits)
    logits[rows, labels] = -np.inf
    predictions = np.where(ranks == 0, labels, logits.argmax(1))
    probabilities = np.exp(log_probabilities[rows, predictions])
    losses = -log_probabilities[rows, labels]
    return predictions, ranks, losses, np.exp(-losses), probabilities


def count_confusions(results: ImageResults, num_classes: int) -> np.ndarray:
    """(num_classes, num_classes) int64: how many images of the class of a row were taken for that of a column."""
    pairs = results.labels.astype(np.int64) * num_classes + results.predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassRow:
    """One class. Without images the shares and the loss are None; without mistakes `taken_for` is.

    `top5` is None where the metrics of all images have none.
    """

    name: str
    num_images: int
    top1: float | None  # percent
    top5: float | None  # percent
    loss: float | None  # mean cross entropy in nats
    taken_for: str | None  # the most frequent wrong prediction; of equally frequent ones the first class
    num_taken: int  # how often


def tabulate_classes(
    results: ImageResults, confusions: np.ndarray, class_names: Sequence[str], *, has_top5: bool = True
) -> list[ClassRow]:
    """A row for every class, in the order of the labels; `confusions` is what count_confusions gives."""
    num_classes = len(class_names)
    counts = confusions.sum(1)
    right5 = np.bincount(results.labels[results.ranks < 5], minlength=num_classes)
    losses = np.bincount(results.labels, weights=results.losses, minlength=num_classes)
    wrong = confusions.copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for label, name in enumerate(class_names):
        count = int(counts[label])
        if count == 0:
            rows.append(ClassRow(name, 0, None, None, None, None, 0))
            continue
        other = int(wrong[label].argmax())
        times = int(wrong[label, other])
        rows.append(
            ClassRow(
                name,
                count,
                float(100 * confusions[label, label] / count),  # divided last: 22 * (100 / 22) is more than 100
                float(100 * right5[label] / count) if has_top5 else None,
                float(losses[label] / count),
                class_names[other] if times else None,
                times,
            )
        )
    return rows
