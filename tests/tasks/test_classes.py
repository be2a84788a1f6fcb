"""The classes of a run, from its folders to every place that names them, by the commands."""

from __future__ import annotations

import ast
import csv
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from support.awkward_names import AWKWARD
from support.made_once import make_once
from support.small_run import CLASSES, command

from mindcv_halo import cli, create_model
from mindcv_halo.cli import main
from mindcv_halo.data.class_names import read_class_file
from mindcv_halo.deploy import read_metadata
from mindcv_halo.models.weights import open_weights

FLAGS = {"model": "halonet_test", "image_resize": "32", "batch_size": "8", "device_target": "CPU", "mode": "1"}
RUN = {**FLAGS, "epoch_size": "1", "warmup_epochs": "0", "val_while_train": "True"}


@pytest.fixture(scope="module", autouse=True)
def mode():
    before = ms.get_context("mode")
    yield
    ms.set_context(mode=before)


@pytest.fixture(scope="module")
def wide_run(image_folder, tmp_path_factory) -> Path:
    """The folder of a run with 8 classes on data of 3."""

    def train(folder: Path) -> None:
        flags = {**RUN, "data_dir": str(image_folder), "num_classes": "8", "ckpt_save_dir": str(folder / "run")}
        assert main(command("train", flags)) == 0

    return make_once(tmp_path_factory, "wide", train) / "run"


def say(capsys, *arguments: str, **flags: str) -> str:
    """What a command that succeeds says."""
    capsys.readouterr()
    assert main([*command(arguments[0], flags), *arguments[1:]]) == 0
    captured = capsys.readouterr()
    return captured.out + captured.err


