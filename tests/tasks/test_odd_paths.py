"""Whatever a user calls a file or a folder, everything that is written there is, and is read again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from PIL import Image
from support.small_run import command

from mindcv_halo import create_dataset, create_optimizer
from mindcv_halo.cli import main
from mindcv_halo.data import read_decodable
from mindcv_halo.deploy import read_metadata, run_mindir, run_onnx, write_mindir, write_onnx
from mindcv_halo.engine.images import list_images
from mindcv_halo.files.checkpoint_file import write_checkpoint
from mindcv_halo.files.safetensors_file import write_safetensors
from mindcv_halo.files.whole_file import write_whole
from mindcv_halo.models import create_model
from mindcv_halo.models.weights.formats.ckpt import read_ckpt
from mindcv_halo.models.weights.formats.safetensors import read_safetensors
from mindcv_halo.optim import optimizer_state
from mindcv_halo.report.pictures import plot_curves
from mindcv_halo.runs.metrics_table import MetricsTable

NAMES = (
    "plain", "a blank", "copy (1)", "a=b", "a+b", "a,b", "100%", "a#b", "it's", "模型", "café", "🙂", "-dash", "$HOME",
    "a&b;c", "[x] {y}", "two\nlines", "back\\slash", 'a "quote"', "*?|<>:", os.fsdecode(b"no \xff UTF-8"), "x" * 240,
)  # fmt: skip
# Of a MindIR file, whose graph is compiled to run: a name of each kind, and all that Python reads otherwise.
COMPILED = ("a blank", "a=b", "模型", "two\nlines", "back\\slash", "*?|<>:", os.fsdecode(b"no \xff UTF-8"), "x" * 240)
SHAPE = (1, 3, 8, 8)
IMAGES = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def check_export(path: Path, write, run, suffix: str) -> None:
    file = path.with_name(f"{path.name}{suffix}")
    write(file, nn.ReLU(), SHAPE, {"model": "x"})
    assert read_metadata(file)["model"] == "x"
    if suffix != ".mindir" or path.name in COMPILED:
        np.testing.assert_array_equal(run(file, IMAGES)[0], np.maximum(IMAGES, 0))


def check_mindir(path: Path) -> None:
    check_export(path, write_mindir, run_mindir, ".mindir")


def check_onnx(path: Path) -> None:
    check_export(path, write_onnx, run_onnx, ".onnx")


def check_checkpoint(path: Path) -> None:
    file = path.with_name(f"{path.name}.ckpt")
    write_checkpoint([Parameter(Tensor(IMAGES), name="x")], file)
    np.testing.assert_array_equal(read_ckpt(file).arrays["x"], IMAGES)


def check_safetensors(path: Path) -> None:
    file = path.with_name(f"{path.name}.safetensors")
    write_safetensors({"x": IMAGES}, file, {})
    np.testing.assert_array_equal(read_safetensors(file).arrays["x"], IMAGES)


def check_optimizer_state(path: Path) -> None:
    file = path.with_name(f"{path.name}.ckpt")
    network = nn.Dense(2, 2)
    write_checkpoint(optimizer_state(create_optimizer(network, "adam", 0.1)).values(), file)
    create_optimizer(network, "adam", 0.1, checkpoint_path=str(file))


def check_curves(path: Path) -> None:
    table = MetricsTable(path.with_name(f"{path.name}.csv"))
    table.append(1, 2, 0.1, 0.5, None, 3.0)
    assert plot_curves(table.path, path.with_name(f"{path.name}.png"))


def check_text(path: Path) -> None:
    write_whole(path, "text")
    assert path.read_text() == "text"


def check_images(path: Path) -> None:
    file = path / "train" / path.name / f"{path.name}.png"
    file.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(file)
    assert len(read_decodable(str(file))) > 48
    assert [name for _, name in list_images(str(path))] == [file.relative_to(path)]
    if path.name.isprintable():  # names of classes have rules of their own
        assert len(list(create_dataset("", str(path)).create_tuple_iterator(num_epochs=1))) == 1


CHECKS = (
    check_mindir, check_onnx, check_checkpoint, check_safetensors, check_optimizer_state, check_curves, check_text,
    check_images,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_names(check, tmp_path, monkeypatch):
    """Of the file, and of a folder above it; TMPDIR has a blank in it, too."""
    (tmp_path / "temporary files").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary files"))
    for name in NAMES if check is not check_curves else NAMES[9::12]:  # drawing takes its time
        folder = tmp_path / name
        folder.mkdir()
        check(folder / name)
    assert not list((tmp_path / "temporary files").iterdir())


def test_the_command(capsys, tmp_path, monkeypatch):
    name = os.fsdecode("-模型 (1), 100 % caf".encode() + b"\xe9.onnx")
    folder = tmp_path / "my models"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(folder / f"{Path(name).stem}.ckpt"))
    values = {
        "model": "halonet_test", "num_classes": "3", "image_resize": "32", "mode": "1", "device_target": "CPU",
        "ckpt_path": str(folder / f"{Path(name).stem}.ckpt"), "output": str(folder / name),
    }  # fmt: skip
    assert main(command("export", values)) == 0
    assert (folder / name).stat().st_size > 100_000 and "caf\\udce9.onnx: 0." in capsys.readouterr().out
    assert len(list(folder.iterdir())) == 2


def test_a_name_that_is_too_long_is_refused_at_once(capsys, tmp_path):
    (tmp_path / "x.ckpt").touch()
    values = {
        "model": "halonet_test",
        "ckpt_path": str(tmp_path / "x.ckpt"),
        "output": str(tmp_path / f"{'x' * 250}.onnx"),
    }
    assert main(command("export", values)) == 2
    assert capsys.readouterr().err.endswith(": the name has more than 250 bytes; shorten it\n")
