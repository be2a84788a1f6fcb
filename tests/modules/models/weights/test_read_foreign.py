"""Files of torch and Keras, read by a process of its own. Stand-ins take the place of torch where it is not there."""

from __future__ import annotations

import argparse
import datetime
import pickle
import re
import types
from collections import Counter, OrderedDict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters
from support.peers import read_state
from support.weight_files import arrays_of, make_network, write_keras, write_torch

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import load_weights, open_weights, read_weights, to_timm


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in("torch", code) puts a module of that code before the real one."""

    def make(name: str, code: str) -> None:
        (tmp_path / "modules" / name).mkdir(parents=True)
        (tmp_path / "modules" / name / "__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))

    return make


@pytest.mark.parametrize(
    "module, suffix", [*(("torch", suffix) for suffix in (".pth", ".pt", ".bin", ".PTH", ".tar")), ("h5py", ".h5")]
)
def test_the_extra_is_named_where_it_is_missing(tmp_path, stand_in, module, suffix):
    stand_in(module, "raise ImportError('libmissing.so')")
    (tmp_path / f"x{suffix}").write_bytes(b"anything")
    message = rf"reading {suffix} files needs {module} \(libmissing.so\); pip install mindcv_halo\[convert\]"
    with pytest.raises(UserError, match=message):
        read_weights(str(tmp_path / f"x{suffix}"))


@pytest.mark.parametrize("version", ["2.5.1", "1.13.0+cpu", "0.4"])
def test_a_torch_that_can_be_made_to_run_code(tmp_path, stand_in, version):
    stand_in("torch", f"__version__ = {version!r}")
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match=rf"needs torch 2.6 or later, as torch {re.escape(version)} can be made to run"):
        read_weights(str(tmp_path / "x.pth"))


TORCH = """
import os, sys, time
__version__ = "2.10.0a0+git1234"
safe = []
class serialization:
    add_safe_globals = lambda classes: safe.extend(f"{one.__module__}.{one.__qualname__}" for one in classes)
def set_num_threads(number): pass
def load(path, map_location, weights_only):
    assert (map_location, weights_only) == ("cpu", True)
    %s
