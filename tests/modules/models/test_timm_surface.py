"""What timm's users reach for on a model: a table of names, calls and what comes of them; and what MindCV's do."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.nn.utils import no_init_parameters
from support.table import check_all

from mindcv_halo import FeatureExtractor, HaloNet, create_model, fuse_batchnorm, get_pretrained_cfg
from mindcv_halo.errors import UserError
from mindcv_halo.models import recompute
from mindcv_halo.models.features import FeatureExtractWrapper
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.models.specs import Halo, Spec, Stage, Stem
from mindcv_halo.runtime import pynative_mode

SMALLEST = Spec("smallest", Stem((4,), (2,), pool=False), (Stage("C", 4, 4),), halo=Halo(2, 1))
TINY = Spec("tiny", Stem((8,), (2,)), (Stage("C", 8, 8), Stage("A", 16, 8, stride=1)), halo=Halo(2, 1))
MAPS = {"chs": [16, 32, 48, 64, 96], "reduction": [2, 2, 4, 8, 16]}
MAPS["name"] = ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]


def images(side: int = 32, channels: int = 3) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((2, channels, side, side)).astype(np.float32))


@cache
def halonet() -> HaloNet:
    """For what leaves it as it is, and for copying."""
    return create_model("halonet_test", num_classes=5).set_train(False)


@pytest.fixture
def network(pynative) -> HaloNet:
    return copy.deepcopy(halonet())


def head(network: HaloNet, **options) -> tuple[int, ...]:
    return network.forward_head(network.forward_features(images()), **options).shape


SURFACE = {
    "num_classes": (lambda net: net.num_classes, 5),
    "num_features": (lambda net: net.num_features, 96),
    "head_hidden_size": (lambda net: net.head_hidden_size, 96),
    "default_cfg": (lambda net: net.default_cfg, get_pretrained_cfg("halonet_test")),
    "pretrained_cfg": (lambda net: net.pretrained_cfg["input_size"], (3, 64, 64)),
    "pretrained_cfg, alias": (lambda net: net.pretrained_cfg is net.default_cfg, True),
    "forward_features": (lambda net: net.forward_features(images()).shape, (2, 96, 2, 2)),
    "forward_head": (head, (2, 5)),
    "forward_head, pre_logits": (lambda net: head(net, pre_logits=True), (2, 96)),
    "get_classifier": (lambda net: net.get_classifier() is net.classifier, True),
    "get_classifier, type": (lambda net: type(net.get_classifier()), nn.Dense),
    "feature_info": (lambda net: [item["num_chs"] for item in net.feature_info], MAPS["chs"]),
    "feature_info, module": (lambda net: [item["module"] for item in net.feature_info], MAPS["name"]),
    "feature_info, reduction": (lambda net: [item["reduction"] for item in net.feature_info], MAPS["reduction"]),
    "feature_info, MindCV's": (lambda net: net.feature_info[1]["chs"], 32),
    "feature_info, MindCV's name": (lambda net: net.feature_info[1]["name"], "stages.0"),
    "feature_info.channels": (lambda net: net.feature_info.channels(), MAPS["chs"]),
    "feature_info.reduction": (lambda net: net.feature_info.reduction(), MAPS["reduction"]),
    "feature_info.module_name": (lambda net: net.feature_info.module_name(), MAPS["name"]),
    "feature_info.get_dicts": (lambda net: type(net.feature_info.get_dicts()[0]), dict),
    "grad_checkpointing": (lambda net: net.grad_checkpointing, False),
    "set_grad_checkpointing(False)": (lambda net: net.set_grad_checkpointing(False), None),
    "no_weight_decay": (lambda net: net.no_weight_decay(), set()),
    "group_matcher": (lambda net: sorted(net.group_matcher()), ["blocks", "stem"]),
    "forward_intermediates": (lambda net: len(net.forward_intermediates(images())[1]), 5),
    "reset_classifier": (
        lambda net: (net.reset_classifier(np.int64(7)), net.num_classes, head(net)),
        (None, 7, (2, 7)),
    ),
    "reset_classifier, avg": (lambda net: (net.reset_classifier(3, "avg"), head(net))[1], (2, 3)),
    "reset_classifier, none": (lambda net: (net.reset_classifier(0, global_pool="avg"), head(net))[1], (2, 96)),
}


def test_surface(network):
    """In this order: the last entries change the classifier."""

    def check(entry: str, case: tuple) -> None:
        call, expected = case
        assert call(network) == expected

    check_all(SURFACE, check)


def test_what_enters_the_classifier_is_what_it_is_given(network):
    last = network.forward_features(images())
    pooled = network.forward_head(last, pre_logits=True)
    np.testing.assert_array_equal(network.get_classifier()(pooled).asnumpy(), network(images()).asnumpy())
    network.reset_classifier(0)
    assert type(network.get_classifier()) is nn.Identity
    np.testing.assert_array_equal(network(images()).asnumpy(), pooled.asnumpy())


def test_groups_are_those_of_the_parameters(network):
    import re

    names = [parameter.name for parameter in network.get_parameters()]
    for coarse, count in ((False, 5), (True, 4)):
        patterns = network.group_matcher(coarse=coarse)
        found = {match.groups() for name in names if (match := re.match(patterns["blocks"], name))}
        assert len(found) == count and any(re.match(patterns["stem"], name) for name in names)


def test_cfgs_of_every_way_to_a_network():
    with no_init_parameters():
        tagged = create_model("halonet_50t.mindcv", num_classes=2).default_cfg
    assert tagged == get_pretrained_cfg("halonet_50t.mindcv") != get_pretrained_cfg("halonet_50t")
    assert HaloNet(HALONET_TEST).default_cfg == {} == HaloNet(HALONET_TEST).pretrained_cfg
    network = create_model("halonet_test")
    network.default_cfg["url"] = "x"
    assert not get_pretrained_cfg("halonet_test")["url"]  # a copy


@pytest.mark.parametrize("global_pool", ["max", "", "avgmax", "catavgmax", False, 5])
def test_other_pools(network, global_pool):
    with pytest.raises(
        UserError, match=rf"global_pool {global_pool!r} must be 'avg', or left out; for another pool take"
    ):
        network.reset_classifier(7, global_pool)
    assert network.num_classes == 5  # nothing was done before


@pytest.mark.parametrize("num_classes", [-1, 2.5, "7", None, True, 7.0, np.array(7)])
def test_numbers_of_classes_that_are_none(network, num_classes):
    with pytest.raises(UserError, match=r"num_classes .* must be a whole number of at least 0"):
        network.reset_classifier(num_classes)


class Own(nn.Cell):
    """Not of this library; it says its maps with timm's keys."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Conv2d(4, 6, 3, 2)
        self.head = nn.Conv2d(6, 8, 3, 2)
        keys = (("stem", 4, 1), ("body", 6, 2), ("head", 8, 4))
        self.feature_info = [{"num_chs": chs, "reduction": red, "module": name} for name, chs, red in keys]

    def construct(self, x):
        return self.head(self.body(self.stem(x)))


