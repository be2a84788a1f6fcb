"""What is said of single images and of classes adds up to what Metrics says of all."""

from __future__ import annotations

import numpy as np
import pytest

from mindcv_halo.report import results as image_results
from mindcv_halo.report.results import ClassRow, count_confusions, judge_images, tabulate_classes
from mindcv_halo.runs.metrics import MetricsCounter


def draw(num_images: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = random.integers(0, num_classes, num_images)
    logits = random.normal(size=(num_images, num_classes)).astype(np.float32)
    logits[np.arange(num_images), labels] += 1
    logits[:4] = [[0.0], [np.nan], [1.0], [-3.0]]  # ties, and no numbers
    return logits, labels


def test_sums_are_those_of_metrics(monkeypatch):
    monkeypatch.setattr(image_results, "_ROWS_AT_ONCE", 32)
    logits, labels = draw(200, 7)
    logits[1] = 0
    before = logits.copy()
    counter = MetricsCounter()
    counter.update(logits, labels)
    metrics = counter.result()
    results = judge_images(logits, labels)
    np.testing.assert_array_equal(logits, before)
    assert (results.ranks == 0).mean() * 100 == pytest.approx(metrics.top1)
    assert (results.ranks < 5).mean() * 100 == pytest.approx(metrics.top5)
    assert results.losses.mean() == pytest.approx(metrics.loss)
    confusions = count_confusions(results, 7)
    assert confusions.sum() == 200 and np.trace(confusions) / 2 == pytest.approx(metrics.top1)
    rows = tabulate_classes(results, confusions, list("abcdefg"))
    assert sum(row.num_images for row in rows) == 200
    for name in ("top1", "top5", "loss"):
        mean = sum(getattr(row, name) * row.num_images for row in rows) / 200
        assert mean == pytest.approx(getattr(metrics, name)), name


def test_probabilities_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9]]))
    results = judge_images(logits, np.array([0, 0, 1]))
    np.testing.assert_array_equal(results.predictions, [0, 1, 2])
    np.testing.assert_array_equal(results.ranks, [0, 1, 2])  # of two equal classes neither exceeds the other
    np.testing.assert_allclose(results.label_probabilities, [0.7, 0.3, 0.05])
    np.testing.assert_allclose(results.probabilities, [0.7, 0.6, 0.9])
    np.testing.assert_allclose(results.losses, -np.log([0.7, 0.3, 0.05]))
    np.testing.assert_array_equal(results.mistakes(), [2, 1])


def test_ties_and_what_is_no_number_are_mistakes():
    logits, _ = draw(4, 3)
    results = judge_images(logits, np.zeros(4, int))
    assert np.all(results.predictions != 0)
    np.testing.assert_array_equal(results.mistakes(), [1, 0, 2, 3])  # the loss of the second is no number


def test_classes_by_hand():
    """a: one of two right; b: no image; c: taken twice for a, once for b."""
    labels = np.array([0, 0, 2, 2, 2])
    logits = np.eye(3)[[0, 2, 0, 1, 0]] * 4.0
    results = judge_images(logits, labels)
    confusions = count_confusions(results, 3)
    np.testing.assert_array_equal(confusions, [[1, 0, 1], [0, 0, 0], [2, 1, 0]])
    right, wrong = -np.log(np.exp([4.0, 0.0]) / (np.exp(4.0) + 2))
    rows = tabulate_classes(results, confusions, ["a", "b", "c"])
    assert rows == [
        ClassRow("a", 2, 50.0, 100.0, pytest.approx((right + wrong) / 2), "c", 1),
        ClassRow("b", 0, None, None, None, None, 0),
        ClassRow("c", 3, 0.0, 100.0, pytest.approx(wrong), "a", 2),
    ]


def test_a_perfect_class_is_taken_for_none():
    results = judge_images(np.eye(2), np.array([0, 1]))
    assert [row.taken_for for row in tabulate_classes(results, count_confusions(results, 2), "ab")] == [None, None]


@pytest.mark.parametrize("count", [22, 25, 49])
def test_a_perfect_class_is_right_in_no_more_than_all(count):
    """22 * (100 / 22) is."""
    results = judge_images(np.eye(6)[np.zeros(count, int)], np.zeros(count, int))
    row = tabulate_classes(results, count_confusions(results, 6), "abcdef")[0]
    assert row.top1 == row.top5 == 100