"""


@pytest.mark.parametrize(
    "what, message",
    [
        ("raise RuntimeError('broken archive\\nand more lines')", r"weights-only loader refuses it: broken archive\)"),
        ("raise RuntimeError('Weights only load failed. Set weights_only=False')", r"refuses it: RuntimeError\)"),
        ("raise RuntimeError(f'load failed {sorted(safe)}'[:90])", r"\['argparse.Namespace', 'datetime.date"),
        ("raise RuntimeError('\\x1b[2J\\x1b[1mred')", r"refuses it: \\x1b\[2J\\x1b\[1mred\)"),
        ("x = bytearray(8 << 30)", r"MemoryError"),
        ("os.kill(os.getpid(), 11)", r"its reader crashed \(-11\)"),
        ("os.abort()", r"its reader crashed \(-6\)"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n    while True: pass",
         r"it takes too long, or too much memory"),
        ("sys.exit(0)", r"cannot be read"),
    ],
)  # fmt: skip
def test_whatever_happens_to_the_reader(tmp_path, stand_in, what, message):
    stand_in("torch", TORCH % what)
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match=message) as error:
        read_weights(str(tmp_path / "x.pth"))
    assert "weights_only=False" not in str(error.value)


@pytest.mark.parametrize(
    "what, message",
    [
        ("raise RuntimeError('Weights only load failed. x\\nUnsupported global: GLOBAL os.system was not an allowed')",
         r"x.pth: it holds an object of os.system, which could run code, and .* the program .* torch.save\(model"),
        ("raise RuntimeError('Cannot use ``weights_only=True`` with TorchScript archives')", r"torch.jit.load\(FILE\)"),
        ("raise RuntimeError('Cannot use with files saved in the legacy .tar format')", r"of torch before 0.1.10"),
        ("raise RuntimeError('Weights only load failed. x\\nUnsupported operand 149')", r"torch did not write"),
        ("return [1]", r"it holds a list, not a state dict"),
    ],
)  # fmt: skip
def test_a_whole_file_is_not_called_damaged(tmp_path, stand_in, what, message):
    stand_in("torch", TORCH % what)
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match=message) as error:
        read_weights(str(tmp_path / "x.pth"))
    assert "anew" not in str(error.value) and "truncated" not in str(error.value)


@pytest.mark.parametrize(
    "name, beginning, module, files",
    [
        ("lightning.ckpt", b"PK\x03\x04", "torch", "files of torch"),
        ("old.ckpt", b"\x80\x02", "torch", "files of torch"),
        ("model_best.pth.tar", b"PK\x03\x04", "torch", ".tar files"),
        ("model_best.PTH.TAR", b"\x80\x02", "torch", ".TAR files"),
        ("checkpoint", b"PK\x03\x04", "torch", "files of torch"),
        ("step.7", b"\x89HDF\r\n\x1a\n", "h5py", "files of keras"),
        ("model.hdf5", b"\x89HDF\r\n\x1a\n", "h5py", "files of keras"),
    ],
)
def test_how_a_file_begins_tells_its_kind(tmp_path, stand_in, name, beginning, module, files):
    stand_in(module, "raise ImportError('absent')")
    (tmp_path / name).write_bytes(beginning + bytes(99))
    with pytest.raises(UserError, match=rf"reading {files} needs {module}"):
        read_weights(str(tmp_path / name))


def test_the_reader_knows_no_modules_of_the_folder_it_lies_in(tmp_path, stand_in):
    stand_in("torch", TORCH % "import rules")  # there is a rules.py beside it
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match=r"No module named 'rules'"):
        read_weights(str(tmp_path / "x.pth"))


# ---- with the real libraries


@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_dict_of_torch(tmp_path, legacy):
    pytest.importorskip("torch")
    network = make_network()
    write_torch(tmp_path / "x.pth", arrays_of(network), legacy=legacy)
    again = create_model("halonet_test", num_classes=5, checkpoint_path=str(tmp_path / "x.pth"))
    np.testing.assert_equal(arrays_of(again), arrays_of(network))


def test_a_training_checkpoint_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    name = "stages.0.0.conv1_1x1.conv.weight"
    state = {name: torch.ones(2, 3), "stem.half": torch.tensor([1.5, 3e38], dtype=torch.bfloat16)}
    content = {"epoch": 3, "state_dict": state, "state_dict_ema": {name: torch.zeros(2, 3)}, "metric": 0.5}
    torch.save(content, tmp_path / "x.pth")
    live, averaged = (read_weights(str(tmp_path / "x.pth"), ema=ema) for ema in (False, True))
    assert live.keys() == {name, "stem.half"} and averaged.keys() == {name}
    assert live[name].sum() == 6 and averaged[name].sum() == 0
    np.testing.assert_array_equal(live["stem.half"], state["stem.half"].float().numpy())
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"model": wrapped}, tmp_path / "x.pth")
    assert read_weights(str(tmp_path / "x.pth"), strip_prefix=True).keys() == {name, "stem.half"}


@pytest.mark.parametrize("legacy", [False, True])
def test_what_timm_saves_beside_weights(tmp_path, legacy):
    """Its CheckpointSaver's content, and what people add to it."""
    torch = pytest.importorskip("torch")
    network = make_network()
    weights = {name: torch.from_numpy(np.array(value)) for name, value in to_timm(arrays_of(network)).items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    beside = {
        **{"epoch": 3, "arch": "halonet50ts", "version": 2, "optimizer": optimizer.state_dict()},
        "args": argparse.Namespace(lr=0.1, mean=(0.5, 0.5), device=torch.device("cpu"), output=Path("out")),
        **{"metric": np.float64(79.1), "best": np.int64(3), "array": np.ones(2), "when": datetime.date(2024, 1, 1)},
        **{"size": torch.Size([2, 3]), "counts": Counter("ab"), "took": datetime.timedelta(3), "type": np.dtype("f4")},
        "more": types.SimpleNamespace(path=PurePosixPath("x"), ordered=OrderedDict(a=1)),
    }
    for number, key in enumerate(("state_dict", "model", "model_state_dict", "net")):
        path = tmp_path / f"model_best-{number}.pth.tar"
        torch.save({**beside, key: weights}, path, _use_new_zipfile_serialization=not legacy)
        found = create_model("halonet_test", num_classes=5, checkpoint_path=path)
        np.testing.assert_equal(arrays_of(found), arrays_of(network))
    for key in ("state_dict_ema", "model_ema"):
        raised = {name: value + 1 for name, value in weights.items()}
        torch.save({**beside, "state_dict": weights, key: raised}, path, _use_new_zipfile_serialization=not legacy)
        averaged = create_model("halonet_test", num_classes=5, checkpoint_path=path, ema=True)
        np.testing.assert_array_equal(averaged.classifier.bias.asnumpy(), network.classifier.bias.asnumpy() + 1)


class Config:
    """A class of somebody's own."""


def test_a_class_that_is_not_taken(tmp_path):
    """The error names it, and its remedy works."""
    torch = pytest.importorskip("torch")
    network = make_network()
    weights = {name: torch.from_numpy(np.array(value)) for name, value in to_timm(arrays_of(network)).items()}
    module = torch.nn.Module()
    torch.save({"state_dict": weights, "config": Config()}, tmp_path / "x.pth")
    for content in ({"state_dict": weights, "config": Config()}, module):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(UserError, match=r"x.pth: it holds an object of \S+\.(Config|Module), which") as error:
            create_model("halonet_test", num_classes=5, checkpoint_path=tmp_path / "x.pth")
        assert "torch.save(model.state_dict(), 'NEW.pth')" in str(error.value) and "anew" not in str(error.value)
    torch.save(weights, tmp_path / "NEW.pth")
    create_model("halonet_test", num_classes=5, checkpoint_path=tmp_path / "NEW.pth")


def test_other_whole_files_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "program.pt")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"a": np.ones(2)}))
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    for name, message in (("program.pt", "TorchScript"), ("plain.bin", "torch did not write"), ("list.pth", "a list")):
        with pytest.raises(UserError, match=message) as error:
            read_weights(str(tmp_path / name))
        assert "anew" not in str(error.value)


