"""MindCV's building blocks for models of one's own: maps of any network, helpers, layers."""

from __future__ import annotations

import inspect

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from support.weight_files import arrays_of

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models import helpers, layers
from mindcv_halo.models.features import FeatureExtractWrapper
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.helpers import ConfigDict, build_model_with_cfg, load_pretrained, make_divisible
from mindcv_halo.models.layers import conv_norm_act, drop_path, identity, pooling, squeeze_excite
from mindcv_halo.models.network import HaloNet

# A warning of Python's would reach the user with the path of a source file.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def images(channels: int = 3, side: int = 16) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((2, channels, side, side)).astype(np.float32))


class Net(nn.Cell):
    """Three cells one after another, or one sequence of them."""

    def __init__(self, *, sequence: bool = False, num_classes: int = 5, in_channels: int = 3):
        super().__init__()
        cells = [nn.Conv2d(in_channels, 4, 3), nn.Conv2d(4, 6, 3, 2), nn.Conv2d(6, 8, 3, 2)]
        self.sequence = sequence
        self.flatten_sequential = sequence
        if sequence:
            self.feature = nn.SequentialCell(cells)
        else:
            self.block1, self.block2, self.block3 = cells
        self.head = nn.Dense(8, num_classes)
        names = [f"feature.{number}" if sequence else f"block{number + 1}" for number in range(3)]
        self.feature_info = [
            {"chs": chs, "reduction": 2**number, "name": name}
            for number, (chs, name) in enumerate(zip((4, 6, 8), names, strict=True))
        ]

    def maps(self, x):
        cells = self.feature if self.sequence else (self.block1, self.block2, self.block3)
        found = []
        for cell in cells:
            x = cell(x)
            found.append(x)
        return found


class Rewritten(nn.Cell):
    """A network that returns its maps itself."""

    def __init__(self):
        super().__init__()
        self.is_rewritten = True
        self.feature_info = [{"chs": 3, "reduction": 1, "name": str(number)} for number in range(3)]

    def construct(self, x):
        return [x, x + 1, x + 2]


@pytest.mark.parametrize("sequence", [False, True])
def test_maps_of_any_network(mode, sequence):
    network = Net(sequence=sequence)
    expected = network.maps(images())
    for indices in ([0, 2],) if mode == "graph" else ((0, 1, 2), (1,), [0, 2]):
        wrapped = FeatureExtractWrapper(network, indices)
        found = wrapped(images())
        assert [item.shape for item in found] == [expected[index].shape for index in indices]
        for index, item in zip(indices, found, strict=True):
            np.testing.assert_array_equal(item.asnumpy(), expected[index].asnumpy())
        assert wrapped.out_channels == [(4, 6, 8)[index] for index in indices]
        assert wrapped.strides == [2**index for index in indices]
        assert set(wrapped.parameters_dict()) <= set(network.parameters_dict())  # and no prefix


def test_maps_by_default_are_all_there_are():
    assert len(FeatureExtractWrapper(Net()).out_channels) == 3
    rewritten = FeatureExtractWrapper(Rewritten(), [0, 2])
    assert [float(item.asnumpy().min() - images().asnumpy().min()) for item in rewritten(images())] == [0, 2]


def test_maps_of_a_halonet():
    network = create_model("halonet_test", num_classes=5).set_train(False)
    assert [item["name"] for item in network.feature_info] == ["stem", *(f"stages.{index}" for index in range(4))]
    wrapped = FeatureExtractWrapper(network, [1, 3]).set_train(False)
    maps = network.forward_intermediates(images(), intermediates_only=True)
    assert (wrapped.out_channels, wrapped.strides) == ([32, 64], [2, 8])
    for item, index in zip(wrapped(images()), (1, 3), strict=True):
        np.testing.assert_array_equal(item.asnumpy(), maps[index].asnumpy())
    assert len(FeatureExtractWrapper(network).out_channels) == 5


@pytest.mark.parametrize(
    "network, indices, message",
    [
        (nn.Dense(2, 2), (0,), r"features of Dense: it has no feature_info; give it a list"),
        (Net(), (3,), r"features of Net: out_indices \(3,\) must be a rising sequence out of \(0, 1, 2\)"),
        (Net(), (0, 7), r"out_indices \(0, 7\) must be"),
        (Net(), (), r"out_indices \(\) must be"),
        (Net(), (-4,), r"out_indices \(-4,\) must be .* of \(0, 1, 2\), or of -3 to -1 from the end"),
        (Net(), (-1, 0), r"out_indices \(-1, 0\) must be a rising sequence"),
        (Net(), (2, -1), r"out_indices \(2, -1\) must be a rising sequence"),
        (Net(), (True,), r"out_indices \(True,\) must be"),
        (Net(), 7, r"out_indices \(7,\) must be"),
        (Net(), 2, r"out_indices 2 could be one map or so many last ones; give \(2,\) for the one, or \(1, 2\) for"),
        (Net(), np.array(5), r"out_indices \(array\(5\),\) must be"),
        (Net(), ("a",), r"out_indices \('a',\) must be"),
    ],
)
def test_maps_that_are_not_there(network, indices, message):
    with pytest.raises(UserError, match=message):
        FeatureExtractWrapper(network, indices)