INDICES = {
    (-1,): (-1,),
    (-3, -1): (-3, -1),
    (0, -1): (0, -1),
    (np.int64(0), np.int32(-1)): (0, -1),
    (1, 2): (1, 2),
    (np.uint8(1),): (1,),
}
WAYS = {
    "create_model": lambda indices: create_model("halonet_test", features_only=True, out_indices=indices),
    "FeatureExtractor": lambda indices: FeatureExtractor(halonet(), indices),
    "FeatureExtractWrapper": lambda indices: FeatureExtractWrapper(halonet(), indices),
    "of features": lambda indices: FeatureExtractWrapper(FeatureExtractor(halonet()), indices),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [tuple, np.array, iter])
def test_out_indices(way, make):
    """From the end, and of numpy's kind, on everything that takes them."""
    for given, expected in INDICES.items():
        with no_init_parameters():
            features = WAYS[way](make(given))
        for key, of_all in MAPS.items():
            assert [item[key] for item in features.feature_info] == [of_all[index] for index in expected]
        assert features.out_channels == [MAPS["chs"][index] for index in expected]
        assert features.strides == features.feature_info.reduction()
        own = FeatureExtractWrapper(Own(), make(given))
        assert own.out_channels == own.feature_info.channels() == [(4, 6, 8)[index] for index in expected]


