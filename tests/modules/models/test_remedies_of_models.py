"""What errors about models, their layers, native kernels and exported files say to do, tried."""

from __future__ import annotations

import copy
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from support.remedies import Case, try_all
from support.ways import has_kernels

from mindcv_halo import FeatureExtractor, create_model, fuse_batchnorm
from mindcv_halo.config import make_recipe
from mindcv_halo.deploy import air, metadata, plain_path
from mindcv_halo.deploy.onnx_file import require_onnx
from mindcv_halo.engine import setup
from mindcv_halo.engine.setup import build_network
from mindcv_halo.models import FeatureExtractWrapper, halonet_mini, halonet_test, registry
from mindcv_halo.models.attention_maps import AttentionProbe, attention_maps
from mindcv_halo.models.feature_info import find_out_indices
from mindcv_halo.models.freeze import freeze_stages
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.models.macs import count_macs
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.recompute import recompute_attention
from mindcv_halo.models.registry import _models, complete_cfg, register_model
from mindcv_halo.models.specs import DIALECTS, ChannelAttention, Halo, Stage, find_dialect
from mindcv_halo.models.weights import save_network
from mindcv_halo.native import accelerate, build, operators
from mindcv_halo.training.amp import auto_mixed_precision

ELSEWHERE = {
    "set MINDCV_HALO_HOME to a folder that can be written": "of a disk that fails: test_build.py",
    "set CXX to another C++17 compiler": "of a compiler that fails: test_build.py",
}


FIXED = replace(HALONET_TEST, name="fixed", stages=(Stage("T", 16, 8, stride=1, num_heads=2),))
TINY = replace(HALONET_TEST, name="tiny", stages=(Stage("A", 16, 8, stride=1, num_heads=2),))


class Plain(nn.Cell):
    """A network of somebody's own."""

    def __init__(self, **attributes):
        super().__init__()
        self.first = nn.SequentialCell(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.second = nn.Conv2d(4, 4, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def construct(self, x):
        return self.second(self.first(x))


class Bench:
    def __init__(self, folder: Path):
        self.folder = folder
        self.shared = self.net()  # for what leaves a network as it is
        self.images = IMAGES

    def net(self, **options) -> HaloNet:
        return HaloNet(TINY, 3, **options).set_train(False)

    def native(self, network: nn.Cell | None = None, **options) -> nn.Cell:
        return accelerate(self.net() if network is None else network, **options)

    def features(self, network: nn.Cell, out_indices=(0,)) -> None:
        FeatureExtractWrapper(network, out_indices)(self.images)

    def saved(self) -> str:
        save_network(create_model("halonet_test", 3), self.folder / "x.ckpt")
        return str(self.folder / "x.ckpt")

    def export(self, network: nn.Cell) -> None:
        ms.export(network, self.images, file_name=str(self.folder / "x"), file_format="MINDIR")

    def broken(self) -> str:
        (self.folder / "broken.mindir").write_bytes(b"1234")
        return str(self.folder / "broken.mindir")

    def exported(self) -> str:
        self.export(nn.ReLU())
        return str(self.folder / "x.mindir")


def info(*maps: dict) -> dict:
    return {"feature_info": [{"chs": 4, "reduction": 1, **item} for item in maps]}


def spec(number: int = 1, halo: dict | None = None, **changes) -> None:
    """halonet_test with one stage changed, or its halo."""
    stages = list(HALONET_TEST.stages)
    stages[number] = replace(stages[number], **changes)
    replace(HALONET_TEST, stages=tuple(stages), halo=replace(HALONET_TEST.halo, **halo or {}))


def train_again(bench: Bench) -> None:
    old = bench.net()
    old.set_grad_checkpointing()
    new = bench.net()
    ms.load_param_into_net(new, old.parameters_dict())
    new.set_grad_checkpointing(False)


def lacking(modules: tuple[str, ...], call) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setitem(sys.modules, module, None)
        call()


def patched(owner: object, name: str, value: object, call) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, value)
        call()


def without_kernels(bench: Bench, kind: str, wanted: bool | None) -> None:
    """A network for a run on a machine that lacks a compiler, oneDNN, the library, or an oneDNN that fits."""
    find = build.build_kernels.__wrapped__ if kind in ("compiler", "onednn") else lambda: bench.folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "build_kernels", find)
        patch.setattr(setup, "load_kernels", operators.load_kernels.__wrapped__)  # which remembers nothing
        if kind == "compiler":
            patch.setattr(build.shutil, "which", lambda _: None)
        elif kind == "onednn":
            patch.setattr(build, "find_spec", lambda _: SimpleNamespace(origin="/absent/__init__.py"))
        elif kind == "misfit":
            patch.setattr(operators.ctypes, "CDLL", lambda _: SimpleNamespace(use_onednn=lambda _: 1))
        patch.setattr(setup, "create_model", lambda **_: bench.net())
        build_network(make_recipe({"model": "halonet_test", "native_kernels": wanted}), 3)


