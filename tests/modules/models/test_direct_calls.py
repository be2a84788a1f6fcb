"""Each registered function called by itself, with every option of create_model."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from mindcv_halo import FeatureExtractor, HaloNet, create_model, list_models, model_entrypoint
from mindcv_halo.errors import UserError
from mindcv_halo.models import halonet
from mindcv_halo.models.halonet import default_cfgs
from mindcv_halo.models.specs import DIALECTS

# Models whose functions take conv_stages, and the stages in which they have attention.
WITH_STAGES = {**{f"halonet_h{number}": range(1, 5) for number in range(8)}, "halonet_mini": (3, 4)}


class Recorder:
    """In place of the network, which would take seconds to build for some models."""

    def __init__(self, spec, num_classes, in_channels, **options):
        self.spec, self.num_classes, self.in_channels, self.options = spec, num_classes, in_channels, options


# What to give, and what of the recorder tells that it arrived.
WORKING = {
    "num_classes": (np.int64(7), lambda made: made.num_classes == 7),
    "in_channels": (np.int32(1), lambda made: made.in_channels == 1),
    "drop_rate": (0.1, lambda made: made.options["drop_rate"] == 0.1),
    "drop_path_rate": (0.1, lambda made: made.options["drop_path_rate"] == 0.1),
    "dialect": ("keras", lambda made: made.options["dialect"] == "keras"),
    "mask_padding": (True, lambda made: made.options["mask_padding"]),
    "image_size": (np.int64(64), lambda made: made.options["image_size"] == 64),
    "block_size": (np.int64(6), lambda made: made.spec.halo.block_size == 6),
    "halo_size": (np.int64(4), lambda made: made.spec.halo.halo_size == 4),
}
REFUSED = {
    "pretrained": (True, r"pretrained=True is for create_model; call create_model\('NAME', ...\) with it"),
    "checkpoint_path": ("x.ckpt", r"checkpoint_path='x.ckpt' is for create_model"),
    "ema": (True, r"ema=True is for create_model"),
    "auto_mapping": (True, r"auto_mapping=True is for create_model"),
    "reset_head": (True, r"reset_head=True is for create_model"),
    "resize_pos": (True, r"resize_pos=True is for create_model"),
    "out_indices": ((1, 2), r"out_indices \(1, 2\) is for features_only=True"),
}
BY_MODEL = {"conv_stages", "features_only"}  # tests of their own


def test_no_option_is_left_out():
    options = set(inspect.signature(create_model).parameters) - {"model_name", "unknown"}
    assert options == WORKING.keys() | REFUSED.keys() | BY_MODEL


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(halonet, "HaloNet", Recorder)


@pytest.mark.parametrize("name", list_models())
def test_options_that_work(recorded, name):
    function = model_entrypoint(name)
    for option, (value, arrived) in WORKING.items():
        assert arrived(function(**{option: value})), option
        if option not in ("num_classes", "in_channels"):
            assert (
                function(**{option: None}).spec == function().spec
            )  # as in create_model, where None is the model's own
    made = function(**{option: value for option, (value, _) in WORKING.items()})
    assert all(arrived(made) for _, arrived in WORKING.values())
    assert function().options["image_size"] == default_cfgs[name]["input_size"][1:]
    assert made.pretrained_cfg == made.default_cfg == default_cfgs[name]
    if name in WITH_STAGES:
        made = function(conv_stages=np.array(WITH_STAGES[name]))
        assert "A" not in "".join(stage.pattern for stage in made.spec.stages)


@pytest.mark.parametrize("name", list_models())
def test_options_that_are_refused(recorded, name):
    function = model_entrypoint(name)
    for option, (value, message) in REFUSED.items():
        with pytest.raises(UserError, match=message.replace("NAME", name)):
            function(**{option: value})
        if option != "out_indices":
            assert function(**{option: None}) and function(**{option: False})  # as who hands on what he was given
    with pytest.raises(UserError, match=rf"unknown option of {name} 'colour'; known: "):
        function(colour=3)
    with pytest.raises(UserError, match=rf"unknown option of {name} 'drop_rat'; nearest: drop_rate"):
        function(drop_rat=0.1)
    with pytest.raises(
        UserError, match=r"conv_stages \(?9,?\)? " + ("must name" if name in WITH_STAGES else "is for the H")
    ):
        function(conv_stages=(9,))
    assert function(conv_stages=()) and function(conv_stages=None)


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": None}, {"num_classes": "7"}, {"num_classes": -1}, {"num_classes": 7.0}, {"num_classes": True},
        {"in_channels": 0}, {"in_channels": None}, {"drop_rate": "0.1"}, {"drop_path_rate": 1}, {"dialect": "torch"},
        {"dialect": 5}, {"mask_padding": "False"}, {"image_size": 0}, {"image_size": "64"}, {"image_size": (64,)},
        {"block_size": 0}, {"block_size": 2.0}, {"halo_size": -1}, {"features_only": "no"},
        {"features_only": True, "out_indices": (7,)}, {"features_only": True, "out_indices": None},
        {"features_only": True, "num_classes": "7"}, {"features_only": True, "drop_rate": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_mean_nothing(options):
    """As create_model refuses them, and with the same words."""
    with pytest.raises(UserError) as direct:
        model_entrypoint("halonet_test")(**options)
    with pytest.raises(UserError) as factory:
        create_model("halonet_test", **options)
    option, value = list(options.items())[-1]
    for raised in (direct, factory):
        assert option in str(raised.value) and str(value) in str(raised.value)


def test_what_is_built():
    """A real one, beside that of create_model."""
    options = {"num_classes": 5, "dialect": "mindcv", "mask_padding": True, "block_size": 3}
    direct, other = model_entrypoint("halonet_test")(**options), create_model("halonet_test", **options)
    for name in ("spec", "dialect", "mask_padding", "built_size", "num_classes", "default_cfg"):
        assert getattr(direct, name) == getattr(other, name), name
    assert type(direct) is HaloNet and direct.dialect is DIALECTS["mindcv"]
    assert not isinstance(direct.stages[3][0].mix.attention.mask_padding, str)
    features = model_entrypoint("halonet_test")(features_only=True, out_indices=[np.int64(1), -1], num_classes=5)
    assert type(features) is FeatureExtractor and features.out_indices == (1, 4)
    assert features.default_cfg == other.default_cfg
