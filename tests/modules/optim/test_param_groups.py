"""Which parameters decay, how fast each layer learns, and what the factory refuses."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from mindcv_halo.errors import UserError
from mindcv_halo.optim import create_optimizer
from mindcv_halo.optim.param_groups import Group, group_names, layer_scales

AXES = {
    "stem.conv.weight": 4,
    "stem.norm.gamma": 1,
    "stem.norm.beta": 1,
    "stages.0.attention.height_rel": 2,
    "stages.0.attention.width_rel": 2,
    "stages.0.scale": 1,
    "alphabeta.weight": 2,
    "head.bias": 1,
}


def network() -> nn.Cell:
    return nn.SequentialCell(nn.Dense(2, 3), nn.BatchNorm1d(3), nn.Dense(3, 2))


@pytest.mark.parametrize(
    "weight_decay_filter, spared",
    [
        ("disable", set()),
        ("norm_and_bias", {"stem.norm.gamma", "stem.norm.beta", "head.bias"}),
        ("auto", AXES.keys() - {"stem.conv.weight", "alphabeta.weight"}),
    ],
)
def test_weight_decay_filter(weight_decay_filter, spared):
    groups = group_names(AXES, 0.05, weight_decay_filter)
    assert {name for group in groups if group.weight_decay == 0 for name in group.names} == set(spared)
    assert sorted(name for group in groups for name in group.names) == sorted(AXES)


def test_no_group_is_empty():
    assert group_names({"a.weight": 2}, 0.05, "auto") == [Group(("a.weight",), 0.05, 1.0)]
    assert group_names({"a.weight": 2, "a.bias": 1}, 0.0, "auto") == [Group(("a.weight", "a.bias"), 0.0, 1.0)]


def test_layer_scales():
    layers = {"stem": 0, "stage": 1, "head": 3}
    assert layer_scales(["stem", "stage", "head"], layers, 0.5) == {"stem": 0.125, "stage": 0.25, "head": 1.0}
    scales = {"stem": 0.125, "stage": 0.25, "head": 1.0}
    assert [group.lr_scale for group in group_names(dict.fromkeys(layers, 2), lr_scales=scales)] == [0.125, 0.25, 1.0]


def test_order_is_the_models():
    model = network()
    optimizer = create_optimizer(model, "sgd", weight_decay=0.1, weight_decay_filter="auto")
    assert [parameter.name for parameter in optimizer.parameters] == [p.name for p in model.trainable_params()]


def test_everything_decays_when_no_filter_is_set():
    """nn.Optimizer, given a bare list, would spare gamma and beta."""
    optimizer = create_optimizer(network(), "sgd", weight_decay=0.1)
    assert all(optimizer.decay_flags)


@pytest.mark.parametrize("weight_decay_filter", ["disable", "auto"])
def test_group_dicts_pass_and_empty_ones_drop(weight_decay_filter):
    first, second = (Parameter(Tensor(np.ones(2, np.float32)), name=name) for name in "ab")
    groups = [
        {"params": [first], "lr": 0.5},
        {"params": []},
        {"params": [second], "weight_decay": 0.0},
        {"order_params": [second, first]},
    ]
    optimizer = create_optimizer(groups, "sgd", 0.1, weight_decay=0.25, weight_decay_filter=weight_decay_filter)
    assert [parameter.name for parameter in optimizer.parameters] == ["b", "a"]
    np.testing.assert_allclose([rate.asnumpy() for rate in optimizer.get_lr()], [0.1, 0.5], rtol=1e-6)
    assert [float(decay.asnumpy()) for decay in optimizer.get_weight_decay()] == [0.0, 0.25]


def parameters() -> list[Parameter]:
    return network().trainable_params()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"opt": "adamv"}, r"unknown optimizer \(opt\) 'adamv'; nearest: "),
        ({"weight_decay_filter": "norm"}, "unknown weight_decay_filter 'norm'"),
        ({"layer_decay": 0.9}, r"layer_decay needs a model with a layer_ids\(\) method"),
        ({"lr": -1.0}, "lr -1.0 must be a number of at least 0"),
        ({"lr": []}, "lr is an empty list"),
        ({"lr": [0.1, float("nan")]}, "lr nan must be"),
        ({"weight_decay": -0.1}, "weight_decay -0.1 must be a number of at least 0"),
        ({"momentum": 1.0}, "momentum 1.0 must be at least 0 and below 1"),
        ({"loss_scale": 0}, "loss_scale 0 must be a number above 0"),
        (
            {"opt": "lion", "eps": 1e-8},
            "optimizer lion has no eps .*use one of adam, adamw, adan, lamb, nadam, rmsprop",
        ),
        ({"opt": "adamw", "nesterov": True}, r"optimizer adamw has no use_nesterov \(nesterov\)"),
        ({"opt": "sgd", "beta1": 0.9}, "optimizer sgd has no beta1"),
        ({"opt": "adam", "beta2": 1.0}, "beta2 1.0 must lie between 0 and 1"),
        ({"opt": "adam", "eps": 0.0}, "eps 0.0 must be above 0"),
        ({"opt": "nesterov", "momentum": 0}, r"momentum 0: Nesterov's \(use_nesterov, nesterov\) must be above 0"),
        ({"opt": "nadam", "schedule_decay": -1}, "schedule_decay -1 must be at least 0"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UserError, match=message):
        create_optimizer(parameters(), **settings)


def test_refusals_about_parameters():
    with pytest.raises(UserError, match="the optimizer got no parameters"):
        create_optimizer([])
    with pytest.raises(UserError, match="set weight_decay_filter to disable or auto"):
        create_optimizer([{"params": parameters()}], weight_decay_filter="norm_and_bias")
    with pytest.raises(UserError, match=r"layer_ids\(\) lacks b"):
        layer_scales(["a", "b"], {"a": 0}, 0.5)
    with pytest.raises(UserError, match="layer_decay 1.5 must lie above 0 and at most at 1"):
        layer_scales(["a"], {"a": 0}, 1.5)
