"""Models of the user's own: in a script, a notebook or a package, with and without what MindCV's modules have."""

from __future__ import annotations

import functools
import logging
import sys
import types

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from support.weight_files import arrays_of, make_network

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
    model_entrypoint,
    register_model,
)
from mindcv_halo.config import make_recipe
from mindcv_halo.engine.setup import build_network, resolve_transform
from mindcv_halo.errors import UserError
from mindcv_halo.models import registry
from mindcv_halo.models.features import FeatureExtractWrapper
from mindcv_halo.models.halonet import HALONET_TEST

OURS = list_models()
PARTIAL_CFGS = [
    None,
    {},
    {"my_net": {}},
    {"my_net": {"num_classes": 10}},
    {"my_net": {"url": ""}},
    {"my_net": {"url": None}},
    {"my_net": {"input_size": (3, 32, 32)}},
    {"other": {"url": "x"}, "other.tag": {}, 5: {}, "my_net": 7},
    "no dict",
]


class MyNet(nn.Cell):
    """What MindCV's users write; a list of what its function was given is kept."""

    def __init__(self, num_classes=1000, in_channels=3, **options):
        super().__init__()
        self.options = options
        self.stem = nn.Conv2d(in_channels, 4, 3, has_bias=False)
        self.body = nn.SequentialCell([nn.Conv2d(4, 6, 3, 2), nn.BatchNorm2d(6)])
        self.head = nn.Dense(6, num_classes)
        self.feature_info = [
            {"chs": 4, "reduction": 1, "name": "stem"},
            {"chs": 6, "reduction": 2, "name": "body"},
        ]

    def construct(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


@pytest.fixture(autouse=True)
def registered(monkeypatch) -> None:
    """What a test registers is gone with it."""
    monkeypatch.setattr(registry, "_models", dict(registry._models))


FUNCTION = """
@register_model
def my_net(pretrained=False, num_classes=1000, in_channels=3, **kwargs):
    return MyNet(num_classes=num_classes, in_channels=in_channels, **kwargs)
"""


def define(module: str, cfgs: object = None, source: str = FUNCTION) -> None:
    """Run the source of a module of the user's that registers a model."""
    scope = {"__name__": module, "register_model": register_model, "MyNet": MyNet, "HaloNet": HaloNet}
    exec(source, scope | ({} if cfgs is None else {"default_cfgs": cfgs}))


def walk(name: str, module: str) -> None:
    """Every function of the registry, for the model and for all others."""
    assert set(list_models()) == {*OURS, name} and name in list_models("my*") and name in list_models(module=module)
    assert name not in list_models(pretrained=True) and name not in list_models(exclude_filters=["my*"])
    assert list_models(filter=["my_*", "halonet_test"], exclude_filters=None) == sorted([name, "halonet_test"])
    assert module in list_modules() and "halonet" in list_modules()
    assert is_model(name) and is_model("halonet50ts") and is_model("halonet_50t.mindcv")
    assert callable(model_entrypoint(name)) and model_entrypoint("halonet_50t").__name__ == "halonet_50t"
    assert is_model_in_modules(name, [module]) and not is_model_in_modules(name, "halonet")
    assert not is_model_pretrained(name) and is_model_pretrained("halonet_50t")
    assert get_pretrained_cfg_value(name, "colour") is None and not has_pretrained_cfg_key(name, "colour")
    assert get_pretrained_cfg("halonet_50t")["url"]
    with pytest.raises(KeyError, match="unknown model 'nothing'"):
        model_entrypoint("nothing")


@pytest.mark.parametrize("module", ["__main__", "nets", "my_package.nets"])
@pytest.mark.parametrize("cfgs", PARTIAL_CFGS, ids=str)
def test_with_and_without_default_cfgs(module, cfgs, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "default_cfgs", None, raising=False)
    define(module, cfgs)
    walk("my_net", module.rpartition(".")[2])
    own = cfgs.get("my_net", {}) if isinstance(cfgs, dict) else {}
    assert get_pretrained_cfg("my_net") == (own if isinstance(own, dict) else {})
    network = create_model("my_net", num_classes=np.int64(7), in_channels=1, drop_rate=None)
    assert isinstance(network, MyNet) and network.options == {}
    assert network.head.out_channels == 7 and network.stem.in_channels == 1
    recipe = make_recipe({"model": "my_net", "device_target": "CPU"})
    transform = resolve_transform(recipe)
    assert transform["image_resize"] == (32 if own == {"input_size": (3, 32, 32)} else 224)
    assert (transform["interpolation"], transform["crop_pct"]) == ("bilinear", 0.875)
    assert isinstance(build_network(recipe, 5), MyNet)


def test_a_cfg_that_says_more():
    define("nets", {"my_net": {"url": "https://example.org/my.ckpt", "mean": (1.0,) * 3}, "my_net.big": {"url": "x"}})
    assert is_model_pretrained("my_net") and is_model("my_net.big") and not is_model("my_net.small")
    assert "my_net.big" in list_models("my_net*", pretrained=True)
    assert get_pretrained_cfg_value("my_net.big", "url") == "x"
    copy = get_pretrained_cfg("my_net")
    copy["mean"] = None
    assert get_pretrained_cfg("my_net")["mean"] == (1.0,) * 3


@pytest.mark.parametrize("kind", ["function", "class", "class without methods"])
def test_a_model_that_says_all_of_itself(kind):
    facts = {
        **{"cfg": {"input_size": (3, 32, 32)}, "tags": {"big": {"url": "x"}, "hub": {"hub_id": "timm/net.best"}}},
        **{"aliases": ("MyOwn", "mine")},
    }

    def my_net(num_classes=1000):
        return MyNet(num_classes)

    class Named(MyNet):
        pass

    thing = {"function": my_net, "class": type("my_net", (MyNet,), {"two": lambda self: 2})}.get(kind, Named)
    thing.__name__ = "my_net"
    assert register_model(**facts)(thing) is thing
    assert create_model("mine", num_classes=3).head.out_channels == 3
    assert registry.complete_cfg("MyOwn")["input_size"] == (3, 32, 32) == get_pretrained_cfg("my_net")["input_size"]
    assert get_pretrained_cfg("my_net.big") == {"url": "x"} and list_models("my*", pretrained=True) == ["my_net.big"]
    assert registry.list_aliases("my_net") == ["MyOwn", "mine", "net.best"]
    assert get_pretrained_cfg("net.best") == {"hub_id": "timm/net.best"}
    register_model(thing)  # once more, without
    assert get_pretrained_cfg("my_net") == {} and not is_model("mine") and not is_model("my_net.big")


def test_a_class_finds_the_table_beside_it():
    source = "@register_model\nclass my_net(MyNet):\n    def work(self): ...\n"
    define("nets", {"my_net": {"input_size": (3, 32, 32)}}, source)
    assert get_pretrained_cfg("my_net") == {"input_size": (3, 32, 32)}


@pytest.mark.parametrize(
    "cfg, message",
    [
        ({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, r"std \(0.229, .* of 0 to 255; multiply"),
        ({"input_size": 224}, r"input_size 224 in its default_cfg must be \(channels, height, width\)"),
        ({"input_size": (3, 224)}, r"input_size \(3, 224\) in its default_cfg must be"),
        ({"input_size": (3, 224, 0)}, r"input_size \(3, 224, 0\) must be whole numbers of at least 1"),
        ({"input_size": (3, 224, "224")}, r"input_size \(3, 224, '224'\) must be whole numbers"),
        ({"input_size": (3, True, 224)}, r"input_size \(3, True, 224\) must be whole numbers"),
        ({"num_classes": "10"}, r"num_classes '10' must be a whole number"),
        ({"fixed_input_size": "False"}, r"fixed_input_size 'False' must be True or False"),
        ({"crop_pct": "0.9"}, r"my_net, its default_cfg: crop_pct '0.9' must be a number above 0"),
        ({"crop_pct": 87.5}, r"crop_pct 87.5 must be at most 1"),
        ({"interpolation": 3}, r"interpolation 3 must be a text"),
        ({"url": 5}, r"url 5 must be a text"),
        ({"mean": "127.5"}, r"mean '127.5' must be a number for each channel"),
        ({"mean": 127.5}, r"mean 127.5 must be a number for each channel"),
        ({"mean": (1, None, 2)}, r"mean \(1, None, 2\) must be a number for each channel"),
        ({"std": ()}, r"std \(\) must be a number for each channel"),
        ({"mean": (1.0, 2.0)}, r"mean \(1.0, 2.0\) must have as many numbers as std"),
    ],
)
def test_a_cfg_that_cannot_be_meant(cfg, message):
    define("nets", {"my_net": cfg})
    with pytest.raises(UserError, match=message):
        resolve_transform(make_recipe({"model": "my_net"}))
    # It breaks nothing for other models.
    assert (
        "my_net" in list_models() and "my_net" not in list_models(pretrained=True) and not is_model_pretrained("my_net")
    )
    assert isinstance(create_model("halonet_test"), HaloNet)


def test_the_last_of_a_name_counts(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(logging.getLogger("mindcv_halo"), "warning", lines.append)
    define("nets")
    define("nets")  # a cell of a notebook that is run again
    assert lines == []
    define("others")
    assert lines == ["register_model: my_net of nets gives way to that of others"]
    assert list_models(module="nets") == [] and list_models(module="others") == ["my_net"]


@pytest.mark.parametrize("name", ["My Net", "MyNet-2", "my.net", "halonet50ts", "résnet"])
def test_names_as_they_come(name):
    def function(pretrained=False, num_classes=1000, in_channels=3):
        return MyNet(num_classes, in_channels)

    function.__name__ = name
    assert register_model(function) is function
    assert is_model(name) and name in list_models() and model_entrypoint(name) is function
    assert isinstance(create_model(name, num_classes=3), MyNet)
    assert get_pretrained_cfg(name) == {} and isinstance(create_model("halonet_test"), HaloNet)


def test_a_class_and_a_function_of_few_arguments():
    register_model(MyNet)
    assert create_model("MyNet", num_classes=4, width=5).options == {"width": 5}
    define("nets", source="@register_model\ndef my_net(num_classes=10):\n    return MyNet(num_classes)\n")
    assert create_model("my_net", num_classes=4).head.out_channels == 4
    assert create_model("my_net").head.out_channels == 1000  # as in MindCV, whatever the function's own default is
    for options in ({"in_channels": 1}, {"drop_rate": 0.1}, {"pretrained": True}, {"width": 5}):
        (option,) = options
        with pytest.raises(UserError, match=rf"my_net: {option} .*, but its function takes num_classes; leave it out"):
            create_model("my_net", **options)


@pytest.mark.parametrize("thing", [functools.partial(MyNet), "my_net", None, 5, lambda: MyNet()])
def test_what_has_no_name(thing):
    with pytest.raises(UserError, match=r"register_model: .* must be a function or a class with a name"):
        register_model(thing)


@pytest.mark.parametrize("name", ["a/b", "a\\b", " my_net", "my_net ", "my\nnet", "my\0net", "../my_net"])
def test_names_that_are_no_files(name):
    """A run's checkpoints are called after the model."""

    def function(num_classes=1000):
        return MyNet(num_classes)

    function.__name__ = name
    with pytest.raises(UserError, match=r"register_model: the name .* becomes that of files; take out"):
        register_model(function)
    assert name not in list_models()


def test_what_does_not_tell_its_arguments():
    with pytest.raises(UserError, match=r"register_model: dict does not tell its arguments; wrap it in a function"):
        register_model(dict)


@pytest.mark.parametrize(
    "source, message",
    [
        (
            "def my_net(width, num_classes=10):\n    return MyNet(num_classes)",
            r"my_net: missing .* 'width' when it is cal",
        ),
        (
            "def my_net(num_classes, /):\n    return MyNet(num_classes)",
            r"my_net: .* positional.* let them be given by name",
        ),
        (
            "def my_net(num_classes=10):\n    MyNet(num_classes)",
            r"my_net: its function returned None, which is no network",
        ),
        (
            "def my_net(num_classes=10):\n    return MyNet",
            r"my_net: its function returned <class .*; let it return an nn",
        ),
    ],
)
def test_functions_that_cannot_be_called_or_return_nothing(source, message):
    define("nets", source=f"@register_model\n{source}\n")
    with pytest.raises(UserError, match=message):
        create_model("my_net")
    assert isinstance(create_model("halonet_test"), HaloNet)


@pytest.mark.parametrize(
    "arguments", [{"filter": 5}, {"filter": ["a*", 5]}, {"exclude_filters": (None,)}, {"filter": b"a"}]
)
def test_patterns_that_are_no_text(arguments):
    with pytest.raises(UserError, match=r"must be a text, or several"):
        list_models(**arguments)


@pytest.mark.parametrize("name", ["my[net]", "my*net", "my?net", "my-net.v2"])
def test_names_with_wildcards_in_them(name):
    """A pattern is a pattern; the name itself is found by exactly that name."""

    def function(num_classes=1000):
        return MyNet(num_classes)

    function.__name__ = name
    register_model(function)
    assert name in list_models("my*") and name not in list_models("halonet*")
    assert is_model(name) and is_model_in_modules(name, list_modules()) and model_entrypoint(name) is function
    assert isinstance(create_model(name, num_classes=3), MyNet)


def test_a_modules_exports_grow():
    source = "__all__ = ['MyNet']\n" + 2 * FUNCTION + "@register_model\nclass Other(MyNet):\n    def work(self): ...\n"
    module = types.ModuleType("nets")
    vars(module).update(register_model=register_model, MyNet=MyNet)
    exec(source, vars(module))
    assert module.__all__ == ["MyNet", "my_net", "Other"]


def test_a_tag_brings_its_own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path))
    define("nets", {"my_net.big": {"url": "https://example.org/big.ckpt"}})
    (tmp_path / "weights").mkdir()
    published = create_model("my_net")
    ms.save_checkpoint(published, str(tmp_path / "weights" / "big.ckpt"))
    network = create_model("my_net.big", pretrained=True)
    np.testing.assert_array_equal(network.head.weight.asnumpy(), published.head.weight.asnumpy())


def test_options_reach_the_function_and_defaults_do_not():
    define("nets")
    network = create_model("my_net", drop_path_rate=0.1, block_size=4, width=2.0)
    assert network.options == {"drop_path_rate": 0.1, "block_size": 4, "width": 2.0}
    assert create_model("my_net", pretrained=True).options == {}  # the function takes it, and does with it as it likes


def test_a_halonet_of_ones_own(tmp_path):
    asked = []

    @register_model
    def my_net(pretrained=False, num_classes=1000, in_channels=3, **options):
        asked.append(pretrained)
        return HaloNet(HALONET_TEST, num_classes, in_channels, **options)

    path = tmp_path / "x.ckpt"
    ms.save_checkpoint(make_network(), str(path))
    network = create_model("my_net", num_classes=5, checkpoint_path=path, drop_rate=0.1, dialect="keras")
    assert network.dialect.name == "keras" and network.num_classes == 5
    assert isinstance(create_model("my_net", features_only=True, out_indices=(1, 2)), FeatureExtractor)
    create_model("my_net", pretrained=True)  # of which no cfg tells a url: the function knows
    assert asked[-1] and not any(asked[:-1])


def test_weights_and_features_of_ones_own_network(tmp_path):
    define("nets", {"my_net": {"classifier": "head"}})
    network = create_model("my_net", num_classes=5)
    ms.save_checkpoint(network, str(tmp_path / "x.ckpt"), append_dict={"epoch_num": 3})
    again = create_model("my_net", num_classes=5, checkpoint_path=tmp_path / "x.ckpt")
    np.testing.assert_equal(arrays_of(again), arrays_of(network))
    other = create_model("my_net", num_classes=7, checkpoint_path=str(tmp_path / "x.ckpt"))
    assert other.head.out_channels == 7
    with pytest.raises(
        UserError, match=r"does not fit MyNet: 2 of another shape \(head.bias: \(\d+,\), not \(\d+,\), head"
    ):
        create_model("my_net", num_classes=7, checkpoint_path=str(tmp_path / "x.ckpt"), reset_head=False)
    maps = create_model("my_net", features_only=True, checkpoint_path=str(tmp_path / "x.ckpt"), num_classes=5)
    assert isinstance(maps, FeatureExtractWrapper) and (maps.out_channels, maps.strides) == ([4, 6], [1, 2])
    assert len(maps.set_train(False)(Tensor(np.zeros((1, 3, 8, 8), np.float32)))) == 2
