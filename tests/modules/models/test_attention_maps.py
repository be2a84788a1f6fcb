"""Attention maps: the oracle's weights, the right place on the image, and what has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.nn.utils import no_init_parameters
from support.oracle import halo_attention, oracle_name
from support.small_networks import SMALL, shorten

from mindcv_halo import HaloNet, attention_maps, create_model, list_attention_layers
from mindcv_halo.errors import UserError
from mindcv_halo.models.attention_maps import AttentionProbe
from mindcv_halo.models.halonet import SPECS

# Weights are below 1 and come out of float32 sums of some hundred terms.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def make_network(name: str = "halonet_test", **options):
    """A network whose queries prefer some keys: freshly drawn weights would spread all attention evenly."""
    return prefer_keys(create_model(name, num_classes=3, **options))


def prefer_keys(network: HaloNet) -> HaloNet:
    network.set_train(False)
    for parameter_name, parameter in network.parameters_and_names():
        if ".attention." in parameter_name:
            parameter.set_data(parameter * 8)
    return network


def make_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)


def expected_weights(attention, map_: np.ndarray, **arguments) -> np.ndarray:
    """The oracle's weights, (heads, query rows, query columns, H, W): its output for values that name their pixel."""
    _, dim, height, width = map_.shape
    pixels = np.eye(height * width, dtype=np.float32).reshape(1, height * width, height, width)
    parameters = {oracle_name(name): parameter.asnumpy() for name, parameter in attention.parameters_and_names()}
    heads, keys = attention.num_heads, attention.dim_key
    kv = parameters["kv.weight"].reshape(heads, keys + attention.dim_value, dim, 1, 1)
    extended = np.zeros((heads, keys + height * width, dim + height * width, 1, 1), np.float32)
    extended[:, :keys, :dim] = kv[:, :keys]
    extended[:, keys:, dim:, 0, 0] = np.eye(height * width)
    parameters["kv.weight"] = extended.reshape(-1, dim + height * width, 1, 1)
    parameters["q.weight"] = np.pad(parameters["q.weight"], ((0, 0), (0, height * width), (0, 0), (0, 0)))
    output = halo_attention(
        np.concatenate([map_, pixels], 1),
        parameters,
        num_heads=heads,
        block_size=attention.block_size,
        halo_size=attention.halo_size,
        **arguments,
    )
    return np.moveaxis(output.reshape(heads, height, width, *output.shape[2:]), (1, 2), (3, 4))


