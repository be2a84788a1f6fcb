"""forward_intermediates: the maps of features_only, and how far it goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor
from support.small_networks import SMALL

from mindcv_halo import HaloNet, create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models import FeatureExtractor


@pytest.fixture(scope="module")
def network():
    return create_model("halonet_test", num_classes=3).set_train(False)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((1, 3, 50, 64)).astype(np.float32))


@pytest.fixture(scope="module")
def maps(network, image) -> list[np.ndarray]:
    """All five, as features_only gives them."""
    return [item.asnumpy() for item in FeatureExtractor(network)(image)]


@pytest.mark.parametrize(
    "indices, expected",
    [(None, (0, 1, 2, 3, 4)), ((1, 3), (1, 3)), ((-1, 0), (0, 4)), ([2], (2,)), (2, (3, 4)), (5, (0, 1, 2, 3, 4))],
)
def test_maps_are_those_of_features_only(network, image, maps, indices, expected):
    final, found = network.forward_intermediates(image, indices)
    assert len(found) == len(expected)
    for item, index in zip(found, expected, strict=True):
        np.testing.assert_array_equal(item.asnumpy(), maps[index])
    np.testing.assert_array_equal(final.asnumpy(), network.forward_features(image).asnumpy())
    alone = network.forward_intermediates(image, indices, intermediates_only=True)
    assert [item.shape for item in alone] == [item.shape for item in found]


def test_in_graph_mode(graph, network, image, maps):
    """Which compiles each layer on the way."""
    (found,) = network.forward_intermediates(image, (1,), stop_early=True, intermediates_only=True)
    np.testing.assert_allclose(found.asnumpy(), maps[1], rtol=1e-5, atol=1e-6)


def test_stopping_early(network, image, monkeypatch):
    final, maps = network.forward_intermediates(image, (0, 2), stop_early=True)
    np.testing.assert_array_equal(final.asnumpy(), maps[-1].asnumpy())
    assert [item.shape[1] for item in maps] == [16, 48]
    monkeypatch.setattr(network.stages[2], "construct", None)  # would fail if it were called
    network.forward_intermediates(image, (0, 2), stop_early=True)


def test_at_the_end_stopping_early_changes_nothing(image):
    network = HaloNet(replace(SMALL, head_width=40), 3).set_train(False)
    final, maps = network.forward_intermediates(image, (2,), stop_early=True)
    assert final.shape[1] == network.num_features == 40 and maps[0].shape[1] == 16
    np.testing.assert_array_equal(final.asnumpy(), network.forward_features(image).asnumpy())


@pytest.mark.parametrize(
    "indices, message",
    [
        ((1, 1), r"indices \(1, 1\) must name maps out of \(0, 1, 2, 3, 4\), each once, or as -5 to -1"),
        ((4, -1), r"each once"),
        ((5,), r"indices \(5,\) must name maps"),
        ((), r"indices \(\) must name maps"),
        (0, r"indices 0 must be from 1 to 5"),
        (6, r"indices 6 must be from 1 to 5"),
        (True, r"indices \(True,\) must name maps"),
        ((True,), r"indices \(True,\) must name maps"),
        (("a",), r"indices \('a',\) must name maps"),
        ((1.0,), r"indices \(1.0,\) must name maps"),
        (1.0, r"indices \(1.0,\) must name maps"),
    ],
)
def test_bad_indices(network, image, indices, message):
    with pytest.raises(UserError, match=message):
        network.forward_intermediates(image, indices)


def test_images_are_checked(network):
    with pytest.raises(ValueError, match=r"must be \(batch, 3, height, width\)"):
        network.forward_intermediates(Tensor(np.zeros((1, 1, 32, 32), np.float32)))
