"""Every error about weights, and the remedy that it names, tried: what it says to do works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn
from mindspore.nn.utils import no_init_parameters
from safetensors.numpy import save_file
from support.remedies import Case, try_all
from support.weight_files import arrays_of, make_network

from mindcv_halo import create_model
from mindcv_halo.cli import main
from mindcv_halo.engine import convert
from mindcv_halo.models import helpers
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.registry import _models, register_model
from mindcv_halo.models.weights import (
    WeightFile,
    fetch_pretrained,
    load_weights,
    open_weights,
    read_class_names,
    save_network,
    to_timm,
)
from mindcv_halo.models.weights.position_tables import TABLES
from mindcv_halo.models.weights.pretrained import _mirrored

# Raised where no remedy is: each of these has a test of its own.
ELSEWHERE = {
    "cannot be read": "of a disk that fails",
    "which is more than any HaloNet": "of a file of gigabytes",
    "cannot be written": "of a disk that is full",
    "reading {": "of a library that lacks: test_read_foreign.py",
    "checkpoint {}: {}": "what the process that reads torch's files says: test_read_foreign.py",
    "get it anew": "of a damaged file: test_hostile_files.py",
}


network_of = cache(make_network)  # for what leaves it as it is


class Plain(nn.Cell):
    """A network of somebody's own."""

    def __init__(self, num_classes: int = 2):
        super().__init__()
        self.head = nn.Dense(2, num_classes)

    def construct(self, x):
        return self.head(x)


@dataclass(frozen=True)
class Bench:
    """What the cases share: a network of 5 classes, its weights, and a folder."""

    folder: Path
    network: HaloNet
    weights: dict[str, np.ndarray]

    def file(self, weights: dict | None = None, name: str = "x.safetensors", **notes: str) -> str:
        arrays = self.weights if weights is None else weights
        save_file(
            {key: np.ascontiguousarray(value) for key, value in arrays.items()}, self.folder / name, notes or None
        )
        return str(self.folder / name)

    def create(self, weights: dict | str | None = None, **options) -> nn.Cell:
        path = weights if isinstance(weights, str) else self.file(weights)
        with no_init_parameters():
            return create_model("halonet_test", **{"num_classes": 5, "checkpoint_path": path, **options})

    def read(self, weights: dict | str | None = None, **options) -> WeightFile:
        """The first half of `create`."""
        return open_weights(weights if isinstance(weights, str) else self.file(weights), **options)

    def load(self, network: nn.Cell | None = None, **changes) -> None:
        load_weights(network or self.network, {**self.weights, **changes})

    def convert(self, *words: str) -> str:
        assert main(["convert", str(self.folder / "x.safetensors"), str(self.folder / "NEW.ckpt"), *words]) == 0
        return str(self.folder / "NEW.ckpt")

    def below(self, prefix: str) -> dict[str, np.ndarray]:
        return {f"{prefix}{name}": value for name, value in self.weights.items()}

    def averages(self) -> dict[str, np.ndarray]:
        return self.below("ema.")

    def saved(self, class_names: list[str] | None = None, **options) -> str:
        save_network(network_of(**options), self.folder / "own.ckpt", class_names)
        return str(self.folder / "own.ckpt")


BIAS = "classifier.bias"
Q = "stages.1.1.mix.attention.q.weight"
TWO_HEADS = replace(
    HALONET_TEST,
    stages=(HALONET_TEST.stages[0], replace(HALONET_TEST.stages[1], num_heads=2), *HALONET_TEST.stages[2:]),
)


OWN = ("plain", "short", "convolutions", "needy", "lost")  # models that `bench` registers


def own(**parameters: np.ndarray) -> dict[str, np.ndarray]:
    return {"head.weight": np.ones((2, 2), np.float32), "head.bias": np.ones(2, np.float32), **parameters}