@pytest.mark.parametrize(
    "layer, options, size, query",
    [
        ("stages.1.1", {}, (32, 32), (9, 22)),
        ("stages.2.0", {}, (32, 32), (9, 22)),  # one query for each 2 x 2 pixels of the map
        ("stages.3.0", {}, (64, 64), (0, 63)),
        ("stages.1.1", {"mask_padding": True}, (32, 32), (31, 0)),
        ("stages.1.1", {}, (29, 37), (28, 36)),  # the last blocks stick out of the map
    ],
)
def test_weights_are_those_of_the_oracle(pynative, layer, options, size, query):
    network, image = make_network(**options), make_image(*size)
    attention = next(cell for name, cell in network.cells_and_names() if name == f"{layer}.mix.attention")
    found = attention_maps(network, image, layer, query)
    probe = AttentionProbe(network)
    map_ = probe(Tensor(image[None]))[1 + probe.find(layer)].asnumpy()
    stride = attention.block_size // attention.query_size
    weights = expected_weights(attention, map_, stride=stride, mask_padding=attention.mask_padding)

    row, column = (place // found.stride // stride for place in query)
    expected = weights[:, row, column]
    top, left, bottom, right = found.window
    inside = found.weights.copy()
    inside[:, ~found.inside] = 0
    height, width = map_.shape[2:]
    np.testing.assert_allclose(
        inside[:, max(0, -top) : height - top, max(0, -left) : width - left],
        expected[:, max(0, top) : bottom, max(0, left) : right],
        **TOLERANCE,
    )
    np.testing.assert_allclose(found.weights.sum((1, 2)), 1, **TOLERANCE)
    np.testing.assert_allclose(inside.sum((1, 2)), expected.sum((1, 2)), **TOLERANCE)
    assert np.ptp(expected.max((1, 2)) / np.median(expected[expected > 0])) > 0.1  # no even spread, which fits anything


def test_a_pooled_layer_is_looked_at_before_the_pool():
    """haloregnetz_b: blocks of 7 pixels, stride 2 by pooling, so that every pixel of the map has a query."""
    network, image = prefer_keys(HaloNet(shorten(SPECS["haloregnetz_b"]), 3)), make_image(64, 64)
    attention = network.stages[3][0].mix.attention
    assert attention.stride == 2 and attention.query_size == attention.block_size == 7
    found = attention_maps(network, image, "stages.3.0", (20, 63))
    probe = AttentionProbe(network)
    map_ = probe(Tensor(image[None]))[1 + probe.find("stages.3.0")].asnumpy()
    weights = expected_weights(attention, map_)
    assert found.stride == 16 and found.map_size == (4, 4) and found.query == (1, 3, 2, 4)
    np.testing.assert_allclose(found.weights[:, 2:6, 2:6], weights[:, 1, 3], **TOLERANCE)


def test_masked_positions_weigh_nothing():
    image = make_image(32, 32)
    plain, masked = (
        attention_maps(make_network(mask_padding=mask), image, "stages.3.0", (0, 0)) for mask in (False, True)
    )
    assert not plain.inside.all() and (plain.inside == masked.inside).all()
    assert (plain.weights[:, ~plain.inside] > 0).all() and (masked.weights[:, ~masked.inside] == 0).all()


@pytest.mark.parametrize(
    "layer, query, stride, pixel, block, window",
    [
        # Maps of 16, 16 and 8 pixels a side; blocks of 2, halos of 1.
        ("stages.1.1", (33, 10), 4, (8, 2), (8, 2, 10, 4), (7, 1, 11, 5)),
        ("stages.1.1", (39, 15), 4, (9, 3), (8, 2, 10, 4), (7, 1, 11, 5)),
        ("stages.2.0", (39, 15), 4, (8, 2), (8, 2, 10, 4), (7, 1, 11, 5)),
        ("stages.3.0", (63, 0), 8, (6, 0), (6, 0, 8, 2), (5, -1, 9, 3)),
        (-1, None, 8, (4, 4), (4, 4, 6, 6), (3, 3, 7, 7)),
        (0, None, 4, (8, 8), (8, 8, 10, 10), (7, 7, 11, 11)),
    ],
)
def test_places(layer, query, stride, pixel, block, window):
    found = attention_maps(make_network(), make_image(64, 64), layer, query)
    assert (found.stride, found.query[:2], found.block, found.window) == (stride, pixel, block, window)
    assert found.image_query == tuple(stride * side for side in (*pixel, pixel[0] + 1, pixel[1] + 1))
    assert found.image_block == tuple(stride * side for side in block)
    assert found.image_window == tuple(stride * side for side in window)
    assert found.weights.shape == (4, 4, 4) and found.weights.dtype == np.float32
    assert found.inside.sum() == np.prod([min(window[i + 2], 64 // stride) - max(window[i], 0) for i in (0, 1)])


class Recorder(nn.Cell):
    """Passes on what enters `cell`, and keeps it."""

    def __init__(self, cell: nn.Cell):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.seen = []

    def construct(self, x: Tensor) -> Tensor:
        self.seen.append(x.asnumpy())
        return self.cell(x)


def test_the_probe_sees_what_the_network_computes():
    network, image = make_network(), Tensor(make_image(48, 40)[None])
    probe = AttentionProbe(network)
    logits, *maps = probe(image)
    mixes = [network.stages[1][1].mix, network.stages[2][0].mix, network.stages[3][0].mix]
    recorders = [Recorder(mix.attention) for mix in mixes]
    for mix, recorder in zip(mixes, recorders, strict=True):
        mix._cells["attention"] = recorder
    np.testing.assert_array_equal(logits.asnumpy(), network(image).asnumpy())
    for map_, recorder in zip(maps, recorders, strict=True):
        np.testing.assert_array_equal(map_.asnumpy(), recorder.seen[0])


def test_the_probe_and_the_network_give_the_same_logits_in_either_mode(mode):
    network, image = prefer_keys(HaloNet(replace(SMALL, head_width=32), 3)), Tensor(make_image(32, 32)[None])
    np.testing.assert_allclose(AttentionProbe(network)(image)[0].asnumpy(), network(image).asnumpy(), **TOLERANCE)


def test_layers_have_the_names_of_their_blocks():
    assert list_attention_layers(make_network()) == ("stages.1.1", "stages.2.0", "stages.3.0")
    with no_init_parameters():  # names are all that is looked at
        network, hybrid = (create_model(name, num_classes=3) for name in ("halonet_50t", "halobotnet_50t"))
    layers = list_attention_layers(network)
    assert layers == ("stages.1.3", "stages.2.1", "stages.2.3", "stages.2.5", "stages.3.1")
    assert all(f"{layer}.mix.attention.q.weight" in network.parameters_dict() for layer in layers)
    assert list_attention_layers(hybrid)[-1] == "stages.2.5"  # not the global one


@pytest.mark.parametrize(
    "layer, query, message",
    [
        ("stages.1.0", None, r"layer 'stages.1.0' must be one of stages.1.1, stages.2.0, stages.3.0, or a number"),
        (3, None, r"layer 3 must be one of stages.1.1, stages.2.0, stages.3.0, or a number of at least -3 and below 3"),
        (-4, None, r"layer -4 must be one of"),
        (True, None, r"layer True must be one of"),
        (-1, (64, 0), r"query 64 0 lies outside .* 64 x 48 pixels; rows count from 0 to 63, columns from 0 to 47"),
        (-1, (0, 48), r"query 0 48 lies outside"),
        (-1, (-1, 0), r"query -1 0 lies outside"),
        (-1, (1, 2, 3), r"query \(1, 2, 3\) must be two numbers"),
    ],
)
def test_bad_places(layer, query, message):
    with pytest.raises(UserError, match=message):
        attention_maps(make_network(), make_image(64, 48), layer, query)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: create_model("halonet_test", features_only=True), r"from a HaloNet, not from a FeatureExtractor"),
        (lambda: create_model("halonet_test", dialect="mindcv"), r"in the dialect mindcv a key mixes positions"),
        (lambda: HaloNet(replace(SMALL, stages=SMALL.stages[:1])), r"this network has no halo attention"),
        (lambda: create_model("halonet_test").set_train(), r"halonet_test is in training.*call set_train\(False\)"),
    ],
    ids=["features", "mindcv", "convolutions", "training"],
)
def test_networks_without_maps(make, message):
    with pytest.raises(UserError, match=message):
        attention_maps(make(), make_image(64, 64))


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (32, 32)])
def test_one_image_only(shape):
    with pytest.raises(UserError, match=r"attention maps are of one image"):
        attention_maps(make_network(), np.zeros(shape, np.float32))
