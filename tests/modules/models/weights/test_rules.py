"""From each peer's names to ours, and back to timm's: every model, every entry."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.peers import list_states, read_state

from mindcv_halo.models.registry import canonical_name
from mindcv_halo.models.weights import find_model, recognise, recognise_weights, to_timm
from mindcv_halo.models.weights.rules import translate
from mindcv_halo.models.weights.sources import SOURCES
from mindcv_halo.models.weights.sources.timm import SOURCE as TIMM

# timm's halonet_h1 is no model of ours: 8 heads in every stage.
TIMM_MODELS = sorted(model for peer, model in list_states() if peer == "timm" and model != "halonet_h1")


def draw(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Different numbers in every entry, and for what batch norms have counted 0."""
    random = np.random.default_rng(0)
    return {
        name: np.zeros(shape, np.int64)
        if name.endswith("num_batches_tracked")
        else random.integers(0, 1 << 31, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("model", TIMM_MODELS)
def test_timms_weights_come_back_bit_for_bit(model):
    theirs = draw(read_state("timm", model).shapes)
    ours, _ = translate(recognise(theirs), theirs, ())
    back = to_timm(ours)
    assert back.keys() == theirs.keys()
    for name, value in theirs.items():
        assert back[name].dtype == value.dtype and back[name].shape == value.shape, name
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("peer, model", [state for state in list_states() if state != ("timm", "halonet_h1")])
def test_the_model_is_told_by_its_weights(peer, model):
    expected = canonical_name(model)
    shapes = read_state(peer, model).shapes
    weights = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}  # takes no memory
    name, options = find_model(recognise_weights(weights, "the file"))
    image_size = {"image_size": (256, 256)} if "botnet" in expected else {}
    assert (name, options) == (expected, {"num_classes": 1000, "in_channels": 3, **image_size})


def test_a_kernel_with_more_slices_is_not_cut():
    """timm's lambda layers have 3-D kernels of depth 1; of more depth they are no such kernels."""
    shapes = read_state("timm", "lamhalobotnet50ts_256").shapes
    name = next(name for name in shapes if name.endswith("conv_lambda.weight"))
    theirs = draw({name: (*shapes[name][:-1], 3)})
    ours, _ = translate(TIMM, theirs, ())
    assert [value.shape for value in ours.values()] == [(*shapes[name][:-1], 3)]


@pytest.mark.parametrize("peer, model", list_states())
def test_one_source_alone_has_a_peers_names(peer, model):
    names = read_state(peer, model).shapes
    found = [source.name.lower() for source in SOURCES if any(re.fullmatch(source.signature, name) for name in names)]
    assert found == [peer]
