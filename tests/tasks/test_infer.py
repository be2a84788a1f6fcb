"""infer: files and folders, formats, pictures, and the numbers of validation."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.small_run import CLASSES, command

from mindcv_halo import Predictor, create_model
from mindcv_halo.cli import main
from mindcv_halo.config import make_recipe
from mindcv_halo.data.class_names import imagenet_class_names
from mindcv_halo.engine.batches import find_loaded_images, read_batches
from mindcv_halo.engine.setup import build_network, make_val_loader, open_val_split
from mindcv_halo.engine.validate import predict_logits


def save_network(folder: Path, num_classes: int = len(CLASSES)) -> str:
    ms.set_seed(1)
    network = create_model("halonet_test", num_classes=num_classes)
    network.classifier.weight.set_data(network.classifier.weight * 100)  # probabilities that differ
    folder.mkdir(exist_ok=True)
    ms.save_checkpoint(network, str(folder / "model.ckpt"))
    return str(folder / "model.ckpt")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a training run leaves: a checkpoint, and the names of its classes beside it."""
    folder = tmp_path_factory.mktemp("run")
    save_network(folder)
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder


@pytest.fixture
def infer(capsys, run_folder):
    """Run infer in PyNative mode, which compiles nothing; (status, standard output, standard error)."""

    def run(*arguments: str, **changes: str) -> tuple[int, str, str]:
        flags = {"model": "halonet_test", "ckpt_path": str(run_folder / "model.ckpt"), "image_resize": "32"}
        flags |= {"device_target": "CPU", "mode": "1", **changes}
        status = main([*command("infer", flags), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_files_and_folders_in_every_format(infer, image_folder, run_folder):
    """The same predictions, in three shapes: those of the Predictor."""
    single, folder = image_folder / "val/red/03.png", image_folder / "val/green"
    paths = [single, *sorted(folder.iterdir())]
    options = {"checkpoint_path": run_folder / "model.ckpt", "image_resize": 32, "mode": 1, "device_target": "CPU"}
    expected = Predictor("halonet_test", top_k=2, **options)(paths)
    outputs = {}
    for name in ("table", "json", "csv"):
        status, outputs[name], error = infer(str(single), "--top_k", "2", "--format", name, str(folder), batch_size="4")
        assert status == 0 and error == ""

    content = json.loads(outputs["json"])
    assert [entry["path"] for entry in content] == [str(path) for path in paths]
    for entry, prediction in zip(content, expected, strict=True):
        assert [item["name"] for item in entry["predictions"]] == list(prediction.class_names)
        assert [item["label"] for item in entry["predictions"]] == list(prediction.labels)
        shares = [item["probability"] for item in entry["predictions"]]
        np.testing.assert_allclose(shares, prediction.probabilities, atol=2e-6)  # six places are written

    rows = list(csv.DictReader(io.StringIO(outputs["csv"])))
    assert [(row["path"], row["rank"], row["label"], row["class"], float(row["probability"])) for row in rows] == [
        (entry["path"], str(rank), str(item["label"]), item["name"], item["probability"])
        for entry in content
        for rank, item in enumerate(entry["predictions"], 1)
    ]
    lines = outputs["table"].splitlines()
    assert lines[::3] == [str(path) for path in paths]
    first = content[0]["predictions"][0]
    assert lines[1] == f"{100 * first['probability']:7.2f} %  {first['name']}"


def test_the_flag_of_before_still_works(infer, image_folder):
    image = str(image_folder / "val/red/03.png")
    assert infer("--image_path", image) == infer(image)


def test_the_recipe_of_a_run_that_had_a_new_head(infer, image_folder, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: halonet_test\nreset_head: true\nimage_resize: 32\nckpt_path: before.ckpt\n")
    image = str(image_folder / "val/red/03.png")
    assert infer(image, "-c", str(recipe)) == infer(image)
    status, _, error = infer(image, "-c", str(recipe), ckpt_path=save_network(tmp_path, 5), num_classes="3")
    assert status == 2 and "its classifier has 5 classes" in error


@pytest.mark.parametrize("before", ["ckpt_path: before.ckpt", "pretrained: true"])
@pytest.mark.parametrize("name", ["infer", "validate", "serve", "export"])
def test_a_runs_own_recipe_does_not_stand_for_the_weights_before_it(capsys, tmp_path, name, before):
    """Fine-tuned weights would be thought to have given what those gave that they came from."""
    recipe, own = tmp_path / "recipe.yaml", tmp_path / "halonet_test_last.ckpt"
    own.touch()
    recipe.write_text(f"model: halonet_test\n{before}\n")
    operands = ["x.png"] * (name == "infer")
    assert main([name, "-c", str(recipe), *operands]) == 2
    key, value = before.replace("true", "True").split(": ")
    said = capsys.readouterr().err
    assert f"{key} {value} is what this run began with; for its own weights give --ckpt_path {own}, for those" in said
    for words in (["--ckpt_path", str(own)], [f"--{key}", value]):  # which are none, and that is said
        assert main([name, "-c", str(recipe), *words, *operands]) == 2
        assert "what this run began with" not in capsys.readouterr().err
    recipe.write_text(f"model: halonet_test\nckpt_path: {tmp_path}/halonet_test-3_5.ckpt\n")  # somebody wrote it there
    assert main([name, "-c", str(recipe), *operands]) == 2
    assert "what this run began with" not in capsys.readouterr().err


def test_names_of_the_classes(infer, image_folder, run_folder, tmp_path):
    image = str(image_folder / "val/red/03.png")

    def names(*arguments: str, **changes: str) -> list[str]:
        return [line.split("  ")[-1] for line in infer(image, *arguments, **changes)[1].splitlines()[1:]]

    by_folder = names()
    assert sorted(by_folder) == sorted(CLASSES)
    (tmp_path / "names.json").write_text(json.dumps({"azure": 0, "verdant": 1, "crimson": 2}))
    by_file = names("--class_names", str(tmp_path / "names.json"))
    assert by_file == [{"blue": "azure", "green": "verdant", "red": "crimson"}[name] for name in by_folder]
    imagenet = names(ckpt_path=save_network(tmp_path / "imagenet", 1000))
    assert len(imagenet) == 5 and set(imagenet) <= set(imagenet_class_names())


def test_output_goes_into_a_file_or_nowhere(infer, image_folder, tmp_path):
    folder, file = str(image_folder / "val"), tmp_path / "predictions.json"
    assert infer(folder, "--format", "json", "--output", str(file)) == (0, "", "")
    assert len(json.loads(file.read_text())) == 15
    for bad in (tmp_path, tmp_path / "absent" / "file"):
        status, out, error = infer(folder, "--output", str(bad))
        assert (status, out) == (2, "") and f"--output {bad}: give the name of a file" in error


@pytest.mark.parametrize("name", ["table", "json", "csv"])
def test_a_bad_image_among_others_is_named_and_left_out(infer, image_folder, tmp_path, name):
    shutil.copytree(image_folder / "val", tmp_path / "images")
    bad = [tmp_path / "images/green/02.png", tmp_path / "images/red/00.png"]
    for path in bad:
        path.write_bytes(b"no image")
    status, out, error = infer(str(tmp_path / "images"), "--format", name, "--top_k", "1", batch_size="4")
    lines = error.splitlines()
    assert status == 2 and len(lines) == 3
    assert all(line.startswith(f"error: bad image file {path}") for line, path in zip(lines, bad, strict=False))
    assert lines[2] == "error: 2 image(s) left out, as said above"
    assert out.count(str(tmp_path)) == 13 and not any(str(path) in out for path in bad)
    assert name != "json" or len(json.loads(out)) == 13


def test_only_bad_images(infer, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").touch()
    status, out, error = infer(str(tmp_path), "--format", "json")
    assert status == 2 and json.loads(out) == [] and error.count("\n") == 3
    status, out, error = infer(str(tmp_path / "0.png"))
    assert (status, out) == (2, "") and error.count("\n") == 1 and "it is empty" in error


def test_pictures(infer, image_folder, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "red").mkdir()
    for name in ("03.png", "04.png"):
        shutil.copy(image_folder / "val/red" / name, tmp_path / "red")
    folder, pictures = str(tmp_path / "red"), tmp_path / "pictures"
    arguments = ["--explain", str(pictures), "--explain_layer", "stages.1.1", "--explain_query", "31", "0"]
    explained = infer(folder, *arguments)
    assert explained == infer(folder) and explained[0] == 0
    assert sorted(path.name for path in pictures.iterdir()) == ["03.png.png", "04.png.png"]
    by_number = tmp_path / "by_number"
    last = f"{folder}/04.png"
    infer(last, "--explain", str(by_number), "--explain_layer", "-3", "--explain_query", "31", "0")
    other = tmp_path / "other"
    infer(last, "--explain", str(other))
    first_picture, same, different = ((place / "04.png.png").read_bytes() for place in (pictures, by_number, other))
    assert first_picture == same != different
    assert Image.open(other / "04.png.png").size == (1272, 816)


def test_without_matplotlib(infer, image_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, error = infer(str(image_folder / "val"), "--explain", str(tmp_path / "pictures"))
    assert (status, error) == (2, "error: --explain needs matplotlib; pip install mindcv_halo[plot]\n")
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "prediction needs an image: name files and folders, or give --image_path PATH"),
        (["absent.jpg"], "image_path absent.jpg: there is no such file or folder"),
        (["IMAGE", "--format", "xml"], "unknown format 'xml'; known: csv, json, table"),
        (["IMAGE", "--top_k", "0"], "--top_k: '0' is not a whole number of at least 1"),
        (["IMAGE", "--top_k", "010"], "--top_k: '010' is not a whole number of at least 1"),
        (["--mask_padding", "absent.jpg", "--ema", "no"], "image_path absent.jpg: there is no such file or folder"),
        (["IMAGE", "--explain_layer", "1"], "--explain_layer and --explain_query belong to --explain DIR"),
        (["IMAGE", "--explain", "x", "--explain_query", "1"], "--explain_query: expected 2 arguments"),
        (["IMAGE", "--explain", "x", "--explain_query", "1", "b"], "--explain_query: 'b' is not a whole number"),
        (["IMAGE", "--explain", "x", "--explain_layer", "stages"], "layer 'stages' must be one of stages.1.1"),
        (["IMAGE", "--explain", "x", "--explain_query", "32", "0"], "query 32 0 lies outside the image of 32 x 32"),
        (["IMAGE", "--class_names", "absent"], "class_names absent: No such file or directory"),
        (["IMAGE", "--num_classes", "5"], "3 names, but num_classes is 5"),
        (["IMAGE", "--ckpt_path", "absent.ckpt"], "absent.ckpt: there is no such file"),
    ],
)
def test_bad_arguments(infer, image_folder, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    image = str(image_folder / "val/red/03.png")
    status, out, error = infer(*(image if argument == "IMAGE" else argument for argument in arguments))
    assert (status, out) == (2, "") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def write_varied_images(root: Path) -> None:
    """Files of every usual kind, colour mode and proportion."""
    random = np.random.default_rng(0)
    sizes = {
        "photo.jpg": (200, 160), "wide.jpg": (70, 300), "tall.png": (300, 80), "animation.gif": (64, 64),
        "modern.webp": (90, 33), "old.bmp": (31, 45), "see_through.png": (100, 90), "grey.jpg": (120, 77),
    }  # fmt: skip
    for number, (name, size) in enumerate(sizes.items()):
        low = random.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(low).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        if name.startswith("see_through"):
            image.putalpha(77)
        if name.startswith("grey"):
            image = image.convert("L")
        target = root / "val" / CLASSES[number % 3] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)


@pytest.mark.parametrize("options", [{}, {"image_resize": 48, "crop_pct": 0.7, "interpolation": "bilinear"}], ids=str)
def test_logits_are_those_of_validation(run_folder, tmp_path, options):
    write_varied_images(tmp_path)
    values = {"model": "halonet_test", "ckpt_path": str(run_folder / "model.ckpt"), "data_dir": str(tmp_path)}
    recipe = make_recipe({**values, "batch_size": 3, "device_target": "CPU", **options})
    loader = make_val_loader(recipe, open_val_split(recipe.dataset), CLASSES)
    network = build_network(recipe, len(CLASSES), is_training=False).set_train(False)
    expected = np.concatenate([predict_logits(network, images, 3) for images, _ in read_batches(loader)])
    paths = find_loaded_images(loader).paths
    assert len(paths) == 8 and np.ptp(expected, axis=0).min() > 0.03
    predictor = Predictor.from_recipe(recipe)
    np.testing.assert_allclose(predictor.logits(paths), expected, rtol=0, atol=1e-6)
    one_by_one = np.concatenate([predictor.logits([Image.open(path)]) for path in paths])
    np.testing.assert_allclose(one_by_one, expected, rtol=0, atol=1e-5)  # another batch size: other sums in float32


def test_a_file_name_that_is_not_utf8(infer, image_folder, tmp_path, monkeypatch):
    image, output = tmp_path / os.fsdecode(b"\xff.png"), tmp_path / "predictions"
    shutil.copy(image_folder / "val/red/03.png", image)
    assert infer(str(image), "--output", str(output)) == (0, "", "")
    assert output.read_bytes().startswith(os.fsencode(image) + b"\n")
    printed = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="utf-8", errors="strict", write_through=True))
        assert infer(str(image)) == (0, "", "")
        assert printed.getvalue() == output.read_bytes()


def test_numbers_that_are_too_long(infer, image_folder):
    image, number = str(image_folder / "val/red/03.png"), "9" * 5000
    status, out, error = infer(image, "--top_k", number)
    assert (status, out, error) == (2, "", "error: --top_k: a number of 5000 digits is too large\n")
    status, out, error = infer(image, "--explain", "x", "--explain_layer", number)
    assert (status, out) == (2, "") and "must be one of stages.1.1" in error and error.count("\n") == 1