def named(name: str) -> None:
    def fn(num_classes: int = 2) -> nn.Cell:
        return Plain()

    fn.__name__ = name
    register_model(fn)


def described(std: tuple[float, ...], mean: tuple[float, ...]) -> None:
    patched(registry, "get_pretrained_cfg", lambda _: {"mean": mean, "std": std}, lambda: complete_cfg("halonet_test"))


def plain_tmp(bench: Bench, name: str) -> None:
    """Export where only the folder of this name could be written."""
    (bench.folder / name).mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_path, "_FOLDERS", ())
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("TMPDIR", str(bench.folder / name))
        patch.chdir(bench.folder / "a b")
        with plain_path.plain_folder():
            pass


def train(network: nn.Cell) -> None:
    """A step forth and back."""
    network.set_train()
    ms.value_and_grad(lambda x: network(x).sum(), None, network.trainable_params())(IMAGES)


def train_unfrozen(bench: Bench) -> None:
    train(bench.native())


IMAGES = Tensor(np.zeros((1, 3, 16, 16), np.float32))
NAMES = {"name": "first"}, {"name": "second"}
CASES = [
    # ---- attention maps
    Case(
        r"is in training, .*; call set_train\(False\)",
        lambda b: attention_maps(b.shared.set_train(), b.images),
        lambda b: attention_maps(b.shared.set_train(False), b.images),
    ),
    Case(
        r"attention maps are of one image, \(channels, height, width\); this has the shape \(2, 3, 16, 16\)",
        lambda b: attention_maps(b.shared, np.zeros((2, 3, 16, 16), np.float32)),
        lambda b: attention_maps(b.shared, np.zeros((3, 16, 16), np.float32)),
    ),
    Case(
        r"rows count from 0 to 15, columns from 0 to 15",
        lambda b: attention_maps(b.shared, b.images, query=(16, 0)),
        lambda b: [attention_maps(b.shared, b.images, query=query) for query in ((0, 15), (15, 0))],
    ),
    Case(
        r"attention maps exist in the other dialects only",
        lambda b: AttentionProbe(b.net(dialect="mindcv")),
        lambda b: [AttentionProbe(b.net(dialect=name)) for name in DIALECTS if name != "mindcv"],
    ),
    # ---- features
    Case(
        r"give \(2,\) for the one, or \(3, 4\) for the last two",
        lambda b: find_out_indices("x", 2, 5),
        lambda b: [find_out_indices("x", indices, 5) for indices in ((2,), (3, 4))],
    ),
    Case(
        r"FeatureExtractor: Plain is no HaloNet; for others there is FeatureExtractWrapper",
        lambda b: FeatureExtractor(Plain(**info(*NAMES))),
        lambda b: b.features(Plain(**info(*NAMES))),
    ),
    Case(
        r"make the FeatureExtractor of a new one, and accelerate that",
        lambda b: FeatureExtractor(b.native()),
        lambda b: b.native(FeatureExtractor(b.net()))(b.images),
    ),
    Case(
        r'it has no feature_info; give it a list with {"chs": channels, "reduction": stride, "name": cell}',
        lambda b: b.features(Plain()),
        lambda b: b.features(Plain(feature_info=[{"chs": 4, "reduction": 1, "name": "first"}])),
    ),
    Case(
        r"which has no name; give each map one",
        lambda b: b.features(Plain(**info({}))),
        lambda b: b.features(Plain(**info({"name": "first"}))),
    ),
    Case(
        r"names first.1, its cells are first, second; correct the name, or",
        lambda b: b.features(Plain(**info({"name": "first.1"}))),
        lambda b: b.features(Plain(**info({"name": "first"}))),
    ),
    Case(
        r"or set flatten_sequential",
        lambda b: b.features(Plain(**info({"name": "first.1"}))),
        lambda b: b.features(Plain(**info({"name": "first.1"}), flatten_sequential=True)),
    ),
    Case(
        r"bring the maps into that order, each once",
        lambda b: b.features(Plain(**info(*reversed(NAMES))), (0, 1)),
        lambda b: b.features(Plain(**info(*NAMES)), (0, 1)),
    ),
    # ---- networks
    Case(
        r"fuse_batchnorm: .* has a precision of its own; call auto_mixed_precision afterwards",
        lambda b: fuse_batchnorm(auto_mixed_precision(b.net(), "O2")),
        lambda b: auto_mixed_precision(fuse_batchnorm(b.net()), "O2"),
    ),
    Case(
        r"checkpoint_path='.*' is for create_model; call create_model\('halonet_test', ...\) with it",
        lambda b: halonet_test(num_classes=3, checkpoint_path=b.saved()),
        lambda b: create_model("halonet_test", num_classes=3, checkpoint_path=b.saved()),
    ),
    Case(
        r"unknown option of halonet_test 'block_sizes'; nearest: block_size",
        lambda b: halonet_test(block_sizes=4),
        lambda b: halonet_test(block_size=4),
    ),
    Case(
        r"conv_stages \(1,\) is for the H models and halonet_mini only; leave it out",
        lambda b: halonet_test(conv_stages=(1,)),
        lambda b: halonet_test(),
    ),
    Case(
        r"conv_stages \(1, 3\): stage 1 has no attention; leave 1 out",
        lambda b: halonet_mini(conv_stages=(1, 3)),
        lambda b: halonet_mini(conv_stages=(3,)),
    ),
    Case(
        r"frozen_stages 1: stages are those of HaloNets, and plain is a Plain; leave it out",
        lambda b: freeze_stages(Plain(), 1, "plain"),
        lambda b: freeze_stages(Plain(), 0, "plain"),
    ),
    Case(
        r"is for features_only=True; set that, or",
        lambda b: halonet_test(out_indices=(1,)),
        lambda b: halonet_test(out_indices=(1,), features_only=True),
    ),
    Case(r"or leave it out$", lambda b: halonet_test(out_indices=(1,)), lambda b: halonet_test()),
    Case(
        r"its batch norms are folded into its convolutions; train the network that fuse_batchnorm was given",
        lambda b: train(fuse_batchnorm(b.net())),
        lambda b: fuse_batchnorm(network := b.net()) and train(network),
    ),
    Case(
        r"the images' shape \(1, 3, 16, 16\) must .*; for another number of channels build the model with in_channels",
        lambda b: b.net(in_channels=1)(b.images),
        lambda b: b.net(in_channels=3)(b.images),
    ),
    Case(
        r"images of 16x16, but the model was built for 32x32; build it with image_resize \(image_size\) set to",
        lambda b: HaloNet(FIXED, 3, image_size=32)(b.images),
        lambda b: HaloNet(FIXED, 3, image_size=16)(b.images),
    ),
    Case(
        r"a 4x4 map, but the position tables cover 16x16; build the model with image_resize \(image_size\) of the",
        lambda b: HaloNet(FIXED, 3, image_size=32).stages[0][0](
            Tensor(np.zeros((1, HALONET_TEST.stem.widths[-1], 4, 4), np.float32))
        ),
        lambda b: HaloNet(FIXED, 3, image_size=8).stages[0][0](
            Tensor(np.zeros((1, HALONET_TEST.stem.widths[-1], 4, 4), np.float32))
        ),
    ),
    Case(
        r"count_macs: the network is on native kernels; count before accelerate",
        lambda b: count_macs(b.native(), (16, 16)),
        lambda b: [count_macs(network := b.net(), (16, 16)), b.native(network)],
    ),
    Case(
        r"count_macs: FeatureExtractor is no HaloNet; give one as create_model makes it",
        lambda b: count_macs(FeatureExtractor(b.net()), (16, 16)),
        lambda b: count_macs(b.net(), (16, 16)),
    ),
    Case(
        r"build the network anew, and give it these weights \(mindspore.load_param_into_net",
        lambda b: (network := b.net()).set_grad_checkpointing() or network.set_grad_checkpointing(False),
        train_again,
    ),
    Case(
        r"must be 'avg', or left out; for another pool",
        lambda b: b.net().reset_classifier(2, "max"),
        lambda b: [b.net().reset_classifier(2, *pool) for pool in (("avg",), ())],
    ),
    Case(
        r"for another pool take forward_features",
        lambda b: b.net().reset_classifier(2, "max"),
        lambda b: b.net().forward_features(b.images).max(axis=(2, 3)),
    ),
    Case(
        r"has no halo or bottleneck attention to compute again; leave it out",
        lambda b: recompute_attention(Plain()),
        lambda b: recompute_attention(b.net()),
    ),
    Case(
        r"take out spaces around it, slashes and what cannot be printed",
        lambda b: named(" a/b\n"),
        lambda b: named("ab"),
    ),
    Case(
        r"does not tell its arguments; wrap it in a function of your own",
        lambda b: register_model(dict),
        lambda b: named("dict"),
    ),
    Case(
        r"for pixels of 0 to 255; multiply mean and std by 255",
        lambda b: described((0.2, 0.2, 0.2), (0.5, 0.5, 0.5)),
        lambda b: described((51.0, 51.0, 51.0), (127.5, 127.5, 127.5)),
    ),
    Case(
        r"unknown model 'halonet_tes'; nearest: halonet_test",
        lambda b: create_model("halonet_tes"),
        lambda b: create_model("halonet_test"),
    ),
    # ---- specifications
    Case(
        r"enlarge inner, expansion or value_expansion",
        lambda b: spec(halo={"value_expansion": 0.01}),
        lambda b: spec(halo={"value_expansion": 1}),
    ),
    Case(
        r"at least one channel for each of num_heads 16; set dim_head, or",
        lambda b: spec(num_heads=16, inner=16, halo={"qk_ratio": 0.01}),
        lambda b: spec(num_heads=16, inner=16, halo={"dim_head": 1}),
    ),
    Case(
        r"or change one of them",
        lambda b: spec(num_heads=16, inner=16, halo={"qk_ratio": 0.01}),
        lambda b: [spec(num_heads=4, inner=16, halo={"qk_ratio": 0.01}), spec(num_heads=16, inner=16)],
    ),
    Case(r"unknown dialect 'kera'; nearest: keras", lambda b: find_dialect("kera"), lambda b: find_dialect("keras")),
    Case(
        r"is not the dialect 'timm' as it is: .*; give its name",
        lambda b: find_dialect(replace(DIALECTS["timm"], se_act=None)),
        lambda b: find_dialect("timm"),
    ),
    Case(
        r"has the letter 'X'; a block is one of C .*, A .*, L .*, T ",
        lambda b: Stage("X", 8, stride=1),
        lambda b: [Stage(letter, 8, stride=1) for letter in "CALT"],
    ),
    Case(
        r"must be 1; put a C or an A before it, which can have another",
        lambda b: Stage("L", 8),
        lambda b: [Stage(pattern, 8, stride=2) for pattern in ("CL", "AL")],
    ),
    Case(
        r"are those of 'se'; leave them out for 'eca'",
        lambda b: ChannelAttention("eca", ratio=0.5),
        lambda b: ChannelAttention("eca"),
    ),
    Case(
        r"a stage's inner is 0, which needs expansion; set the one or the other",
        lambda b: replace(HALONET_TEST, expansion=None, stages=(Stage("C", 8),)),
        lambda b: [
            replace(HALONET_TEST, expansion=None, stages=(Stage("C", 8, 8),)),
            replace(HALONET_TEST, expansion=1, stages=(Stage("C", 8),)),
        ],
    ),
    Case(
        r"Halo: dim_head 8 replaces qk_ratio 0.5; leave one of them out",
        lambda b: Halo(2, 1, dim_head=8, qk_ratio=0.5),
        lambda b: [Halo(2, 1, dim_head=8), Halo(2, 1, qk_ratio=0.5)],
    ),
    Case(
        r"dim_out 8 must be a multiple of num_heads 3; change one of them",
        lambda b: HaloAttention(8, num_heads=3, block_size=2),
        lambda b: [HaloAttention(8, num_heads=4, block_size=2), HaloAttention(9, num_heads=3, block_size=2)],
    ),
    Case(
        r"HaloAttention: qk_ratio 0.01 .*; set dim_head, or",
        lambda b: HaloAttention(16, num_heads=16, block_size=2, qk_ratio=0.01),
        lambda b: HaloAttention(16, num_heads=16, block_size=2, dim_head=1),
    ),
    Case(
        r"HaloAttention: dim_head 8 replaces qk_ratio 0.5; leave one of them out",
        lambda b: HaloAttention(16, block_size=2, dim_head=8, qk_ratio=0.5),
        lambda b: [HaloAttention(16, block_size=2, dim_head=8), HaloAttention(16, block_size=2, qk_ratio=0.5)],
    ),
    # ---- files for other runtimes
    Case(
        r"export on Ascend, or choose mindir",
        lambda b: air.require_ascend("CPU", 1),
        lambda b: b.exported(),
    ),
    Case(
        r"give --batch_size in place of --dynamic_batch",
        lambda b: patched(air, "find_device", lambda _: "Ascend", lambda: air.require_ascend(None, None)),
        lambda b: patched(air, "find_device", lambda _: "Ascend", lambda: air.require_ascend(None, 1)),
    ),
    Case(
        r"it is damaged, or no .mindir file; export it anew",
        lambda b: metadata.read_metadata(b.broken()),
        lambda b: metadata.read_metadata(b.exported()),
    ),
    Case(
        r"needs protobuf; pip install mindcv_halo\[files\]",
        lambda b: lacking(("mindspore.train.mind_ir_pb2",), lambda: metadata.read_metadata(b.broken())),
        lambda b: metadata.read_metadata(b.exported()),
    ),
    Case(
        r"needs onnx and onnxruntime; pip install mindcv_halo\[onnx\]",
        lambda b: lacking(("onnx",), lambda: require_onnx("x")),
        lambda b: require_onnx("x"),
    ),
    Case(r"set TMPDIR to such a folder", lambda b: plain_tmp(b, "a b"), lambda b: plain_tmp(b, "plain")),
]
KERNELS = [
    Case(
        r"has a precision of its own.*|.*leave accelerate out, or build the network without the change",
        lambda b: b.native(auto_mixed_precision(b.net(), "O2")),
        lambda b: [auto_mixed_precision(b.net(), "O2"), b.native(b.net())],
    ),
    Case(
        r"native kernels take a mindspore.Tensor; convert with mindspore.Tensor\(images\)",
        lambda b: b.native()(b.images.asnumpy()),
        lambda b: b.native()(Tensor(b.images.asnumpy())),
    ),
    Case(
        r"native kernels take float32; convert with .astype\(mindspore.float32\)",
        lambda b: b.native()(b.images.astype(ms.float16)),
        lambda b: b.native()(b.images.astype(ms.float16).astype(ms.float32)),
    ),
    Case(
        r"native kernels: shape \(1, 3, 0, 0\) holds no image; give one of at least 1 x 1 pixels",
        lambda b: b.native()(Tensor(np.zeros((1, 3, 0, 0), np.float32))),
        lambda b: b.native()(Tensor(np.zeros((1, 3, 1, 1), np.float32))),
    ),
    *(
        Case(
            r"this network is frozen, for inference: train one that accelerate was given without `frozen`",
            lambda b, provoke=provoke: provoke(b.native(frozen=True)),
            train_unfrozen,
        )
        for provoke in (train, lambda network: network.stem.set_train())
    ),
    Case(
        r"copy the network \(or fuse_batchnorm it\) first, and accelerate the copy",
        lambda b: copy.deepcopy(b.native()),
        lambda b: [b.native(copy.deepcopy(b.net())), b.native(fuse_batchnorm(b.net()))],
    ),
    Case(
        r"native kernels do its work; change the network before accelerate, or",
        lambda b: setattr(b.native(), "final_conv", nn.Identity()),
        lambda b: setattr((network := b.net()), "final_conv", nn.Identity()) or b.native(network),
    ),
    Case(
        r"unknown precision 'float16'; nearest: bfloat16, float32",
        lambda b: b.native(precision="float16"),
        lambda b: [b.native(precision="bfloat16"), b.native(precision="float32")],
    ),
    Case(
        r"or leave accelerate out$",
        lambda b: setattr(b.native(), "final_conv", nn.Identity()),
        lambda b: setattr((network := b.net()), "final_conv", nn.Identity()) or network(b.images),
    ),
    Case(
        r"export it before accelerate, or",
        lambda b: b.export(b.native(HaloAttention(3, num_heads=1, block_size=2))),
        lambda b: b.export(HaloAttention(3, num_heads=1, block_size=2)),
    ),
    *(
        Case(
            rf"{said}.*or run without --native_kernels",
            lambda b, kind=kind: without_kernels(b, kind, True),
            lambda b, kind=kind: without_kernels(b, kind, None),
        )
        for said, kind in (
            ("no C\\+\\+ compiler .*; install one, ", "compiler"),
            ("MindSpore 2.10 has it; install that, ", "onednn"),
        )
    ),
    *(
        Case(
            rf"{said}; run without --native_kernels",
            lambda b, kind=kind: without_kernels(b, kind, True),
            lambda b, kind=kind: without_kernels(b, kind, None),
        )
        for said, kind in (("cannot open shared object file.*", "absent"), ("oneDNN does not fit", "misfit"))
    ),
]


@pytest.fixture
def bench(tmp_path) -> Bench:
    before = dict(_models)
    (tmp_path / "a b").mkdir()
    yield Bench(tmp_path)
    _models.clear()
    _models.update(before)


def test_every_remedy_about_models_works(bench, pynative):
    if not has_kernels():
        pytest.skip("no native kernels: no C++ compiler here, or not the MindSpore that they fit")
    try_all([*CASES, *KERNELS], bench, "models", ELSEWHERE)