def refuse(capsys, name: str, **flags: str) -> str:
    """The line of a command that is refused."""
    capsys.readouterr()
    assert main(command(name, flags)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_more_classes_than_folders(capsys, wide_run, image_folder, tmp_path):
    """All that a run leaves says so, and everybody takes it, without a flag and with the run's recipe."""
    log = (wide_run / "rank0.log").read_text()
    assert "num_classes 8: the data has 3 classes, the others no images" in log and "top-5" not in log
    names = [*CLASSES, *(f"class {label}/8" for label in range(3, 8))]
    assert read_class_file(wide_run / "class_names.txt") == names
    checkpoint = shutil.copy(wide_run / "halonet_test_last.ckpt", tmp_path / "moved.ckpt")
    assert open_weights(str(checkpoint)).class_names == tuple(names)
    (row,) = csv.DictReader((wide_run / "metrics.csv").open())
    assert row["top5"] == ""

    flags = {**FLAGS, "data_dir": str(image_folder), "ckpt_path": str(checkpoint)}
    said = say(capsys, "validate", **flags)
    assert f"3 classes in {image_folder}/val, 8 in the model; labels from checkpoint {checkpoint}" in said
    assert ast.literal_eval(said.splitlines()[-1])["Top_1_Accuracy"] == pytest.approx(float(row["top1"]) / 100)
    recipe = {"config": str(wide_run / "recipe.yaml")}
    assert said.splitlines()[-1] in say(capsys, "validate", **recipe, ckpt_path=str(checkpoint))
    predictions = json.loads(
        say(capsys, "infer", str(image_folder / "val/red/03.png"), **flags, top_k="8", format="json")
    )
    assert {item["name"] for item in predictions[0]["predictions"]} == set(names)
    if find_spec("onnxruntime"):
        say(capsys, "export", **FLAGS | {"batch_size": "1"}, ckpt_path=str(checkpoint), output=str(tmp_path / "x.onnx"))
        assert json.loads(read_metadata(tmp_path / "x.onnx")["class_names"]) == names
    shutil.copytree(wide_run, tmp_path / "again")
    again = {"ckpt_save_dir": str(tmp_path / "again"), "resume": "True"}
    assert "nothing left to do" in say(capsys, "train", **recipe, **again)


def test_top_5_is_nowhere_where_it_says_nothing(capsys, wide_run, image_folder, tmp_path):
    flags = {**FLAGS, "data_dir": str(image_folder), "ckpt_path": str(wide_run / "halonet_test_last.ckpt")}
    said = say(capsys, "validate", **flags, report=str(tmp_path / "report"))
    texts = [said, *((tmp_path / "report" / name).read_text() for name in ("report.html", "metrics.json"))]
    assert not any(word in text for text in texts for word in ("top-5", "top5", "Top_5"))
    with (tmp_path / "report" / "per_class.csv").open() as file:
        assert {row["top5"] for row in csv.DictReader(file)} == {""}
    ms.save_checkpoint(create_model("halonet_test", num_classes=1000), str(tmp_path / "imagenet.ckpt"))
    for number, name in enumerate(("n01440764", "n02123045", "n15075141")):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        shutil.copy(image_folder / "val/red" / f"0{number}.png", tmp_path / "data" / "val" / name)
    said = say(
        capsys,
        "validate",
        **{**flags, "data_dir": str(tmp_path / "data"), "ckpt_path": str(tmp_path / "imagenet.ckpt")},
    )
    assert "3 classes in " in said and "1000 in the model; labels from ImageNet's synsets" in said
    assert set(ast.literal_eval(said.splitlines()[-1])) == {"Top_1_Accuracy", "Top_5_Accuracy", "loss"}


def test_a_folder_that_lacks_a_class(capsys, image_folder, tmp_path):
    """Five classes, of which the network always says the last."""
    network = create_model("halonet_test", num_classes=5)
    network.classifier.bias.set_data(ms.Tensor(np.float32([0, 0, 0, 0, 99])))
    ms.save_checkpoint(network, str(tmp_path / "model.ckpt"))
    names = {"b": 1, "c": 2, "d": 3, "e": 4}
    for name in names:
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        shutil.copy(image_folder / "val/red/03.png", tmp_path / "data" / "val" / name / "1.png")
    flags = {**FLAGS, "data_dir": str(tmp_path / "data"), "ckpt_path": str(tmp_path / "model.ckpt")}
    for given in ({}, {"num_classes": "5"}):
        assert "give --class_names FILE" in refuse(capsys, "validate", **flags, **given)
    (tmp_path / "names").write_text("a\nb\nc\nd\ne\n")
    by_file = say(capsys, "validate", **flags, class_names=str(tmp_path / "names"))
    (tmp_path / "data" / "train" / "a").mkdir(parents=True)
    for name in names:
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
    by_training = say(capsys, "validate", **flags)
    for said in (by_file, by_training):
        assert ast.literal_eval(said.splitlines()[-1])["Top_1_Accuracy"] == 0.25
    (tmp_path / "data" / "val" / "e").rename(tmp_path / "data" / "val" / "kitty")
    assert "kitty is none of the 5 classes of the model (a, b, c, d, e)" in refuse(capsys, "validate", **flags)


def test_any_name_of_a_class(capsys, image_folder, tmp_path):
    """From the folder of a run to its report; validation lacks some of the classes."""
    for split, names in (("train", AWKWARD), ("val", AWKWARD[::2])):
        for name in names:
            (tmp_path / "data" / split / name).mkdir(parents=True)
            shutil.copy(image_folder / "val/red/03.png", tmp_path / "data" / split / name / "1.png")
    flags = {**RUN, "batch_size": "32", "data_dir": str(tmp_path / "data"), "ckpt_save_dir": str(tmp_path / "run")}
    assert main(command("train", flags)) == 0
    order = sorted(AWKWARD)
    assert read_class_file(tmp_path / "run" / "class_names.txt") == order
    checkpoint = shutil.copy(tmp_path / "run" / "halonet_test_best.ckpt", tmp_path)
    given = {**FLAGS, "data_dir": flags["data_dir"], "ckpt_path": str(checkpoint)}
    said = say(capsys, "validate", **given, report=str(tmp_path / "report"))
    assert f"{len(AWKWARD[::2])} classes in {tmp_path}/data/val, {len(AWKWARD)} in the model" in said
    with (tmp_path / "report" / "per_class.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == order
    assert {row["class"] for row in rows if row["images"] == "1"} == set(AWKWARD[::2])


@pytest.mark.parametrize("name", ["caf\udce9", "cafe\u0301", "without\nan\x1b[31m image"])
def test_names_that_no_run_can_have(capsys, image_folder, tmp_path, name):
    shutil.copytree(image_folder, tmp_path / "data")
    (tmp_path / "data" / "train" / "caf\u00e9").mkdir()
    (tmp_path / "data" / "train" / name).mkdir()
    flags = {**RUN, "data_dir": str(tmp_path / "data"), "ckpt_save_dir": str(tmp_path / "run")}
    assert "class folder" in refuse(capsys, "train", **flags) and not (tmp_path / "run").exists()


def test_in_training_the_names_of_the_run_count(capsys, image_folder, tmp_path):
    """A validation split that has a class of its own, or none at all; that some are missing is no matter."""
    shutil.copytree(image_folder, tmp_path / "data")
    flags = {**RUN, "data_dir": str(tmp_path / "data"), "ckpt_save_dir": str(tmp_path / "run")}
    (tmp_path / "data" / "val" / "green").rename(tmp_path / "data" / "val" / "grün")
    assert "grün is none of the 3 classes of the model (blue, green, red)" in refuse(capsys, "train", **flags)
    shutil.rmtree(tmp_path / "data" / "val")
    (tmp_path / "data" / "val").mkdir()
    assert "val has no class folders" in refuse(capsys, "train", **flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["validate", "infer", "export", "explain", "serve"])
def test_a_recipe_for_several_processes_in_one(capsys, wide_run, image_folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(cli, "require_server_library", lambda: None)
    monkeypatch.setattr(cli, "run_server", lambda *_: None)
    flags = {**FLAGS, "ckpt_path": str(wide_run / "halonet_test_last.ckpt"), "distribute": "True"}
    flags |= {
        "validate": {"data_dir": str(image_folder)},
        "infer": {"image_path": str(image_folder / "val/red/03.png")},
        "explain": {"image_path": str(image_folder / "val/red/03.png"), "explain": str(tmp_path / "pictures")},
        "serve": {"port": "0"},
        "export": {"output": str(tmp_path / "x.mindir"), "batch_size": "1", "class_names": "absent"},
    }[name]
    capsys.readouterr()
    status = main(command("infer" if name == "explain" else name, flags))
    assert status == (2 if name == "export" else 0)  # what comes after the line takes seconds
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert said.count("distribute True: there is no launcher, so that this one process does all of the work") == 1


def test_flags_that_validation_cannot_follow(capsys, wide_run, image_folder):
    """A subset would be another figure; what changes none is said. Recipes hold all keys, and say nothing by that."""
    assert "--num_samples is for training" in refuse(capsys, "validate", **FLAGS, num_samples="9")
    flags = {"config": str(wide_run / "recipe.yaml"), "ckpt_path": str(wide_run / "halonet_test_last.ckpt")}
    for given, said in (({}, 0), ({"amp_level": "O2"}, 1)):
        assert say(capsys, "validate", **flags, **given).count("no effect: --amp_level O2 (--val_amp_level is") == said
