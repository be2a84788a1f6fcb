"""create_loss: which class a name gives, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from mindcv_halo import loss as losses
from mindcv_halo.errors import UserError
from mindcv_halo.loss import create_loss

WEIGHT = Tensor(np.ones(3, np.float32))


@pytest.mark.parametrize(
    "name, cell",
    [
        ("CE", losses.CrossEntropySmooth),
        ("bce", losses.BinaryCrossEntropySmooth),
        ("asl_single_label", losses.AsymmetricLossSingleLabel),
        ("ASL_multi_label", losses.AsymmetricLossMultilabel),
        ("jsd", losses.JSDCrossEntropy),
    ],
)
def test_name_gives_class(name, cell):
    assert type(create_loss(name)) is cell


@pytest.mark.parametrize("name", ["CE", "BCE", "asl_single_label", "JSD"])
def test_every_setting_arrives(name):
    logits = Tensor(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    labels = Tensor(np.array([0, 2, 2, 0, 1, 1], np.int32))

    def value(**settings) -> np.ndarray:
        return create_loss(name, **settings).set_train()((logits, 2 * logits), labels).asnumpy()

    changed = [{"label_smoothing": 0.1}, {"aux_factor": 0.5}, {"reduction": "sum"}]
    if name != "asl_single_label":
        changed.append({"weight": Tensor(np.array([1, 2, 4], np.float32))})
    for settings in changed:
        assert abs(value(**settings) - value()) > 1e-3, settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "CEE"}, "unknown loss 'cee'; nearest: "),
        ({"name": "asl_multi_label", "label_smoothing": 0.1}, "asl_multi_label has no label smoothing"),
        ({"name": "asl_multi_label", "weight": WEIGHT}, "asl_multi_label has no class weights"),
        ({"name": "asl_single_label", "weight": WEIGHT}, "asl_single_label has no class weights"),
        ({"label_smoothing": -0.1}, r"label_smoothing \(smoothing\) -0.1 must be at least 0"),
        ({"reduction": "avg"}, "unknown reduction 'avg'"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UserError, match=message):
        create_loss(**settings)
