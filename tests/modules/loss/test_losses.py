"""Every loss against a float64 reference written here: values, and gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from mindcv_halo.errors import UserError
from mindcv_halo.loss import (
    AsymmetricLossMultilabel,
    AsymmetricLossSingleLabel,
    BinaryCrossEntropySmooth,
    CrossEntropySmooth,
    JSDCrossEntropy,
)
from mindcv_halo.loss.registry import LOSSES

CLASSES = 5
SPARSE = np.array([0, 3, 4, 3, 1, 2], np.int32)
DENSE = np.random.default_rng(1).dirichlet(np.ones(CLASSES), len(SPARSE)).astype(np.float32)
BINARY = (np.random.default_rng(2).random((len(SPARSE), CLASSES)) < 0.4).astype(np.float32)
LOGITS = np.random.default_rng(3).normal(0, 3, (len(SPARSE), CLASSES)).astype(np.float32)
WEIGHT = np.array([1.0, 2.0, 0.5, 1.5, 3.0], np.float32)

Reference = Callable[[np.ndarray, np.ndarray], np.ndarray]


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def dense(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES)[labels] if labels.ndim == 1 else labels.astype(np.float64)


def cross_entropy(x, labels, smoothing=0.0, weight=None, reduction="mean"):
    total, norm, each = 0.0, 0.0, []
    w = np.ones(CLASSES) if weight is None else weight
    for row, label in zip(log_softmax(x), dense(labels), strict=True):
        each.append(sum(-w[c] * row[c] * (label[c] * (1 - smoothing) + smoothing / CLASSES) for c in range(CLASSES)))
        total += each[-1]
        norm += (w * label).sum() if labels.ndim == 1 else 1
    return {"mean": total / norm, "sum": total, "none": np.array(each)}[reduction]


def binary_cross_entropy(x, labels, smoothing=0.0, weight=1.0, pos_weight=1.0, reduction="mean"):
    y = dense(labels) * (1 - smoothing) + smoothing / CLASSES
    each = -weight * (pos_weight * y * np.log(sigmoid(x)) + (1 - y) * np.log(sigmoid(-x)))
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]


def jensen_shannon(x, labels, splits=3, alpha=12.0, smoothing=0.1):
    size = len(x) // splits
    p = np.exp(log_softmax(x)).reshape(splits, size, CLASSES)
    mean = p.mean(0)
    divergence = sum((p[s] * np.log(p[s] / mean)).sum() / size for s in range(splits)) / splits
    return cross_entropy(x[:size], labels[:size], smoothing) + alpha * divergence


def asymmetric_multi(x, labels, gamma_neg=4, gamma_pos=1, clip=0.05, reduction="sum"):
    each = np.zeros(len(x))
    for i, c in np.ndindex(x.shape):
        p = sigmoid(x[i, c])
        shifted = max(p - clip, 0)
        y = dense(labels)[i, c]
        each[i] -= y * (1 - p) ** gamma_pos * np.log(p) + (1 - y) * shifted**gamma_neg * np.log(1 - shifted)
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]


def asymmetric_single(x, labels, gamma_pos=1, gamma_neg=4, smoothing=0.1, reduction="mean"):
    y, log_p = dense(labels), log_softmax(x)
    target = y * (1 - smoothing) + smoothing / CLASSES
    w = (1 - np.exp(log_p) * y - (1 - np.exp(log_p)) * (1 - y)) ** (gamma_pos * y + gamma_neg * (1 - y))
    each = -(target * w * log_p).sum(1)
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]


CASES = {
    "ce": (lambda: CrossEntropySmooth(), cross_entropy, SPARSE),
    "ce smooth": (lambda: CrossEntropySmooth(0.1), lambda x, y: cross_entropy(x, y, 0.1), SPARSE),
    "ce dense smooth": (lambda: CrossEntropySmooth(0.1), lambda x, y: cross_entropy(x, y, 0.1), DENSE),
    "ce weight": (
        lambda: CrossEntropySmooth(0.1, weight=Tensor(WEIGHT)),
        lambda x, y: cross_entropy(x, y, 0.1, WEIGHT),
        SPARSE,
    ),
    "ce weight dense": (
        lambda: CrossEntropySmooth(weight=Tensor(WEIGHT)),
        lambda x, y: cross_entropy(x, y, 0.0, WEIGHT),
        DENSE,
    ),
    "ce sum": (lambda: CrossEntropySmooth(reduction="sum"), lambda x, y: cross_entropy(x, y, reduction="sum"), SPARSE),
    "bce": (lambda: BinaryCrossEntropySmooth(), binary_cross_entropy, BINARY),
    "bce sparse smooth": (
        lambda: BinaryCrossEntropySmooth(0.1),
        lambda x, y: binary_cross_entropy(x, y, 0.1),
        SPARSE,
    ),
    "bce weights": (
        lambda: BinaryCrossEntropySmooth(weight=Tensor(WEIGHT), pos_weight=Tensor(WEIGHT[::-1].copy())),
        lambda x, y: binary_cross_entropy(x, y, 0.0, WEIGHT, WEIGHT[::-1]),
        DENSE,
    ),
    "bce sum": (
        lambda: BinaryCrossEntropySmooth(reduction="sum"),
        lambda x, y: binary_cross_entropy(x, y, reduction="sum"),
        BINARY,
    ),
    "jsd": (lambda: JSDCrossEntropy().set_train(), jensen_shannon, SPARSE),
    "jsd two dense": (
        lambda: JSDCrossEntropy(2, 5.0, 0.0).set_train(),
        lambda x, y: jensen_shannon(x, y, 2, 5.0, 0.0),
        DENSE,
    ),
    "jsd evaluation": (lambda: JSDCrossEntropy(smoothing=0.2), lambda x, y: cross_entropy(x, y, 0.2), SPARSE),
    "asl multi": (lambda: AsymmetricLossMultilabel(), asymmetric_multi, BINARY),
    "asl multi unclipped mean": (
        lambda: AsymmetricLossMultilabel(2, 0, 0.0, reduction="mean"),
        lambda x, y: asymmetric_multi(x, y, 2, 0, 0.0, "mean"),
        SPARSE,
    ),
    "asl single": (lambda: AsymmetricLossSingleLabel(), asymmetric_single, SPARSE),
    "asl single sum": (
        lambda: AsymmetricLossSingleLabel(2, 3, "sum", 0.0),
        lambda x, y: asymmetric_single(x, y, 2, 3, 0.0, "sum"),
        SPARSE,
    ),
}


def test_every_loss_has_a_case():
    assert {type(build()) for build, *_ in CASES.values()} == {loss.cell for loss in LOSSES.values()}


def slopes(function: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    result = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        nudge = np.zeros(x.shape)
        nudge[index] = step
        result[index] = (function(x + nudge) - function(x - nudge)) / (2 * step)
    return result


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(mode, name):
    build, reference, labels = CASES[name]
    loss, gradient = ms.value_and_grad(build())(Tensor(LOGITS), Tensor(labels))
    exact = LOGITS.astype(np.float64)
    # float32 sums of up to 30 terms; the multi-label loss takes 1 - p of probabilities next to 1
    np.testing.assert_allclose(loss.asnumpy(), reference(exact, labels), rtol=1e-5)
    expected = slopes(lambda x: reference(x, labels), exact)
    np.testing.assert_allclose(gradient.asnumpy(), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    "loss, reference",
    [
        (CrossEntropySmooth(0.1, reduction="none"), lambda x, y: cross_entropy(x, y, 0.1, reduction="none")),
        (BinaryCrossEntropySmooth(reduction="none"), lambda x, y: binary_cross_entropy(x, y, reduction="none")),
        (AsymmetricLossMultilabel(reduction="none"), lambda x, y: asymmetric_multi(x, y, reduction="none")),
        (AsymmetricLossSingleLabel(reduction="none"), lambda x, y: asymmetric_single(x, y, reduction="none")),
    ],
)
def test_no_reduction(loss, reference):
    expected = reference(LOGITS.astype(np.float64), SPARSE)
    np.testing.assert_allclose(loss(Tensor(LOGITS), Tensor(SPARSE)).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_jsd_sum_is_batch_times_mean():
    batch = (Tensor(LOGITS), Tensor(SPARSE))
    mean, total = (JSDCrossEntropy(reduction=reduction).set_train()(*batch).asnumpy() for reduction in ("mean", "sum"))
    np.testing.assert_allclose(total, mean * len(LOGITS) / 3, rtol=1e-6)


@pytest.mark.parametrize("name", ["ce smooth", "bce", "jsd", "asl multi", "asl single"])
def test_half_precision_logits_are_computed_in_float32(mode, name):
    build, reference, labels = CASES[name]
    half = LOGITS.astype(np.float16)
    loss = build()(Tensor(half), Tensor(labels))
    assert loss.dtype == ms.float32
    np.testing.assert_allclose(loss.asnumpy(), reference(half.astype(np.float64), labels), rtol=1e-5)


EACH = ("ce smooth", "bce", "jsd", "asl multi", "asl single")


@pytest.mark.parametrize(
    "mode, name",
    [
        *(("pynative", name) for name in EACH),
        ("graph", "jsd"),
        *(pytest.param("graph", name, marks=pytest.mark.thorough) for name in EACH if name != "jsd"),
    ],
    indirect=["mode"],
)  # all losses add auxiliary logits in one place
def test_auxiliary_logits(mode, name):
    build, reference, labels = CASES[name]
    loss = build()
    loss.aux_factor = 0.4
    heads = LOGITS, LOGITS[:, ::-1].copy(), LOGITS[:, [1, 0, 2, 4, 3]].copy()
    main, *others = (reference(head.astype(np.float64), labels) for head in heads)
    value = loss(tuple(Tensor(head) for head in heads), Tensor(labels))
    np.testing.assert_allclose(value.asnumpy(), main + 0.4 * sum(others), rtol=1e-5)

    def two_heads(first, second):
        return loss((first, second), Tensor(labels))

    gradients = ms.grad(two_heads, (0, 1))(Tensor(heads[0]), Tensor(heads[1]))
    assert all(abs(gradient.asnumpy()).sum() > 0 for gradient in gradients)


def test_auxiliary_factor_without_auxiliary_logits(mode):
    CrossEntropySmooth(aux_factor=0.4).set_train(False)(Tensor(LOGITS), Tensor(SPARSE))
    with pytest.raises(UserError, match=r"aux_factor is 0\.4, but the model has no auxiliary head"):
        CrossEntropySmooth(aux_factor=0.4).set_train()(Tensor(LOGITS), Tensor(SPARSE))


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_out_of_range_shows(mode, label):
    labels = SPARSE.copy()
    labels[2] = label
    losses = CrossEntropySmooth(0.1, reduction="none")(Tensor(LOGITS), Tensor(labels)).asnumpy()
    assert np.isnan(losses).tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("shape", [(5,), (6, 4), (6, 1), (6, 5, 1)])
def test_labels_that_do_not_fit(mode, shape):
    with pytest.raises(UserError, match=r"labels of shape .* do not fit logits of shape \(6, 5\)"):
        CrossEntropySmooth()(Tensor(LOGITS), ops.ones(shape, ms.float32))


def test_batch_that_does_not_split(mode):
    with pytest.raises(UserError, match="a batch of 6 does not divide into 4 splits"):
        JSDCrossEntropy(4).set_train()(Tensor(LOGITS), Tensor(SPARSE))


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: CrossEntropySmooth(1.0), r"label_smoothing \(smoothing\) 1.0 must be at least 0 and below 1"),
        (lambda: CrossEntropySmooth(float("nan")), "label_smoothing"),
        (lambda: BinaryCrossEntropySmooth(reduction="means"), "unknown reduction 'means'; nearest: mean"),
        (lambda: CrossEntropySmooth(aux_factor=-1), "aux_factor -1 must be at least 0"),
        (lambda: JSDCrossEntropy(1), "num_splits 1 must be at least 2"),
        (lambda: AsymmetricLossMultilabel(gamma_neg=0.5), "gamma_neg 0.5 must be 0 or at least 1"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize("name", ["asl multi", "asl multi unclipped mean", "asl single"])
def test_certain_predictions_have_finite_gradients(name):
    build, _, labels = CASES[name]
    gradient = ms.grad(build())(Tensor(LOGITS * 100), Tensor(labels)).asnumpy()
    assert np.isfinite(gradient).all()