def test_maps_from_the_end(pynative):
    for features, given in ((WAYS["create_model"]([-4, -1]), (1, 4)), (FeatureExtractWrapper(Own(), (-3, -1)), None)):
        maps = features.set_train(False)(images())
        assert [item.shape[1] for item in maps] == features.out_channels and len(maps) == 2
        assert given is None or features.out_indices == given


def test_features_of_features_are_the_same(pynative):
    inner = FeatureExtractor(create_model("halonet_test"), (1, 3)).set_train(False)
    (last,) = FeatureExtractWrapper(inner, (-1,)).set_train(False)(images())
    np.testing.assert_array_equal(last.asnumpy(), inner(images())[1].asnumpy())
    assert inner.feature_info.channels() == [32, 64] and inner.out_indices == (1, 3)


def test_all_maps_of_fewer_stages():
    assert FeatureExtractor(HaloNet(TINY)).out_indices == (0, 1, 2)


def test_maps_need_features_only():
    for indices in ((1, 2), [-1], 3):
        with pytest.raises(UserError, match=r"out_indices .* is for features_only=True"):
            create_model("halonet_test", out_indices=indices)
    assert create_model("halonet_test", out_indices=[0, 1, 2, 3, 4])  # the default, written out


class Rearranged(HaloNet):
    """As native kernels do, it has its maps in another order between the layers."""

    def channels_first(self, x):
        return x.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: FeatureExtractor(nn.Dense(2, 2)),
            r"FeatureExtractor: Dense is no HaloNet; for others there is Feature",
        ),
        (lambda: FeatureExtractor(Rearranged(TINY)), r"features of tiny: the network runs on native kernels already"),
        (lambda: FeatureExtractWrapper(Rearranged(TINY)), r"features of tiny: the network runs on native kernels"),
    ],
)
def test_networks_without_maps(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    "info, message",
    [
        (5, r"its feature_info 5 must be a list of dictionaries"),
        ("stem", r"its feature_info 'stem' must be a list"),
        ([5], r"its feature_info \[5\] must be a list of dictionaries"),
        ([{"name": "stem"}], r"which has no chs; give each map one"),
        ([{"chs": 4}], r"which has no name; give each map one"),
        (
            [{"chs": 6, "name": "body"}, {"chs": 4, "name": "stem"}],
            r"its cells run in the order stem, body, head; bring",
        ),
        ([{"chs": 4, "name": "stem"}, {"chs": 4, "name": "stem"}], r"its feature_info names stem, stem, .* each once"),
    ],
    ids=str,
)
def test_maps_that_are_said_wrongly(info, message):
    own = Own()
    own.feature_info = info
    with pytest.raises(UserError, match=message):
        FeatureExtractWrapper(own)


class Outer(nn.Cell):
    """A cell around a network, with some sums of its own."""

    def __init__(self, network: nn.Cell):
        super().__init__()
        self.network = network

    def construct(self, x):
        return self.network(x) * 2