def sorts(bench: Bench, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {**bench.weights, **{name: np.ones(shape, np.float32) for name, shape in shapes.items()}}


def fits(bench: Bench) -> None:
    """The remedy is the file as it was."""
    bench.create()


def builds(bench: Bench) -> None:
    """The remedy is to leave something out."""
    with no_init_parameters():
        create_model("halonet_test")


def builds_five(bench: Bench) -> None:
    with no_init_parameters():
        create_model("halonet_test", 5)


CASES = [
    # ---- the file
    Case(r"no such file; check the path", lambda b: b.read("absent.ckpt"), lambda b: b.create(b.file())),
    Case(
        r"for a MindSpore checkpoint the name must end in .ckpt$",
        lambda b: b.read(str(Path(b.saved()).rename(b.folder / "own.weights"))),
        lambda b: b.create(str((b.folder / "own.weights").rename(b.folder / "own.ckpt"))),
    ),
    Case(r"is no weight; write the file without it", lambda b: b.read(sorts(b, empty=(0,))), fits),
    Case(r"ema=True, but .* set ema to False", lambda b: b.read(ema=True), lambda b: b.create(ema=False)),
    Case(
        r"set ema to True, or for training",
        lambda b: b.read(b.averages()),
        lambda b: b.create(b.averages(), ema=True),
    ),
    Case(
        r"or for training write its averages with mindcv-halo convert FILE NEW.ckpt --ema$",
        lambda b: b.read(b.averages()),
        lambda b: b.create(b.convert("--ema")),
    ),
    Case(r"it holds no weights; give another file", lambda b: b.read({}), fits),
    Case(
        r"save it anew, with save_network",
        lambda b: b.read(b.file(dialect="lisp")),
        lambda b: b.create(b.saved(dialect="mindcv")),
    ),
    Case(
        r"save it anew, with save_network",
        lambda b: b.read(b.file(block_size="200", halo_size="100")),
        lambda b: b.create(b.saved()),
    ),
    Case(
        r"no list of names in JSON; save it anew, with save_network",
        lambda b: read_class_names(b.file(class_names="[1]")),
        lambda b: (
            save_network(b.network, b.folder / "named.ckpt", ["a"]) or read_class_names(str(b.folder / "named.ckpt"))
        ),
    ),
    Case(
        r"give a file of a HaloNet's weights",
        lambda b: b.read({"conv.weight": np.ones(2, np.float32)}),
        fits,
    ),
    Case(
        r"or for a network of your own register its function \(register_model\)",
        lambda b: b.read(own()),
        lambda b: create_model("plain", checkpoint_path=b.file(own())),
    ),
    # ---- names
    Case(
        r"pass auto_mapping=True to create_model to leave them out",
        lambda b: b.read({**b.below("lit."), "loss.weight": np.ones(2, np.float32)}),
        lambda b: b.create(str(b.folder / "x.safetensors"), auto_mapping=True),
    ),
    Case(
        r"or write the weights alone with mindcv-halo convert FILE NEW.ckpt$",
        lambda b: b.read({**b.below("lit."), "loss.weight": np.ones(2, np.float32)}),
        lambda b: b.create(b.convert()),
    ),
    Case(
        r"write those of one of them into a file of their own",
        lambda b: b.read({**b.below("a."), **b.below("b.")}),
        lambda b: b.create(b.below("b.")),
    ),
    Case(
        r"one of them must go",
        lambda b: b.read({**b.weights, Q.replace("1.1", "1._orig_mod.1"): b.weights[Q]}),
        fits,
    ),
    Case(
        r"are both stem.conv1.conv.weight of the model; one of them must go",
        lambda b: load_weights(b.network, _as_timms(b, "stem.conv", "stem.conv1.conv")),
        lambda b: load_weights(b.network, _as_timms(b, "stem.conv")),
    ),
    # ---- values and shapes
    Case(r"save it as such", lambda b: b.load(**{BIAS: np.ones(5, int)}), lambda b: b.load(**{BIAS: np.ones(5)})),
    Case(r"take an earlier checkpoint", lambda b: b.load(**{BIAS: np.full(5, np.nan)}), lambda b: b.load()),
    Case(
        r"its structure is that of halonet_test, create that",
        lambda b: create_model("halonet_26t", 5, checkpoint_path=b.file()),
        fits,
    ),
    Case(
        r"build that model \(register_model\)",
        lambda b: load_weights(b.network, _without_a_block(b)),
        lambda b: load_weights(create_model("short", 5), _without_a_block(b)),
    ),
    Case(
        r"save all weights of the network anew",
        lambda b: b.create({name: value for name, value in b.weights.items() if name != Q}),
        lambda b: b.create(b.saved()),
    ),
    Case(r"set num_classes to 5, or", lambda b: b.create(num_classes=7, reset_head=False), fits),
    Case(
        r"or reset_head to True to fine-tune",
        lambda b: b.create(num_classes=7, reset_head=False),
        lambda b: b.create(num_classes=7, reset_head=True),
    ),
    Case(
        r"set in_channels to 4",
        lambda b: b.create(b.saved(in_channels=4)),
        lambda b: b.create(str(b.folder / "own.ckpt"), in_channels=4),
    ),
    Case(
        r"set block_size and halo_size to the file's",
        lambda b: b.create(block_size=4, halo_size=2),
        lambda b: b.create(block_size=2, halo_size=1),
    ),
    Case(
        r"or resize_pos to True",
        lambda b: b.create(block_size=4, halo_size=2),
        lambda b: b.create(block_size=4, halo_size=2, resize_pos=True),
    ),
    Case(
        r"windows have block_size 4 and halo_size 1, .* set them to the file's",
        lambda b: b.create(b.saved(block_size=4, halo_size=1)),
        lambda b: b.create(str(b.folder / "own.ckpt"), block_size=4, halo_size=1),
    ),
    Case(
        r"set block_size and halo_size to those that it was trained with",
        lambda b: load_weights(b.network, arrays_of(network_of(block_size=3, halo_size=4)), resize_pos=True),
        lambda b: b.load(create_model("halonet_test", 5, block_size=3, halo_size=4), **_tables(3, 4)),
    ),
    Case(
        r"build a HaloNet with a Stage of as many num_heads",
        lambda b: load_weights(b.network, arrays_of(HaloNet(TWO_HEADS, 5))),
        lambda b: load_weights(HaloNet(TWO_HEADS, 5), arrays_of(HaloNet(TWO_HEADS, 5))),
    ),
    # ---- what a file says beside its weights
    Case(
        r"set mask_padding to True",
        lambda b: b.create(b.saved(mask_padding=True)),
        lambda b: b.create(b.saved(mask_padding=True), mask_padding=True),
    ),
    Case(
        r"build it with dialect='mindcv', or",
        lambda b: helpers.load_model_checkpoint(b.network, b.saved(dialect="mindcv")),
        lambda b: helpers.load_model_checkpoint(
            create_model("halonet_test", 5, dialect="mindcv"), b.saved(dialect="mindcv")
        ),
    ),
    Case(
        r"or with create_model\(..., checkpoint_path=...\)",
        lambda b: helpers.load_model_checkpoint(b.network, b.saved(dialect="mindcv")),
        lambda b: b.create(b.saved(dialect="mindcv")),
    ),
    Case(
        r"mask_padding True; build the model with it",
        lambda b: helpers.load_model_checkpoint(b.network, b.saved(mask_padding=True)),
        lambda b: helpers.load_model_checkpoint(make_network(mask_padding=True), b.saved(mask_padding=True)),
    ),
    # ---- writing, converting
    Case(
        r"are written as .ckpt or .safetensors; choose one of these",
        lambda b: save_network(b.network, b.folder / "x.pth"),
        lambda b: save_network(b.network, b.folder / "x.ckpt"),
    ),
    Case(
        r"for a model of your own create it, with register_model, and load them there",
        lambda b: _convert(b, _without_a_block(b)),
        lambda b: create_model("short", 5, checkpoint_path=b.file(_without_a_block(b))),
    ),
    # ---- a network of one's own
    Case(
        r"head.bias: \(2,\), not \(3,\).*; set num_classes, in_channels and the model's other options to the file's",
        lambda b: create_model("plain", 3, reset_head=False, checkpoint_path=b.file(own())),
        lambda b: create_model("plain", 2, checkpoint_path=b.file(own())),
    ),
    Case(
        r"another model's: check the model",
        lambda b: create_model("plain", checkpoint_path=b.file({"head.weight": np.ones((2, 2), np.float32)})),
        lambda b: create_model("plain", checkpoint_path=b.file(own())),
    ),
    Case(
        r"it is another model's$",
        lambda b: helpers.auto_map(b.network, Plain().parameters_dict()),
        lambda b: helpers.auto_map(b.network, network_of().parameters_dict()),
    ),
    # ---- published weights
    Case(
        r"pretrained=True, but no weights .* leave it out",
        lambda b: create_model("halonet_test", 5, pretrained=True),
        builds_five,
    ),
    Case(
        r"must end in the name of a .ckpt, .* file",
        lambda b: fetch_pretrained("x", {"url": "https://example.org/x.zip"}),
        lambda b: fetch_pretrained("x", {"url": "https://example.org/cached.ckpt"}),
    ),
    Case(
        r"MINDCV_HALO_MIRROR 'example' must start with https:// or http://",
        lambda b: _with_mirror("example"),
        lambda b: _with_mirror("https://example.org"),
    ),
    # ---- create_model's own
    Case(
        r"unknown create_model option 'num_class'; nearest: num_classes",
        lambda b: create_model("halonet_test", num_class=5),
        lambda b: create_model("halonet_test", num_classes=5),
    ),
    Case(r"leave it out for 1000", lambda b: create_model("halonet_test", None), builds),
    Case(
        r"conv_stages \(1,\) is for the H models and halonet_mini only; leave it out",
        lambda b: create_model("halonet_test", conv_stages=(1,)),
        builds,
    ),
    Case(
        r"give ckpt_path \(checkpoint_path\), or",
        lambda b: create_model("halonet_test", 5, resize_pos=True),
        lambda b: b.create(resize_pos=True),
    ),
    Case(
        r"leave resize_pos out",
        lambda b: create_model("halonet_test", 5, resize_pos=True),
        builds_five,
    ),
    Case(
        r"resize_pos True is for HaloNets, .* leave it out",
        lambda b: create_model("plain", checkpoint_path=b.file(own()), resize_pos=True),
        lambda b: create_model("plain", checkpoint_path=b.file(own())),
    ),
    Case(
        r"auto_mapping True, but its own function gets the weights; leave it out",
        lambda b: create_model("plain", pretrained=True, auto_mapping=True),
        lambda b: create_model("plain", pretrained=True),
    ),
    Case(
        r"published weights hold no averages; leave it out",
        lambda b: create_model("plain", pretrained=True, ema=True),
        lambda b: create_model("plain", pretrained=True),
    ),
    Case(
        r"give such arguments of its function a default",
        lambda b: create_model("needy"),
        lambda b: create_model("plain"),
    ),
    Case(
        r"returned None, which is no network; let it return an nn.Cell",
        lambda b: create_model("lost"),
        lambda b: create_model("plain"),
    ),
    Case(
        r"out_indices \(1,\) is for features_only=True; set that",
        lambda b: create_model("halonet_test", out_indices=(1,)),
        lambda b: create_model("halonet_test", out_indices=(1,), features_only=True),
    ),
    Case(
        r"features_only True has no classifier for num_classes 5; leave num_classes out",
        lambda b: create_model("halonet_test", 5, features_only=True),
        lambda b: create_model("halonet_test", features_only=True),
    ),
    Case(
        r"image_size 64 is for models with bottleneck attention, .* leave it out",
        lambda b: create_model("halonet_test", image_size=64),
        builds,
    ),
    Case(
        r"image_resize \(image_size\) 0 must be a side .* at least 1",
        lambda b: create_model("halonet_test", image_size=0),
        builds,
    ),
    Case(
        r"but it has no halo attention; leave block_size out",
        lambda b: create_model("convolutions", block_size=4),
        lambda b: create_model("convolutions"),
    ),
    Case(
        r"its function takes .*; leave it out, or let the function take it",
        lambda b: create_model("plain", dialect="timm"),
        lambda b: create_model("plain"),
    ),
    Case(
        r"ema 'False' must be True or False",
        lambda b: create_model("halonet_test", ema="False"),
        lambda b: create_model("halonet_test", ema=False),
    ),
]


def _as_timms(bench: Bench, *modules: str) -> dict[str, np.ndarray]:
    """With the first convolution under each of these names."""
    theirs = to_timm(bench.weights)
    stem = theirs.pop("stem.conv.weight")
    return {**theirs, **{f"{module}.weight": stem for module in modules}}


def _without_a_block(bench: Bench) -> dict[str, np.ndarray]:
    return {name: value for name, value in bench.weights.items() if not name.startswith("stages.1.1.")}


def _tables(block_size: int, halo_size: int) -> dict[str, np.ndarray]:
    network = network_of(block_size=block_size, halo_size=halo_size)
    return {name: value for name, value in arrays_of(network).items() if name.endswith(TABLES)}


def _convert(bench: Bench, weights: dict[str, np.ndarray]) -> None:
    convert(bench.file(weights), str(bench.folder / "NEW.ckpt"))


def _with_mirror(mirror: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDCV_HALO_MIRROR", mirror)
        assert _mirrored("https://example.com/a/b") == f"{mirror}/a/b"


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    """With a few models of somebody's own, and a cache that has one file."""
    for name in OWN:
        monkeypatch.delitem(_models, name, raising=False)

    def plain(num_classes: int = 2, pretrained: bool = False) -> nn.Cell:
        return Plain(2 if num_classes == 1000 else num_classes)

    def built(letters: str):
        stages = [replace(stage, pattern=letters or stage.pattern) for stage in HALONET_TEST.stages]
        stages[1] = replace(stages[1], pattern="C")
        spec = replace(HALONET_TEST, name="own", stages=tuple(stages))
        return lambda num_classes=1000, in_channels=3, **_: HaloNet(spec, num_classes, in_channels)

    def needy(num_classes: int, depth: int) -> nn.Cell:
        return Plain(depth)

    def lost(num_classes: int = 2) -> None:
        return None

    functions = (plain, built(""), built("C"), needy, lost)
    for name, function in zip(OWN, functions, strict=True):
        function.__name__ = name
        function.__module__ = __name__
        register_model(function)
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "weights").mkdir(parents=True)
    (tmp_path / "home" / "weights" / "cached.ckpt").touch()
    network = make_network()
    yield Bench(tmp_path, network, arrays_of(network))
    for name in OWN:
        _models.pop(name, None)


def test_every_remedy_works(bench, capsys):
    try_all(CASES, bench, "weights", ELSEWHERE, counts=lambda text: True)
