"""The classes of a validation: how well each was told from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .image_results import ImageResults


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
        share = 100 / count
        rows.append(
            ClassRow(
                name,
                count,
                float(confusions[label, label] * share),
                float(right5[label] * share) if has_top5 else None,
                float(losses[label] / count),
                class_names[other] if times else None,
                times,
            )
        )
    return rows
