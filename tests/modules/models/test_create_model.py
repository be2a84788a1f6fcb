"""create_model, the registry, and what a network offers."""

from __future__ import annotations

import inspect
import logging
from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore.nn.utils import no_init_parameters
from support.small_networks import SMALL, shorten

from mindcv_halo import (
    FeatureExtractor,
    HaloNet,
    create_model,
    get_pretrained_cfg,
    get_pretrained_cfg_value,
    has_pretrained_cfg_key,
    is_model,
    is_model_in_modules,
    is_model_pretrained,
    list_models,
    list_modules,
)
from mindcv_halo.errors import UserError
from mindcv_halo.models import halonet, model_factory
from mindcv_halo.models.halonet import HALOBOTNET_50T, HALONET_H0, HALONET_TEST, HALOREGNETZ_B
from mindcv_halo.models.specs import with_conv_stages
from mindcv_halo.models.weights import save_network

# A warning of Python's would reach the user with the path of a source file.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def images(batch: int = 2, channels: int = 3, size: tuple[int, int] = (64, 64)) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((batch, channels, *size)).astype(np.float32))


def test_registry_functions():
    assert list_modules() == ["halonet"]
    assert list_models() == sorted(halonet.SPECS) == halonet.__all__
    assert list_models("halonet_h?", exclude_filters=["*7", "*6"]) == [f"halonet_h{number}" for number in range(6)]
    assert list_models(module="resnet") == []
    assert list_models(pretrained=True, filter="halonet_[25]*t") == ["halonet_26t", "halonet_50t"]
    assert is_model("halonet_50t") and is_model("HaloNetH4") and not is_model("resnet50")
    assert is_model_in_modules("halonet50ts", "halonet") and not is_model_in_modules("halonet_50t", ["vit"])
    assert is_model_pretrained("halonet_50t") and not is_model_pretrained("halonet_h1")
    assert has_pretrained_cfg_key("halonet_50t", "url") and not has_pretrained_cfg_key("halonet_50t", "colour")
    assert get_pretrained_cfg_value("haloregnetz_b", "mean") == (127.5, 127.5, 127.5)
    assert get_pretrained_cfg_value("halonet_50t", "colour") is None


def test_a_cfg_is_a_copy():
    get_pretrained_cfg("halonet_50t")["url"] = ""
    assert get_pretrained_cfg("halonet50ts")["url"]