def test_a_map_whose_cell_is_not_there():
    network = Net(sequence=True)
    network.flatten_sequential = False
    with pytest.raises(UserError, match=r"names feature.0, its cells are feature, head; .* set flatten_sequential"):
        FeatureExtractWrapper(network, (0,))


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """cached(network) puts its weights where a download would; it gives their cfg."""
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path))

    def put(network: nn.Cell, **cfg) -> dict:
        folder = tmp_path / "weights"
        folder.mkdir(exist_ok=True)
        ms.save_checkpoint(network, str(folder / "net-1234.ckpt"))
        return {"url": "https://example.org/toolkits/net-1234.ckpt?a=b", "classifier": "head", **cfg}

    return put


def test_build_model_with_cfg(cached):
    published = Net()
    cfg = cached(published, num_classes=5, first_conv="block1")
    assert isinstance(build_model_with_cfg(Net, False, {}, num_classes=7), Net)
    assert build_model_with_cfg(Net, False, {}, num_classes=np.int64(7), in_channels=np.int32(1)).head.out_channels == 7
    wrong = [("pretrained", "no"), ("features_only", 1), ("num_classes", "7"), ("num_classes", -1), ("in_channels", 0)]
    for name, value in wrong:
        with pytest.raises(UserError, match=rf"build_model_with_cfg: {name} {value!r} must be"):
            build_model_with_cfg(Net, **{"pretrained": False, "default_cfg": {}, name: value})
    network = build_model_with_cfg(Net, True, cfg, num_classes=5)
    np.testing.assert_equal(arrays_of(network), arrays_of(published))
    other = build_model_with_cfg(Net, True, cfg, num_classes=7, in_channels=1)
    np.testing.assert_allclose(
        other.block1.weight.asnumpy(), published.block1.weight.asnumpy().sum(1, keepdims=True), rtol=1e-6
    )
    maps = build_model_with_cfg(Net, True, cfg, features_only=True, out_indices=[0, 1], num_classes=5)
    assert isinstance(maps, FeatureExtractWrapper) and maps.out_channels == [4, 6]
    with pytest.raises(UserError, match=r"Net: pretrained=True, but no weights of this model have been published"):
        build_model_with_cfg(Net, True, {})
    with pytest.raises(
        UserError, match=r"the url https://example.org/net in its default_cfg must end in the name of a"
    ):
        build_model_with_cfg(Net, True, {"url": "https://example.org/net"})
    with pytest.raises(
        UserError, match=r"does not fit Net: 2 of another shape \(head.bias: \(\d+,\), not \(\d+,\), head"
    ):
        build_model_with_cfg(Net, True, {**cfg, "num_classes": 7}, num_classes=7)


def test_a_filter_of_published_weights(cached):
    published = Net()
    cfg = cached(published, num_classes=5)
    network = Net()

    def double(parameters: dict[str, Parameter]) -> dict[str, Tensor]:
        assert all(isinstance(value, Parameter) for value in parameters.values())
        return {name: value * 2 for name, value in parameters.items()}

    load_pretrained(network, cfg, 5, filter_fn=double)
    np.testing.assert_array_equal(network.head.weight.asnumpy(), 2 * published.head.weight.asnumpy())
    before = network.head.bias.asnumpy().copy()
    load_pretrained(network, cfg, 5, filter_fn=lambda found: {k: v for k, v in found.items() if k != "head.bias"})
    np.testing.assert_array_equal(network.head.weight.asnumpy(), published.head.weight.asnumpy())
    np.testing.assert_array_equal(network.head.bias.asnumpy(), before)  # the filter left it out
    with pytest.raises(UserError, match=r"does not fit Net: 1 unknown to the model \(fc.bias\)"):
        load_pretrained(network, cfg, 5, filter_fn=lambda found: {**found, "fc.bias": found["head.bias"]})


def test_published_weights_of_a_halonet(cached):
    published = create_model("halonet_test", num_classes=5)
    cfg = cached(published, num_classes=5)
    network = build_model_with_cfg(HaloNet, True, cfg, spec=HALONET_TEST, num_classes=7)
    np.testing.assert_array_equal(network.stem.conv1.conv.weight.asnumpy(), published.stem.conv1.conv.weight.asnumpy())
    assert network.num_classes == 7


def test_a_halonet_that_would_compute_something_else(tmp_path):
    from mindcv_halo.models.weights import save_network

    save_network(create_model("halonet_test", num_classes=5, dialect="mindcv"), tmp_path / "x.ckpt")
    with pytest.raises(
        UserError, match=r"its dialect is mindcv, the model was built with timm; build it with dialect="
    ):
        helpers.load_model_checkpoint(create_model("halonet_test", num_classes=5), str(tmp_path / "x.ckpt"))


