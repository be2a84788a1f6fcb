"""Files of torch and Keras, read by a process of its own. Stand-ins take the place of torch where it is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from peers import STATE, read_state
from recipe import draw_weights
from weight_files import arrays_of, make_network, write_keras, write_torch

from mindcv_halo import create_model
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import load_weights, open_weights, read_weights


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in("torch", code) puts a module of that code before the real one."""

    def make(name: str, code: str) -> None:
        (tmp_path / "modules" / name).mkdir(parents=True)
        (tmp_path / "modules" / name / "__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))

    return make


@pytest.mark.parametrize(
    "module, suffix", [("torch", ".pth"), ("torch", ".pt"), ("torch", ".bin"), ("torch", ".PTH"), ("h5py", ".h5")]
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
        ("raise RuntimeError('Weights only load failed. x\\nUnsupported global: GLOBAL os.system was not an allowed')",
         r"refuses it: Unsupported global: GLOBAL os.system\)"),
        ("raise RuntimeError('\\x1b[2J\\x1b[1mred')", r"refuses it: \\x1b\[2J\\x1b\[1mred\)"),
        ("return [1]", r"it holds a list, not a state dict"),
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
    for name, value in arrays_of(network).items():
        np.testing.assert_array_equal(arrays_of(again)[name], value)


def test_a_training_checkpoint_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    name = "stages.0.0.conv1_1x1.conv.weight"
    state = {name: torch.ones(2, 3), "half": torch.tensor([1.5, 3e38], dtype=torch.bfloat16)}
    content = {"epoch": 3, "state_dict": state, "state_dict_ema": {name: torch.zeros(2, 3)}, "metric": 0.5}
    torch.save(content, tmp_path / "x.pth")
    live, averaged = (read_weights(str(tmp_path / "x.pth"), ema=ema) for ema in (False, True))
    assert live.keys() == {name, "half"} and averaged.keys() == {name}
    assert live[name].sum() == 6 and averaged[name].sum() == 0
    np.testing.assert_array_equal(live["half"], state["half"].float().numpy())
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"model": wrapped}, tmp_path / "x.pth")
    assert read_weights(str(tmp_path / "x.pth"), strip_prefix=True).keys() == {name, "half"}


def test_keras(tmp_path):
    pytest.importorskip("h5py")
    network = make_network()
    write_keras(tmp_path / "x.h5", arrays_of(network))
    file = open_weights(str(tmp_path / "x.h5"))
    assert (file.source.name, file.dialect) == ("Keras", "keras")
    again = create_model("halonet_test", num_classes=5, checkpoint_path=str(tmp_path / "x.h5"))
    for name, value in arrays_of(network).items():
        np.testing.assert_array_equal(arrays_of(again)[name], value)


@pytest.mark.parametrize("writer", ["keras", "torch backend"])
@pytest.mark.parametrize("model, ours", [("HaloNextECA26T", "halonet_eca26t"), ("HaloRegNetZB", "haloregnetz_b")])
def test_every_layout_of_keras(tmp_path, model, ours, writer):
    """Grouped, 1-D and strided convolutions, squeeze-and-excitation with its biases, tables, the classifier."""
    h5py = pytest.importorskip("h5py")
    drawn = draw_weights(read_state("keras", model).shapes, 0, dict.fromkeys(_norms(model), 1.0))
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
    network = create_model(ours, checkpoint_path=str(tmp_path / "x.h5"))
    assert network.dialect.name == "keras"
    expected = create_model(ours)
    load_weights(expected, drawn)
    for name, value in arrays_of(expected).items():
        np.testing.assert_array_equal(arrays_of(network)[name], value)


def _norms(model: str) -> list[str]:
    entries = json.loads(Path(STATE / "keras" / f"{model}.json").read_text())["entries"]
    return [name.removesuffix(".running_var") for name, *_ in entries if name.endswith(".running_var")]


def _keras_leaf(leaf: str, ndim: int) -> str:
    """What Keras calls an entry; a weight of one dimension is a norm's, and so is a bias beside one."""
    if leaf == "weight":
        return "kernel" if ndim > 1 else "gamma"
    names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    return {**names, "pos_emb_h": "r_height", "pos_emb_w": "r_width"}.get(leaf, leaf)