def test_what_lightning_saves(tmp_path):
    torch = pytest.importorskip("torch")
    network = make_network()
    weights = {name: torch.from_numpy(np.array(value)) for name, value in to_timm(arrays_of(network)).items()}
    content = {
        **{"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.5.0", "loops": {"fit_loop": {}}},
        **{"callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}}, "optimizer_states": [{}]},
        **{"hyper_parameters": {"lr": 0.1}, "state_dict": {f"model.{name}": value for name, value in weights.items()}},
    }
    torch.save(content, tmp_path / "epoch=1-step=10.ckpt")
    found = create_model("halonet_test", num_classes=5, checkpoint_path=tmp_path / "epoch=1-step=10.ckpt")
    np.testing.assert_array_equal(found.classifier.bias.asnumpy(), network.classifier.bias.asnumpy())


def test_keras(tmp_path):
    pytest.importorskip("h5py")
    network = make_network()
    write_keras(tmp_path / "x.h5", arrays_of(network))
    file = open_weights(str(tmp_path / "x.h5"))
    assert (file.source.name, file.dialect) == ("Keras", "keras")
    again = create_model("halonet_test", num_classes=5, checkpoint_path=str(tmp_path / "x.h5"))
    np.testing.assert_equal(arrays_of(again), arrays_of(network))


@pytest.mark.parametrize("writer", ["keras", "torch backend"])
@pytest.mark.parametrize("model, ours", [("HaloNextECA26T", "halonet_eca26t"), ("HaloRegNetZB", "haloregnetz_b")])
def test_every_layout_of_keras(tmp_path, model, ours, writer):
    """Grouped, 1-D and strided convolutions, squeeze-and-excitation with its biases, tables, the classifier."""
    h5py = pytest.importorskip("h5py")
    shapes = read_state("keras", model).shapes  # each number in its place is another one
    drawn = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, value in drawn.items():
            layer, _, leaf = name.rpartition(".")
            if leaf == "num_batches_tracked":
                continue
            value = value.transpose({2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0)}[value.ndim]) if (
                leaf == "weight" and value.ndim > 1
            ) else value  # fmt: skip
            if writer == "keras":
                leaf = _keras_leaf(leaf, value.ndim) + ":0"
            file.create_dataset(f"{layer}/{layer}/{leaf}", data=value, chunks=writer != "keras" or None)
    with no_init_parameters():
        network = create_model(ours, checkpoint_path=str(tmp_path / "x.h5"))
        expected = create_model(ours)
    assert network.dialect.name == "keras"
    load_weights(expected, drawn)
    np.testing.assert_equal(arrays_of(network), arrays_of(expected))


def _keras_leaf(leaf: str, ndim: int) -> str:
    """What Keras calls an entry; a weight of one dimension is a norm's, and so is a bias beside one."""
    if leaf == "weight":
        return "kernel" if ndim > 1 else "gamma"
    names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    return {**names, "pos_emb_h": "r_height", "pos_emb_w": "r_width"}.get(leaf, leaf)