@pytest.mark.parametrize("name", ["halonet_26t", "halonet_h7", "haloregnetz_b"])
def test_every_cfg_has_what_a_pipeline_needs(name):
    cfg = get_pretrained_cfg(name)
    assert {"input_size", "mean", "std", "interpolation", "crop_pct", "first_conv", "classifier"} <= cfg.keys()
    with no_init_parameters():
        names = create_model(name).parameters_dict()
    assert f"{cfg['first_conv']}.weight" in names and f"{cfg['classifier']}.weight" in names


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (16, 16)])
def test_any_image_size_works(pynative, size):
    network = create_model("halonet_test", num_classes=5).set_train(False)
    x = images(size=size)
    assert network(x).shape == (2, 5)
    assert network.forward_features(x).shape == (2, 96, -(-size[0] // 16), -(-size[1] // 16))


def test_any_image_size_works_compiled(graph):
    assert HaloNet(SMALL, 5).set_train(False)(images(size=(37, 50))).shape == (2, 5)


def test_logits_are_the_head_of_the_features(pynative):
    network = create_model("halonet_test", num_classes=5).set_train(False)
    x = images()
    np.testing.assert_array_equal(network.forward_head(network.forward_features(x)).asnumpy(), network(x).asnumpy())


def test_features_only_compiled(graph):
    maps = FeatureExtractor(HaloNet(SMALL), (0, 2)).set_train(False)(images(size=(64, 48)))
    assert [item.shape for item in maps] == [(2, 8, 16, 12), (2, 16, 8, 6)]


def test_features_only(pynative):
    x = images(size=(64, 48))
    features = create_model("halonet_test", features_only=True).set_train(False)
    maps = features(x)
    assert features.strides == [2, 2, 4, 8, 16]
    assert features.out_channels == [16, 32, 48, 64, 96]
    assert [item.shape for item in maps] == [
        (2, channels, 64 // stride, 48 // stride)
        for channels, stride in zip(features.out_channels, features.strides, strict=True)
    ]
    some = create_model("halonet_test", features_only=True, out_indices=[1, 3])
    assert some.out_channels == [32, 64] and len(some.set_train(False)(x)) == 2
    assert not any(name.startswith(("stages.3", "classifier")) for name in some.parameters_dict())


def test_features_are_those_of_the_network():
    network = create_model("halonet_test").set_train(False)
    features = create_model("halonet_test", features_only=True).set_train(False)
    ours = network.parameters_dict()
    for name, parameter in features.parameters_dict().items():
        parameter.set_data(ours[name].value())
    x = images()
    np.testing.assert_array_equal(features(x)[-1].asnumpy(), network.forward_features(x).asnumpy())


def test_reset_classifier(pynative):
    """In graphs: test_timm_surface.py."""
    network = create_model("halonet_test", num_classes=5).set_train(False)
    assert network(images()).shape == (2, 5)
    for num_classes, width in ((7, 7), (0, 96), (5, 5)):
        network.reset_classifier(num_classes)
        assert network(images()).shape == (2, width)
    assert {"classifier.weight", "classifier.bias"} <= network.parameters_dict().keys()


def test_reset_classifier_inside_another_cell():
    class Wrapper(nn.Cell):
        def __init__(self):
            super().__init__()
            self.backbone = create_model("halonet_test", num_classes=5)

    wrapper = Wrapper()
    names = set(wrapper.parameters_dict())
    wrapper.backbone.reset_classifier(7)
    assert set(wrapper.parameters_dict()) == names


def test_pooled_features_without_a_head():
    assert create_model("halonet_test", num_classes=0).set_train(False)(images()).shape == (2, 96)


def test_another_number_of_channels():
    network = create_model("halonet_test", in_channels=1).set_train(False)
    assert network(images(channels=1)).shape == (2, 1000)


def test_conv_stages_replace_attention():
    spec = with_conv_stages(HALONET_H0, (1, 2))
    assert [stage.pattern for stage in spec.stages] == ["CCC", "CCC", "AAAAAAA", "AAA"]
    with no_init_parameters():
        network = create_model("halonet_h0", conv_stages=(1, 2, 3))
    attentions = {name.split(".")[1] for name in network.parameters_dict() if ".attention." in name}
    assert attentions == {"3"}


def test_drop_rates_reach_the_network():
    network = create_model("halonet_test", drop_rate=0.2, drop_path_rate=0.4)
    assert network.dropout.scale == pytest.approx(1 / 0.8)
    drops = [block.drop_path for stage in network.stages for block in stage]
    assert isinstance(drops[0], nn.Identity)  # the first block's rate is 0
    assert [1 - 1 / drop.scale for drop in drops[1:]] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_mask_padding_reaches_the_attention():
    networks = [create_model("halonet_test", mask_padding=mask).set_train(False) for mask in (False, True)]
    for ours, theirs in zip(*(network.get_parameters() for network in networks), strict=True):
        if ours.name.endswith("expand.norm.gamma"):
            ours.set_data(ops.ones_like(ours))  # zero at first, so that a block starts as its shortcut
        theirs.set_data(ours.value())
    plain, masked = (network(images()).asnumpy() for network in networks)
    assert np.isfinite(masked).all() and not np.allclose(plain, masked, atol=1e-6)


def test_layer_ids_rise_from_stem_to_head():
    depths = create_model("halonet_test").layer_ids()
    assert depths["stem.conv1.conv.weight"] == 0
    assert depths["stages.0.0.reduce.conv.weight"] == 1
    assert depths["stages.3.0.expand.norm.gamma"] == 5
    assert depths["classifier.bias"] == 6


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model_name": "halonet_50"}, r"^unknown model 'halonet_50'; nearest: halonet_50t"),
        ({"num_clases": 5}, r"^unknown create_model option 'num_clases'; nearest: num_classes"),
        ({"num_classes": -1}, r"num_classes -1 must be a whole number of at least 0"),
        ({"num_classes": 2.5}, r"num_classes 2.5 must be"),
        ({"num_classes": None}, r"halonet_test: num_classes None must be a number; count the classes, or leave it out"),
        ({"num_classes": "10"}, r"num_classes '10' must be"),
        ({"num_classes": "10", "features_only": True}, r"num_classes '10' must be"),
        ({"num_classes": True}, r"num_classes True must be"),
        ({"num_classes": 10.0}, r"num_classes 10.0 must be"),
        ({"num_classes": np.array(10)}, r"num_classes array\(10\) must be"),
        ({"in_channels": None}, r"in_channels None must be"),
        ({"in_channels": "3"}, r"in_channels '3' must be"),
        ({"in_channels": True}, r"in_channels True must be"),
        ({"in_channels": 3.0}, r"in_channels 3.0 must be"),
        ({"drop_rate": True}, r"drop_rate True must be"),
        ({"pretrained": "False"}, r"pretrained 'False' must be True or False"),
        ({"features_only": "no"}, r"features_only 'no' must be True or False"),
        ({"ema": 1}, r"ema 1 must be True or False"),
        ({"reset_head": "False"}, r"reset_head 'False' must be True or False"),
        ({"auto_mapping": 0}, r"auto_mapping 0 must be True or False"),
        ({"resize_pos": "True"}, r"resize_pos 'True' must be True or False"),
        ({"image_size": True}, r"image_resize \(image_size\) True must be"),
        ({"model_name": None}, r"^unknown model 'None'"),
        ({"dialect": 5}, r"unknown dialect '5'"),
        ({"drop_rate": "0.1"}, r"drop_rate '0.1' must be"),
        ({"mask_padding": "False"}, r"mask_padding 'False' must be True or False"),
        ({"model_name": "halobotnet_50t", "image_size": 256.0}, r"image_resize \(image_size\) 256.0 must be"),
        ({"model_name": "halonet_h1", "conv_stages": (True,)}, r"conv_stages \(True,\) must name stages"),
        ({"features_only": True, "out_indices": 5}, r"out_indices \(5,\)"),
        ({"features_only": True, "out_indices": (1, "a")}, r"out_indices \(1, 'a'\) must be a rising sequence"),
        ({"in_channels": 0}, r"in_channels 0 must be a whole number of at least 1"),
        ({"drop_rate": 1.0}, r"drop_rate 1.0 must be at least 0 and below 1"),
        ({"drop_path_rate": -0.1}, r"drop_path_rate -0.1 must be"),
        ({"dialect": "torch"}, r"unknown dialect 'torch'"),
        ({"conv_stages": 1}, r"conv_stages \(1,\) is for the H models and halonet_mini only"),
        ({"conv_stages": (1,)}, r"conv_stages \(1,\) is for the H models and halonet_mini only"),
        (
            {"model_name": "halonet_h1", "conv_stages": (5,)},
            r"conv_stages \(5,\) must name stages out of \(1, 2, 3, ",
        ),
        ({"model_name": "halonet_h1", "conv_stages": (1, 1)}, r"each at most once"),
        ({"model_name": "halonet_mini", "conv_stages": (2, 3)}, r"\(2, 3\): stage 2 has no attention; leave 2 out"),
        ({"features_only": True, "out_indices": (4, 1)}, r"out_indices \(4, 1\) must be a rising sequence"),
        ({"features_only": True, "out_indices": (5,)}, r"out_indices \(5,\)"),
        ({"model_name": "halobotnet_50t", "image_size": 0}, r"image_resize \(image_size\) 0 must be"),
        ({"model_name": "halonet_h1", "pretrained": True}, r"no weights of this model have been published"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(UserError, match=message), no_init_parameters():
        create_model(**{"model_name": "halonet_test", **options})


# Of each option of create_model: a value and surroundings in which nothing would come of it. None: there are none.
IDLE = {
    "model_name": None,
    "num_classes": [{"num_classes": 5, "features_only": True}],
    "pretrained": [],  # checkpoint_path takes its place, which the log says; see below
    "in_channels": None,
    "checkpoint_path": None,
    "ema": [{"ema": True}, {"ema": True, "model_name": "halonet_50t", "pretrained": True}],
    "auto_mapping": [{"auto_mapping": True}, {"auto_mapping": True, "features_only": True}],
    "features_only": None,
    "out_indices": [{"out_indices": (1, 2)}, {"out_indices": (0, 1, 2, 3), "features_only": False}],
    "drop_rate": [{"drop_rate": 0.1, "features_only": True}],
    "drop_path_rate": None,
    "dialect": None,
    "mask_padding": [{"mask_padding": True, "model_name": "halonet_h0", "conv_stages": (1, 2, 3, 4)}],
    "image_size": [{"image_size": 64}, {"image_size": (64, 96), "num_classes": 5}],
    "conv_stages": [{"conv_stages": (1,)}],
    "block_size": [{"block_size": 4, "model_name": "halonet_h0", "conv_stages": (1, 2, 3, 4)}],
    "halo_size": [{"halo_size": 4, "model_name": "halonet_h0", "conv_stages": (1, 2, 3, 4)}],
    "reset_head": [{"reset_head": True}, {"reset_head": True, "num_classes": 5}],
    "resize_pos": [{"resize_pos": True}, {"resize_pos": True, "block_size": 4}],
    "unknown": [{"colour": "red"}],
}


def test_a_setting_that_nothing_would_come_of(monkeypatch):
    """It is refused, by its name, before anything is fetched; without it, or switched off, the rest is taken."""
    assert IDLE.keys() == inspect.signature(create_model).parameters.keys()
    small = replace(
        HALONET_TEST, stages=tuple(replace(stage, pattern="A", num_heads=4) for stage in HALONET_TEST.stages)
    )
    monkeypatch.setattr(halonet, "HALONET_H0", small)
    monkeypatch.setattr(model_factory, "fetch_pretrained", pytest.fail)
    with no_init_parameters():
        for option, cases in IDLE.items():
            for case in cases or ():
                name = "colour" if option == "unknown" else option
                with pytest.raises(UserError, match=rf"\b{name}\b"):
                    create_model(**{"model_name": "halonet_test", **case})
                if "model_name" not in case:  # others take long to build
                    rest = {key: value for key, value in case.items() if key != name}
                    create_model("halonet_test", **rest, **({name: False} if case[name] is True else {}))


def test_settings_are_checked_before_weights_are_fetched(monkeypatch):
    monkeypatch.setattr(model_factory, "fetch_pretrained", pytest.fail)
    for case in (
        *({"drop_rate": 1.5}, {"drop_path_rate": 2}, {"num_classes": -1}, {"in_channels": 0}, {"block_size": 0}),
        *({"halo_size": -1}, {"dialect": "lisp"}, {"conv_stages": (1,)}, {"image_size": 64}, {"image_size": 0}),
        *({"features_only": True, "out_indices": (9,)}, {"features_only": True, "num_classes": 5}, {"ema": True}),
    ):
        with pytest.raises(UserError), no_init_parameters():
            create_model("halonet_26t", pretrained=True, **case)


def test_what_takes_the_place_of_pretrained(monkeypatch, tmp_path):
    lines = []
    monkeypatch.setattr(logging.getLogger("mindcv_halo"), "warning", lines.append)
    save_network(create_model("halonet_test"), tmp_path / "x.ckpt")
    create_model("halonet_test", pretrained=True, checkpoint_path=tmp_path / "x.ckpt")
    assert lines == [f"halonet_test: checkpoint {tmp_path}/x.ckpt takes the place of pretrained=True"]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpys_integers(kind):
    network = create_model("halonet_test", num_classes=kind(7), in_channels=kind(1), drop_rate=np.float32(0.5))
    assert type(network.num_classes) is int and type(network.in_channels) is int
    assert network.set_train(False)(images(channels=1)).shape == (2, 7)
    network.reset_classifier(kind(3))
    assert type(network.num_classes) is int
    with no_init_parameters():
        fixed = create_model("halobotnet_50t", num_classes=0, image_size=(kind(64), kind(96)))
    assert fixed.image_size == (64, 96)
    assert not hasattr(network, "image_size")  # which MindCV's programs read as: this size only


def test_a_size_that_is_fixed_has_a_default():
    with no_init_parameters():
        assert create_model("halobotnet_50t", num_classes=0).image_size == 256


def test_the_signature_is_mindcvs():
    parameters = list(inspect.signature(create_model).parameters.values())
    assert [str(item) for item in parameters[:2]] == ["model_name: 'str'", "num_classes: 'int' = 1000"]
    names = "model_name num_classes pretrained in_channels checkpoint_path ema auto_mapping"
    assert [item.name for item in parameters[:7]] == names.split()


def test_images_that_do_not_fit(mode):
    with pytest.raises(ValueError, match=r"halonet_test: the images' shape \(2, 1, 64, 64\) must be \(batch, 3, "):
        HaloNet(replace(SMALL, name="halonet_test"))(images(channels=1))
    with pytest.raises(ValueError, match=r"halobotnet_50t: images of 64x64, but the model was built for 256x256"):
        HaloNet(shorten(HALOBOTNET_50T))(images())


def test_the_fixed_size_is_an_option(monkeypatch):
    monkeypatch.setattr(halonet, "HALOBOTNET_50T", shorten(HALOBOTNET_50T))
    network = create_model("halobotnet_50t", num_classes=3, image_size=(64, 96)).set_train(False)
    assert network(images(size=(64, 96))).shape == (2, 3)


def test_a_block_starts_as_its_shortcut(pynative):
    """Where there is one; a block without is to pass something on."""
    block = create_model("halonet_test").set_train(False).stages[1][1]
    x = Tensor(np.random.standard_normal((2, 48, 8, 8)).astype(np.float32))
    np.testing.assert_array_equal(block(x).asnumpy(), block.act(x).asnumpy())
    without = HaloNet(shorten(HALOREGNETZ_B)).stages[1][0]
    assert not without.has_shortcut
    assert (without.expand.norm.gamma.asnumpy() == 1).all()