def test_a_classifier_is_reset_inside_what_was_compiled(mode):
    """Itself, around that, in a copy, and in a function: the next call has the new one, assigned or reset, or none.

    Each is compiled anew for each; in graph mode the network is assigned one, and the copy has its own taken away.
    """
    network = HaloNet(SMALLEST, 5).set_train(False)
    copied = copy.deepcopy(Outer(network))  # of which MindSpore has no list
    outer = Outer(Outer(network))

    @ms.jit
    def double(x):
        return network(x) * 2

    other = nn.Dense(4, 3)
    x, row = images(16), Tensor(np.ones((1, 4), np.float32))
    before = other(row).asnumpy()
    calls = {"itself": network, "around that": outer, "a function": double}
    changes = {
        5: lambda changed: None,
        4: lambda changed: changed.reset_classifier(0),
        7: lambda changed: setattr(changed, "classifier", nn.Dense(4, 7)),
    }
    for width, width_of_copy in ((5, 5), (7, 4)) if mode == "graph" else ((5, 5), (4, 7), (7, 4)):
        if width == 7:
            calls.pop("itself")  # which the one around it asks
        changes[width](network)
        changes[width_of_copy](copied.network)
        assert copied(x).shape == (2, width_of_copy)
        for name, call in calls.items():
            assert call(x).shape == (2, width), name
        with pynative_mode():
            head = network.forward_head(network.forward_features(x)).asnumpy()
        np.testing.assert_allclose(outer(x).asnumpy(), 4 * head, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(other(row).asnumpy(), before)  # it compiles once more, and is the same


def test_attention_is_computed_again(pynative, monkeypatch):
    """The same loss and gradients; each attention runs twice."""
    calls = []
    construct = HaloAttention.construct
    monkeypatch.setattr(HaloAttention, "construct", lambda cell, x: (calls.append(cell), construct(cell, x))[1])
    network = HaloNet(TINY, 5).set_train()
    new = HaloNet(TINY, 5).set_train()
    for ours, theirs in zip(network.get_parameters(), new.get_parameters(), strict=True):
        theirs.set_data(ours.value())
    new.set_grad_checkpointing()
    new.set_grad_checkpointing(True)  # once more changes nothing
    results = []
    for cell in (network, new):
        compute = ms.value_and_grad(lambda x, cell=cell: cell(x).sum(), None, cell.trainable_params())
        value, gradients = compute(images(16))
        results.append((len(calls), value.asnumpy(), [gradient.asnumpy() for gradient in gradients]))
        calls.clear()
    (once, value, gradients), (twice, same_value, same_gradients) = results
    assert (once, twice) == (1, 2) and new.grad_checkpointing and not network.grad_checkpointing
    np.testing.assert_array_equal(same_value, value)
    for same, gradient in zip(same_gradients, gradients, strict=True):
        np.testing.assert_array_equal(same, gradient)


@pytest.mark.parametrize("kind", ["A", "T"])
def test_copies_of_what_is_computed_again(pynative, kind):
    """A copy computes by its own weights, and its attention twice as well; one for inference, once."""
    spec = replace(TINY, stages=(TINY.stages[0], Stage(kind, 16, 8, stride=1)))
    network = HaloNet(spec, 5, image_size=16).set_train(False)
    before = network(images(16)).asnumpy()
    network.set_grad_checkpointing()
    outer = copy.deepcopy(Outer(network))
    for parameter in network.get_parameters():
        parameter.set_data(parameter.value() * 0)
    copied = outer.network
    np.testing.assert_array_equal(copied(images(16)).asnumpy(), before)
    assert copied.stages[1][0].mix.attention._recompute_cell is not None and copied.grad_checkpointing
    np.testing.assert_allclose(fuse_batchnorm(copied)(images(16)).asnumpy(), before, rtol=1e-5, atol=1e-6)
    compute = ms.value_and_grad(lambda x: copied(x).sum(), None, copied.trainable_params())
    assert any(gradient.asnumpy().any() for gradient in compute(images(16))[1])


def test_computing_again_cannot_be_undone(pynative):
    network = HaloNet(TINY, 5).set_train(False)
    network.set_grad_checkpointing(False)  # nothing was on
    network.set_grad_checkpointing()
    with pytest.raises(
        UserError, match=r"build the network anew, and give it these weights \(mindspore.load_param_into"
    ):
        network.set_grad_checkpointing(False)
    new = HaloNet(TINY, 5).set_train(False)  # the way out
    ms.load_param_into_net(new, network.parameters_dict())
    np.testing.assert_array_equal(new(images(16)).asnumpy(), network(images(16)).asnumpy())
    for enable in ("no", None, 1):
        with pytest.raises(UserError, match=r"set_grad_checkpointing: enable .* must be True or False"):
            new.set_grad_checkpointing(enable)


def test_computing_again_without_attention():
    with no_init_parameters():
        network = create_model("halonet_h0", num_classes=2, conv_stages=(1, 2, 3, 4))
    for call in (network.set_grad_checkpointing, lambda: recompute.recompute_attention(nn.Dense(2, 2))):
        with pytest.raises(
            UserError, match=r"recompute: (HaloNet|Dense) has no halo or bottleneck attention to compute"
        ):
            call()
    assert not network.grad_checkpointing
