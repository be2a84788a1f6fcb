"""What an exported file says, and what is refused before any work, or because the file is wrong."""

from __future__ import annotations

import errno
import json
import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.drawn_norms import draw_norms

from mindcv_halo import create_model
from mindcv_halo.config import make_recipe
from mindcv_halo.data.transforms_factory import INTERPOLATIONS
from mindcv_halo.deploy import air
from mindcv_halo.engine import EXPORT_FORMATS, export
from mindcv_halo.engine.export import describe
from mindcv_halo.errors import UserError

exporting = import_module("mindcv_halo.engine.export")  # the attribute of that name is the function


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    ms.set_seed(0)
    path = tmp_path / "run" / "model.ckpt"
    path.parent.mkdir()
    ms.save_checkpoint(draw_norms(create_model("halonet_test", num_classes=3)), str(path))
    (path.parent / "class_names.txt").write_text("blue\ngreen\nred\n")
    return path


def recipe_of(checkpoint: Path, **changes):
    return make_recipe(
        {"model": "halonet_test", "ckpt_path": str(checkpoint), "image_resize": 32, "mode": 1, **changes}
    )


@pytest.fixture
def refused(monkeypatch):
    """Export must raise before a network is built."""

    def build(*_, **__):
        raise AssertionError("a network was built")

    monkeypatch.setattr(exporting, "build_network", build)

    def refuse(message: str, recipe, *args, **kwargs) -> None:
        with pytest.raises(UserError, match=message):
            export(recipe, *args, **kwargs)

    return refuse


def test_refused_before_any_work(refused, checkpoint, tmp_path):
    recipe = recipe_of(checkpoint)
    target = str(tmp_path / "x.onnx")
    refused(r"^export needs weights: give --ckpt_path FILE", make_recipe({"model": "halonet_test"}), "onnx")
    refused(r"^checkpoint absent.ckpt: there is no such file", recipe_of(Path("absent.ckpt")), "onnx")
    refused(r"^give --format mindir, onnx, air, or --output with such an ending", recipe)
    refused(r"^give --format mindir, onnx, air", recipe, None, str(tmp_path / "x.tflite"))
    refused(r"^unknown format 'onx'; nearest: onnx", recipe, "onx")
    refused(r"x.onnx: the name of this format ends in .mindir", recipe, "mindir", target)
    refused(r"there is no folder .*nowhere; make it first", recipe, "onnx", str(tmp_path / "nowhere" / "x.onnx"))
    (tmp_path / "folder.onnx").mkdir()
    refused(r"folder.onnx: it is a folder; give the name of a file", recipe, None, str(tmp_path / "folder.onnx"))
    refused(r"--output /proc: .* choose a folder that can be written", recipe, "onnx", "/proc/x.onnx")
    refused(r"^batch_size 0 must be at least 1", recipe, "onnx", target, batch_size=0)
    refused(
        r"^export writes float32; give --val_amp_level O0", recipe_of(checkpoint, val_amp_level="O2"), "onnx", target
    )
    refused(r"3 names, but num_classes is 4", recipe_of(checkpoint, num_classes=4), "onnx", target)


