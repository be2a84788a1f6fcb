from __future__ import annotations

import numpy as np
import pytest

from mindcv_halo.data import Mixup
from mindcv_halo.data.mixup import cutmix_bbox_and_lam, mixup_target, one_hot, rand_bbox, rand_bbox_minmax
from mindcv_halo.errors import UserError

CLASSES = 5


def make_batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((size, 3, 8, 10)).astype(np.float32), rng.integers(0, CLASSES, size).astype(np.int32)


def share_of_own(images: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Solve mixed = lam * own + (1 - lam) * mirrored for each sample's lam; a sample that is its own partner has 1."""
    own, other = images.reshape(len(images), -1), images[::-1].reshape(len(images), -1)
    distance = ((own - other) ** 2).sum(1)
    along = ((mixed.reshape(len(images), -1) - other) * (own - other)).sum(1)
    return np.where(distance > 0, along / np.where(distance > 0, distance, 1), 1.0)


def test_one_hot_and_targets():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    # by hand: smoothing 0.3 over 3 classes: 0.1 off, 0.8 on; 0.6 own + 0.4 partner
    expected = [
        [0.6 * 0.1 + 0.4 * 0.8, 0.1, 0.6 * 0.8 + 0.4 * 0.1],
        [0.6 * 0.8 + 0.4 * 0.1, 0.1, 0.6 * 0.1 + 0.4 * 0.8],
    ]
    actual = mixup_target(np.array([2, 0]), 3, lam=0.6, smoothing=0.3)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_mixup_is_the_definition_in_every_mode_and_batch_size(mode, size):
    images, labels = make_batch(size)
    before = images.copy()
    mixed, targets = Mixup(1.0, mode=mode, label_smoothing=0.0, num_classes=CLASSES)(
        images, labels, np.random.default_rng(0)
    )
    lam = share_of_own(images, mixed)
    shape = (-1, 1, 1, 1)
    expected = lam.reshape(shape) * images + (1 - lam).reshape(shape) * images[::-1]
    np.testing.assert_allclose(mixed, expected, atol=1e-5)  # float32
    own = np.eye(CLASSES)[labels]
    if mode == "batch" and size > 1:
        lam[size // 2] = lam[0]  # the middle one is its own partner: any lam gives the same
    np.testing.assert_allclose(targets, lam[:, None] * own + (1 - lam[:, None]) * own[::-1], atol=1e-5)
    np.testing.assert_array_equal(images, before)
    if size == 6:
        assert len(np.unique(lam.round(4))) == {"batch": 1, "pair": 3, "elem": 6}[mode]


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("minmax", [None, (0.3, 0.6)])
def test_cutmix_pastes_one_box_and_labels_by_area(size, minmax):
    images, labels = make_batch(size)
    cutmix = Mixup(0.0, 1.0, cutmix_minmax=minmax, label_smoothing=0.0, num_classes=CLASSES)
    for seed in range(10):
        mixed, targets = cutmix(images, labels, np.random.default_rng(seed))
        pasted = (mixed != images).all(1)[0]
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns[None, :])  # a rectangle
        np.testing.assert_array_equal(mixed, np.where(pasted, images[::-1], images))
        lam = 1 - pasted.mean()
        own = np.eye(CLASSES)[labels]
        np.testing.assert_allclose(targets, lam * own + (1 - lam) * own[::-1], atol=1e-6)


def test_switching_and_probability():
    images, labels = make_batch(2)

    def kinds(**options) -> list[str]:
        found = []
        mix = Mixup(1.0, 1.0, num_classes=CLASSES, **options)
        for seed in range(400):
            mixed, _ = mix(images, labels, np.random.default_rng(seed))
            kept = np.isclose(mixed, images).mean()
            found.append("none" if kept == 1 else "cutmix" if kept > 0.02 or np.isin(mixed, images).all() else "mixup")
        return found

    # four standard deviations of 400 draws: 40; a tiny box is no box, which takes some from cutmix
    assert abs(kinds(switch_prob=0.5).count("mixup") - 200) < 40
    assert abs(kinds(prob=0.3).count("none") - 280) < 45
    assert kinds(prob=0.0).count("none") == 400


def test_lam_follows_the_beta_distribution():
    images, labels = make_batch(2)
    mix = Mixup(0.2, num_classes=CLASSES)
    lams = [share_of_own(images, mix(images, labels, np.random.default_rng(seed))[0])[0] for seed in range(1000)]
    # Beta(0.2, 0.2): mean 1/2, variance 1 / (4 * 1.4); four standard errors
    np.testing.assert_allclose(np.mean(lams), 0.5, atol=0.055)
    np.testing.assert_allclose(np.var(lams), 1 / 5.6, atol=0.02)


def test_boxes():
    rng = np.random.default_rng(0)
    for _ in range(100):
        top, bottom, left, right = rand_bbox((3, 20, 30), 0.75, rng=rng)
        assert 0 <= top <= bottom <= 20 and 0 <= left <= right <= 30
        assert bottom - top <= 10 and right - left <= 15  # half of each side: sqrt(1 - 0.75)
    top, bottom, left, right = rand_bbox_minmax((3, 20, 30), (0.2, 0.5), count=100, rng=rng)
    assert (bottom - top >= 4).all() and (bottom - top < 10).all() and (bottom <= 20).all()
    assert (right - left >= 6).all() and (right - left < 15).all() and (right <= 30).all()
    box, lam = cutmix_bbox_and_lam((3, 20, 30), 0.75, rng=rng)
    assert lam == 1 - (box[1] - box[0]) * (box[3] - box[2]) / 600
    assert cutmix_bbox_and_lam((3, 20, 30), 0.75, correct_lam=False, rng=rng)[1] == 0.75


def test_wrong_options():
    with pytest.raises(UserError, match="unknown mixup mode 'batches'; nearest: batch"):
        Mixup(mode="batches")
    with pytest.raises(UserError, match="one of them must be above 0"):
        Mixup(0.0, 0.0)
