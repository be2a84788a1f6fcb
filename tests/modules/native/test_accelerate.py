"""A network on native kernels is the same network: names, what goes in and out, and what it refuses."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from support.differentiate import differentiate, weighted_sum
from support.drawn_norms import draw_norms
from support.small_networks import SMALL, shorten
from support.ways import has_kernels

from mindcv_halo import accelerate, attention_maps, create_model, fuse_batchnorm
from mindcv_halo.errors import UserError
from mindcv_halo.models.features import FeatureExtractor
from mindcv_halo.models.halonet import SPECS
from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.models.macs import count_macs
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.specs import ChannelAttention
from mindcv_halo.runtime import pynative_mode

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

TOLERANCE = 1e-5  # of the largest entry


def random_images(size: int = 48, batch: int = 2) -> Tensor:
    return Tensor(np.random.standard_normal((batch, 3, size, size)).astype(np.float32))


def assert_near(actual: Tensor, expected: Tensor) -> None:
    expected = expected.asnumpy()
    np.testing.assert_allclose(actual.asnumpy(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def run_by_operator(network: nn.Cell, images: Tensor) -> Tensor:
    """Its output in PyNative mode, which compiles nothing."""
    with pynative_mode():
        return network(images)


def build_pair(*, frozen: bool = False, **options) -> tuple[nn.Cell, nn.Cell]:
    """A network on native kernels and a portable one with the same random weights."""
    native, portable = (build(**options) for _ in range(2))
    draw_norms(portable)
    # Copies: MindSpore would let both networks share one memory, and so what training changes.
    copies = {name: ms.Parameter(p.asnumpy().copy(), name=name) for name, p in portable.parameters_dict().items()}
    ms.load_param_into_net(native, copies)
    return accelerate(native, frozen=frozen), portable


def build(**options) -> nn.Cell:
    """A network of few blocks, which takes little time to compile."""
    return HaloNet(SMALL, **{"num_classes": 50, **options})


def test_parameters_keep_their_names_and_order():
    native, portable = build_pair(num_classes=7)
    assert list(native.parameters_dict()) == list(portable.parameters_dict())


# Kernels are the same in either mode; a graph is another way to what has none (MindCV's windows) and into the network.
@pytest.mark.parametrize(
    "mode, options",
    [
        *(("graph", options) for options in ({}, {"dialect": "mindcv"})),
        *(
            ("pynative", options)
            for options in (
                *({}, {"mask_padding": True}, {"dialect": "keras"}, {"dialect": "mindcv"}, {"in_channels": 1}),
                {"num_classes": 0},
            )
        ),
    ],
    ids=str,
    indirect=["mode"],
)
def test_evaluation(mode, options):
    native, portable = build_pair(**options)
    images = random_images(45)[:, : options.get("in_channels", 3)]
    assert_near(native.set_train(False)(images), run_by_operator(portable.set_train(False), images))


def test_training_with_the_same_masks(mode):
    native, portable = build_pair(drop_path_rate=0.5, drop_rate=0.3)
    seeds = {name: cell.seed for name, cell in portable.cells_and_names() if hasattr(cell, "seed")}
    for name, cell in native.cells_and_names():
        if hasattr(cell, "seed"):
            cell.seed = seeds[name]
    images = random_images(32, batch=8)
    slope = np.random.standard_normal((8, 50)).astype(np.float32)
    ours = differentiate(native.set_train(), weighted_sum, images.asnumpy(), slope)
    with pynative_mode():
        theirs = differentiate(portable.set_train(), weighted_sum, images.asnumpy(), slope)
    np.testing.assert_allclose(ours.output, theirs.output, rtol=0, atol=1e-4 * np.abs(theirs.output).max())
    for name, parameter in portable.parameters_dict().items():
        np.testing.assert_allclose(
            native.parameters_dict()[name].asnumpy(), parameter.asnumpy(), rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize(
    "mode, folds, options",
    [
        *(("graph", folds, options) for folds in ("folded", "norms") for options in ({}, {"dialect": "mindcv"})),
        *(("pynative", "folded", options) for options in ({}, {"num_classes": 0}, {"drop_path_rate": 0.2})),
        *(("pynative", "norms", options) for options in ({}, {"in_channels": 1}, {"dialect": "mindcv"})),
    ],
    ids=str,
    indirect=["mode"],
)
def test_frozen_network(mode, folds, options):
    portable = draw_norms(build(**options)).set_train(False)
    frozen = accelerate(fuse_batchnorm(portable) if folds == "folded" else deepcopy(portable), frozen=True)
    for size in (45,) if mode == "graph" else (32, 45):
        images = random_images(size)[:, : options.get("in_channels", 3)]
        assert_near(frozen(images), run_by_operator(portable, images))


@pytest.mark.parametrize("name", ["halonet_se33t", "halonet_eca26t", "haloregnetz_b"])
def test_frozen_network_with_gates(name):
    portable = draw_norms(HaloNet(shorten(SPECS[name]), 50)).set_train(False)
    images = random_images(64, batch=1)
    expected = run_by_operator(portable, images)
    assert_near(accelerate(portable, frozen=True)(images), expected)


def test_frozen_network_is_for_inference():
    frozen = accelerate(build(), frozen=True)
    with pytest.raises(RuntimeError, match="frozen, for inference"):
        frozen.set_train()(random_images())
    with pytest.raises(ValueError, match="small"):
        frozen.set_train(False)(random_images()[:, :2])


def test_frozen_network_inside_another_cell():
    portable = draw_norms(build()).set_train(False)
    frozen = accelerate(deepcopy(portable), frozen=True)
    images = random_images()
    assert_near(nn.SequentialCell(frozen, nn.Softmax())(images), nn.Softmax()(run_by_operator(portable, images)))


class Both(nn.Cell):
    def __init__(self, one: nn.Cell, other: nn.Cell):
        super().__init__()
        self.one = one
        self.other = other

    def construct(self, x):
        return self.one(x), self.other(x)


def test_two_frozen_networks_in_one_graph():
    specs = (SMALL, replace(SMALL, stages=SMALL.stages[1:], gate=ChannelAttention("se")))
    portable = [draw_norms(HaloNet(spec, 50)).set_train(False) for spec in specs]
    images = random_images(64, batch=1)
    expected = [run_by_operator(network, images) for network in portable]
    both = Both(*(accelerate(network, frozen=True) for network in portable))
    for actual, wanted in zip(both(images), expected, strict=True):
        assert_near(actual, wanted)


@pytest.mark.parametrize(
    "make, enter",
    [
        (lambda: accelerate(build().set_train(False), frozen=True), nn.Cell.__call__),
        (lambda: accelerate(build()), nn.Cell.__call__),
        (lambda: accelerate(build()), HaloNet.forward_features),
        (lambda: accelerate(FeatureExtractor(build())), nn.Cell.__call__),
        (lambda: accelerate(HaloAttention(3, dim_out=16, num_heads=2, block_size=4, halo_size=1)), nn.Cell.__call__),
    ],
    ids=["frozen", "network", "forward_features", "features_only", "attention"],
)
def test_images_of_another_type_are_refused(mode, make, enter):
    network = make()
    with pytest.raises(TypeError, match="float32"):
        enter(network, random_images().astype(ms.float16))


def test_an_accelerated_network_is_not_counted():
    with pytest.raises(UserError, match="count before accelerate"):
        count_macs(accelerate(build()), (64, 64))


def test_frozen_network_with_a_new_classifier():
    frozen = accelerate(build().set_train(False), frozen=True)
    images = random_images()
    assert frozen(images).shape == (2, 50)
    frozen.reset_classifier(5)
    assert frozen(images).shape == (2, 5)


@pytest.mark.parametrize("frozen", [False, True])
def test_maps_on_the_way_are_as_usual(frozen):
    native, portable = (net.set_train(False) for net in build_pair(frozen=frozen))
    images = random_images()
    last, maps = native.forward_intermediates(images)
    expected_last, expected = portable.forward_intermediates(images)
    assert_near(last, expected_last)
    for map_, expected_map in zip(maps, expected, strict=True):
        assert_near(map_, expected_map)
    assert_near(native.forward_head(native.forward_features(images)), portable(images))


def test_features_only():
    native, portable = create_model("halonet_test", features_only=True, out_indices=(0, 2, 4)), None
    portable = draw_norms(deepcopy(native))
    ms.load_param_into_net(native, portable.parameters_dict())
    native = accelerate(native.set_train(False))
    images = random_images()
    for map_, expected in zip(native(images), portable(images), strict=True):
        assert_near(map_, expected)


def test_attention_maps():
    native, portable = (net.set_train(False) for net in build_pair())
    image = random_images(batch=1)
    np.testing.assert_allclose(
        attention_maps(native, image).weights, attention_maps(portable, image).weights, atol=TOLERANCE
    )


@pytest.mark.parametrize("network", [nn.Dense(2, 2), nn.Conv2d(2, 2, 1)])
def test_refuses_other_cells(network):
    with pytest.raises(UserError, match="no model of create_model"):
        accelerate(network)


def test_refuses_a_network_twice():
    with pytest.raises(UserError, match="already accelerated"):
        accelerate(accelerate(build()))


def test_what_was_compiled_is_compiled_anew(graph):
    """And not refused as a change: MindSpore writes into a cell that it compiles."""
    attention = HaloAttention(8, num_heads=2, block_size=4, halo_size=1).set_train(False)
    x = Tensor(np.random.default_rng(0).standard_normal((1, 8, 8, 8)).astype(np.float32))
    expected, graphs = attention(x).asnumpy(), set(attention.compile_cache)
    found = accelerate(attention)(x).asnumpy()
    assert graphs and graphs.isdisjoint(attention.compile_cache)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
