"""The command `export`, its files, and what docs/deployment.md says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from mindspore import Tensor, nn
from support.drawn_norms import draw_norms
from support.draws import draw_images
from support.small_run import CLASSES, command
from test_golden_models import GOLDENS, SEED, load_network, read

from mindcv_halo import Predictor, create_model, fuse_batchnorm
from mindcv_halo.cli import main
from mindcv_halo.config.options import list_options
from mindcv_halo.deploy import read_metadata, write_onnx

# Of the largest logit: float32 in two libraries.
TOLERANCE = 1e-4


@pytest.fixture
def checkpoint(flags, tmp_path) -> dict[str, str]:
    """Flags of an untrained network whose norms do something."""
    network = draw_norms(create_model("halonet_test", num_classes=len(CLASSES)))
    ms.save_checkpoint(network, str(tmp_path / "halonet_test.ckpt"))
    (tmp_path / "class_names.txt").write_text("\n".join(CLASSES))
    names = ("model", "image_resize", "device_target", "data_dir")
    # PyNative mode, which compiles nothing: what is compared with the file runs once.
    return {**{name: flags[name] for name in names}, "mode": "1", "ckpt_path": str(tmp_path / "halonet_test.ckpt")}


def run(file: Path, images: np.ndarray) -> np.ndarray:
    """The file's logits, by its own runtime alone."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(file))
        return session.run(["logits"], {"images": images})[0]
    return nn.GraphCell(ms.load(str(file)))(Tensor(images)).asnumpy()


@pytest.mark.parametrize(
    "file_format, changes, batches",
    [
        ("onnx", {"dynamic_batch": "yes"}, (1, 3)),
        ("onnx", {"batch_size": "2"}, (2,)),
        ("mindir", {"dynamic_batch": "yes"}, (1, 3)),
        ("mindir", {"batch_size": "2", "mode": "0"}, (2,)),
    ],
)
def test_export(pynative, capsys, checkpoint, tmp_path, file_format, changes, batches):
    file = tmp_path / f"network.{file_format}"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("batch_size: 64\nfuse_bn: null\nreset_head: true")  # as that of a fine-tuned network has it
    assert main(command("export", {"config": str(recipe), **checkpoint, "output": str(file), **changes})) == 0
    out = capsys.readouterr().out
    batch = "any batch" if "dynamic_batch" in changes else f"batch {batches[0]}"
    assert f"halonet_test, 32x32, {batch}, batch norms folded" in out
    differences = [float(text) for text in re.findall(r"(\S+) for a batch of", out)]
    assert len(differences) == len(batches) and max(differences) < TOLERANCE

    ms.set_context(mode=ms.PYNATIVE_MODE)
    network = create_model("halonet_test", num_classes=3, checkpoint_path=checkpoint["ckpt_path"]).set_train(False)
    images = np.random.default_rng(5).standard_normal((3, 3, 32, 32)).astype(np.float32)
    logits = network(Tensor(images)).asnumpy()
    size = batches[-1]  # the export itself has tried all of them
    np.testing.assert_allclose(run(file, images[:size]), logits[:size], rtol=0, atol=TOLERANCE * np.abs(logits).max())
    facts = read_metadata(file)
    assert json.loads(facts["class_names"]) == list(CLASSES)
    assert json.loads(facts["input_size"]) == [3, 32, 32] and json.loads(facts["short_side"]) == 33
    assert facts["weights"] == "halonet_test.ckpt" and facts["folded_batch_norm"] == "true"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("network", "."))) == [file.name]