def test_weights_into_features(tmp_path):
    network = create_model("halonet_test", num_classes=5, drop_path_rate=0.1)
    ms.save_checkpoint(network, str(tmp_path / "x.ckpt"))
    for features in (
        create_model("halonet_test", features_only=True, out_indices=(0, 2)),
        FeatureExtractWrapper(create_model("halonet_test"), (0, 2)),
    ):
        helpers.load_model_checkpoint(features, str(tmp_path / "x.ckpt"))
        weights = arrays_of(network)
        for name, value in arrays_of(features).items():
            np.testing.assert_array_equal(value, weights[name])


def test_masks_of_dropped_paths_are_no_weights(tmp_path):
    def make(*more: nn.Cell) -> nn.Cell:
        return nn.SequentialCell([nn.Dense(2, 3), *more])

    ms.save_checkpoint(make(layers.DropPath(0.5)), str(tmp_path / "x.ckpt"))
    helpers.load_model_checkpoint(make(), str(tmp_path / "x.ckpt"))
    ms.save_checkpoint(make(), str(tmp_path / "x.ckpt"))
    helpers.load_model_checkpoint(make(layers.DropPath(0.5)), str(tmp_path / "x.ckpt"))


def test_small_helpers(tmp_path, monkeypatch):
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path))
    assert helpers.get_checkpoint_download_root() == str(tmp_path / "weights")
    config = ConfigDict(depth=3)
    config.width = 5
    assert (config.depth, config["width"], config.other) == (3, 5, None)
    assert [make_divisible(v, 8) for v in (1, 11, 12, 20, 100)] == [8, 16, 16, 24, 104]
    assert make_divisible(10, 8, 32) == 32 and make_divisible(3.5, 1) == 4
    for arguments, name in (((10, 0), "divisor"), ((10, 1.5), "divisor"), ((0,), "value"), (("10",), "value")):
        with pytest.raises(UserError, match=rf"make_divisible: {name} .* must be"):
            make_divisible(*arguments)


def test_layers_where_mindcv_has_them():
    assert layers.DropPath is drop_path.DropPath and layers.Identity is identity.Identity
    assert layers.GlobalAvgPooling is pooling.GlobalAvgPooling
    assert layers.Conv2dNormActivation is conv_norm_act.Conv2dNormActivation
    arguments = "in_channels out_channels kernel_size stride pad_mode padding dilation groups norm activation has_bias"
    assert list(inspect.signature(layers.Conv2dNormActivation).parameters)[:11] == arguments.split()
    arguments = "in_channels rd_ratio rd_channels rd_divisor norm act_layer gate_layer"
    for kind in (squeeze_excite.SqueezeExcite, squeeze_excite.SqueezeExciteV2):
        assert list(inspect.signature(kind).parameters) == arguments.split()


def test_layers_compute_what_they_say():
    x = images(8)
    assert pooling.GlobalAvgPooling()(x).shape == (2, 8)
    np.testing.assert_allclose(
        pooling.GlobalAvgPooling(True)(x).asnumpy(), x.asnumpy().mean((2, 3), keepdims=True), atol=1e-6
    )
    for stride, dilation in ((1, 1), (2, 1), (1, 2)):
        cell = layers.Conv2dNormActivation(8, 4, stride=stride, dilation=dilation, activation=None)
        assert cell(x).shape == (2, 4, 16 // stride, 16 // stride)
    assert "features.0.bias" in layers.Conv2dNormActivation(8, 4, norm=None).parameters_dict()
    assert layers.Conv2dNormActivation(8, 4, pad_mode="valid")(x).shape == (2, 4, 14, 14)
    sigmoid = 1 / (1 + np.exp(-x.asnumpy()))
    np.testing.assert_allclose(layers.Swish()(x).asnumpy(), x.asnumpy() * sigmoid, atol=1e-6)
    first, second = squeeze_excite.SqueezeExcite(8, norm=nn.BatchNorm2d), squeeze_excite.SqueezeExciteV2(8)
    assert set(first.parameters_dict()) > {"conv_reduce.weight", "conv_expand.bias", "bn.gamma"}
    assert second.conv_reduce.weight.shape == (8, 8)
    for name in ("reduce", "expand"):
        ours, theirs = getattr(first, f"conv_{name}"), getattr(second, f"conv_{name}")
        theirs.weight.set_data(Tensor(ours.weight.asnumpy()[:, :, 0, 0]))
        theirs.bias.set_data(ours.bias.value())
    np.testing.assert_allclose(first.set_train(False)(x).asnumpy(), second(x).asnumpy(), atol=2e-5)


def test_drop_path_as_mindcvs():
    x = Tensor(np.ones((400, 2, 3), np.float32))
    for scale_by_keep, kept in ((True, 2.0), (False, 1.0)):
        drop = layers.DropPath(drop_prob=0.5, scale_by_keep=scale_by_keep).set_train()
        values = drop(x).asnumpy()
        assert set(np.unique(values)) == {0.0, kept} and 0.4 < (values > 0).mean() < 0.6
    np.testing.assert_array_equal(layers.DropPath().set_train()(x).asnumpy(), x.asnumpy())
    with pytest.raises(UserError, match=r"DropPath: drop_prob 1.0 must be at least 0 and below 1"):
        layers.DropPath(1.0)
