"""Which model a set of weights is of, and with which options."""

from __future__ import annotations

import numpy as np
import pytest
from support.weight_files import arrays_of

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import find_model, recognise_weights


@pytest.mark.parametrize(
    "model, options",
    [
        ("halonet_test", {"num_classes": 7, "in_channels": 1}),
        ("halonet_test", {"num_classes": 0, "in_channels": 4}),
        ("halobotnet_50t", {"num_classes": 3, "in_channels": 3, "image_size": (64, 96)}),
        ("halonet_h0", {"num_classes": 3, "in_channels": 3, "conv_stages": (1, 3)}),
        ("halonet_mini", {"num_classes": 3, "in_channels": 1, "conv_stages": (3,)}),
    ],
)
def test_options_are_told_by_shapes(model, options):
    weights = arrays_of(create_model(model, **options))
    name, found = find_model(recognise_weights(weights, "the file"))
    assert (name, found) == (model, options)


def test_weights_of_no_model():
    weights = arrays_of(create_model("halonet_test"))
    for change in ("stages.3.0.expand.conv.weight", "stages.3.0.mix.attention.kv.weight", "stem.conv1.conv.weight"):
        rest = {name: value for name, value in weights.items() if name != change}
        with pytest.raises(UserError, match=r"^the file: no model has its stages C, CA, A, .* with widths"):
            find_model(recognise_weights(rest, "the file"))
    scalars = {name: np.float32(0) for name in weights}
    with pytest.raises(UserError, match=r"no model has its stages"):
        find_model(recognise_weights(scalars, "the file"))