def test_a_peers_weights_give_the_peers_logits(tmp_path):
    """From timm's names through our network and a folded ONNX file to timm's own float64 logits."""
    golden = next(golden for golden in GOLDENS if golden.model == "halonet26t")
    network, _ = load_network(golden)
    images = draw_images(SEED, golden.image_shape)
    write_onnx(tmp_path / "x.onnx", fuse_batchnorm(network), (None, *images.shape[1:]), {})
    expected = read(golden)["logits"]
    logits = run(tmp_path / "x.onnx", images)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_default_name_and_norms_that_stay(pynative, capsys, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command("export", {**checkpoint, "format": "onnx", "fuse_bn": "False"})) == 0
    assert "halonet_test, 32x32, batch 1, batch norms not folded" in capsys.readouterr().out
    assert read_metadata("halonet_test.onnx")["folded_batch_norm"] == "false"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "tflite"}, "unknown format 'tflite'"),
        ({"format": "air"}, "--format air is written by Ascend's compiler, and this run is on a CPU"),
        ({"output": "nowhere/x.onnx"}, "there is no folder nowhere; make it first"),
        ({"format": "onnx", "batch_size": "0"}, "--batch_size: '0' is not a whole number of at least 1"),
        ({"format": "onnx", "dynamic_batch": "maybe"}, "--dynamic_batch: 'maybe' is not True or False"),
        ({"format": "onnx", "dynamic_batch": "True", "batch_size": "2"}, "give one of them"),
        ({"format": "onnx", "ckpt_path": "absent.ckpt"}, "checkpoint absent.ckpt: there is no such file"),
        ({}, "give --format mindir, onnx, air, or --output with such an ending"),
    ],
)
def test_bad_input(capsys, checkpoint, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(command("export", {**checkpoint, **changes})) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert sorted(tmp_path.iterdir()) == before


def test_the_script(pytestconfig):
    done = subprocess.run(
        [sys.executable, pytestconfig.rootpath / "export.py", "--modle", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: unknown flag 'modle'; nearest: mode, model")


def test_validation_and_prediction_with_folded_norms(pynative, capsys, checkpoint, image_folder):
    lines = []
    for fuse in ("False", "True"):
        assert main(command("validate", {**checkpoint, "batch_size": "8", "fuse_bn": fuse})) == 0
        lines.append(re.search(r"halonet_test, halonet_test.ckpt: (.*)", capsys.readouterr().out)[1])
    assert lines[0] == lines[1] and "top-1" in lines[0]
    image = image_folder / "val" / "red" / "00.png"
    plain, folded = (
        Predictor("halonet_test", checkpoint_path=checkpoint["ckpt_path"], image_resize=32, fuse_bn=fuse, mode=1)
        for fuse in (False, True)
    )
    assert len(folded._network.parameters_dict()) < len(plain._network.parameters_dict())
    difference = np.abs(folded.logits([image]) - plain.logits([image])).max()
    assert 0 < difference < 1e-5 * np.abs(plain.logits([image])).max()


def test_training_refuses_folded_norms(capsys, flags):
    assert main(command("train", {**flags, "fuse_bn": "True"})) == 2
    assert "fuse_bn is for inference: a folded batch norm cannot learn" in capsys.readouterr().err
    assert not Path(flags["ckpt_save_dir"]).exists()


@pytest.fixture(scope="module")
def document(pytestconfig) -> str:
    return (pytestconfig.rootpath / "docs/deployment.md").read_text(encoding="utf-8")


def test_its_python_says_what_predictor_does(
    pynative, document, capsys, checkpoint, image_folder, tmp_path, monkeypatch
):
    """The first example, which does without this library; test_documents_run.py has the others."""
    monkeypatch.chdir(tmp_path)
    del checkpoint["image_resize"]
    image = image_folder / "val" / "green" / "02.png"
    (tmp_path / "image.png").write_bytes(image.read_bytes())
    assert main(command("export", {**checkpoint, "output": "halonet_test.onnx"})) == 0
    capsys.readouterr()
    block = re.search(r"```python\n(.*?)```", document, re.DOTALL)[1]
    names = {}
    exec(compile(block, "deployment.md", "exec"), names)
    predictor = Predictor("halonet_test", checkpoint_path=checkpoint["ckpt_path"], mode=1)
    expected = predictor.logits([image])
    np.testing.assert_allclose(names["logits"], expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    assert capsys.readouterr().out.splitlines() == [predictor(image).class_names[0]]


def test_what_it_names_exists(pynative, document, checkpoint, tmp_path):
    table = document.partition("## Formats")[0]
    keys = set(re.findall(r"^\| `--(\w+)", table, re.MULTILINE))
    own = {"format", "output", "batch_size", "dynamic_batch", "class_names"}
    assert own < keys and keys - own <= set(list_options())
    main(command("export", {**checkpoint, "output": str(tmp_path / "x.onnx")}))
    rows = document.partition("## What is recorded")[2].partition("## Folding")[0]
    recorded = {
        name for cell in re.findall(r"^\| (`[^|]*)\|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert recorded == read_metadata(tmp_path / "x.onnx").keys()