def test_refused_without_the_extra(refused, monkeypatch, checkpoint, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(
        r"^--format onnx needs onnx and onnxruntime; pip install mindcv_halo\[onnx\]", recipe_of(checkpoint), "onnx"
    )


def test_a_disk_that_is_full(monkeypatch, checkpoint, tmp_path):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_whole", fail)
    with pytest.raises(UserError, match=r"x.mindir: No space left on device; choose a place that can be written$"):
        export(recipe_of(checkpoint), "mindir", str(tmp_path / "x.mindir"))


def test_air_is_refused_elsewhere(refused, checkpoint, tmp_path):
    refused(
        r"^--format air is written by Ascend's compiler, and this run is on a CPU; export on Ascend, or choose mindir$",
        recipe_of(checkpoint, device_target="CPU"), "air", str(tmp_path / "x.air"),
    )  # fmt: skip


def test_air_on_ascend(monkeypatch, checkpoint, tmp_path):
    """As far as it goes without one: the call that would write the file, and the facts beside it."""
    calls = []

    def write(network, images, *, file_name, file_format):
        calls.append((network.training, images.shape, file_format))
        Path(file_name).write_bytes(b"air")

    monkeypatch.setattr(air, "find_device", lambda requested: "Ascend")
    monkeypatch.setattr(ms, "export", write)
    recipe = recipe_of(checkpoint)
    with pytest.raises(UserError, match=r"^--format air has a fixed batch; give --batch_size"):
        export(recipe, "air", str(tmp_path / "x.air"), batch_size=None)
    exported = export(recipe, "air", str(tmp_path / "x.air"), batch_size=4)
    assert calls == [(False, (4, 3, 32, 32), "AIR")] and "not run here" in str(exported)
    assert (tmp_path / "x.air").read_bytes() == b"air"
    assert json.loads((tmp_path / "x.air.json").read_text())["class_names"] == ["blue", "green", "red"]


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_file_that_computes_something_else_is_not_written(monkeypatch, checkpoint, tmp_path, wrong):
    onnx = EXPORT_FORMATS["onnx"]

    def run(path, images):
        error = wrong if len(images) == 3 else 0.0
        return [logits + error * np.abs(logits).max() for logits in onnx.run(path, images)]

    monkeypatch.setitem(EXPORT_FORMATS, "onnx", replace(onnx, run=run))
    with pytest.raises(UserError, match=r"x.onnx: the file's logits are .* away from the network's, more than 1e-04"):
        export(recipe_of(checkpoint), "onnx", str(tmp_path / "x.onnx"), batch_size=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_the_network_before_folding_is_compared(monkeypatch, checkpoint, tmp_path):
    def fold_badly(network):
        network = create_model("halonet_test", num_classes=3, checkpoint_path=str(checkpoint)).set_train(False)
        network.stem.conv1.norm.beta.set_data(network.stem.conv1.norm.beta.value() + 0.1)
        return network

    monkeypatch.setattr(exporting, "fuse_batchnorm", fold_badly)
    with pytest.raises(UserError, match="it was not written"):
        export(recipe_of(checkpoint), "onnx", str(tmp_path / "x.onnx"))
    export(recipe_of(checkpoint, fuse_bn=False), "onnx", str(tmp_path / "x.onnx"))


def test_a_head_of_zeros(checkpoint, tmp_path):
    network = create_model("halonet_test", num_classes=3)
    network.classifier.weight.set_data(network.classifier.weight * 0)
    network.classifier.bias.set_data(network.classifier.bias * 0)
    ms.save_checkpoint(network, str(checkpoint))
    assert export(recipe_of(checkpoint), "onnx", str(tmp_path / "x.onnx")).differences == {1: 0.0}


def test_the_example_knows_every_interpolation(pytestconfig):
    document = (pytestconfig.rootpath / "docs/deployment.md").read_text(encoding="utf-8")
    found = re.search(r"^filters = (\{.*?\})$", document, re.MULTILINE | re.DOTALL)[1]
    assert eval(found, {"Image": Image}).keys() == INTERPOLATIONS.keys()


def test_the_facts(checkpoint):
    network = create_model("halonet_test", num_classes=3, dialect="keras")
    facts = describe(recipe_of(checkpoint, image_resize=None), network, ["a", "b", "c"], True)
    assert facts["input_size"] == (3, 64, 64) and facts["short_side"] == 67 and facts["crop_pct"] == 0.95
    assert facts["mean"] == (123.675, 116.28, 103.53) and facts["interpolation"] == "bicubic"
    assert (facts["model"], facts["dialect"], facts["weights"]) == ("halonet_test", "keras", "model.ckpt")
    assert facts["class_names"] == ["a", "b", "c"] and facts["folded_batch_norm"]
    other = recipe_of(
        checkpoint, image_resize=80, crop_pct=1.0, interpolation="bilinear", mean=(1, 2, 3), std=(4, 5, 6)
    )
    facts = describe(other, network, ["0", "1", "2"], False)
    assert facts["input_size"] == (3, 80, 80) and facts["short_side"] == 80 and facts["interpolation"] == "bilinear"
    assert facts["mean"] == (1, 2, 3) and facts["std"] == (4, 5, 6)
    assert "class_names" not in facts and facts["num_classes"] == 3


def test_the_facts_of_a_data_set_that_is_not_cropped(checkpoint):
    facts = describe(recipe_of(checkpoint, dataset="cifar10"), create_model("halonet_test", num_classes=10), [], True)
    assert facts["short_side"] == 32 and facts["crop_pct"] == 1.0
