"""validate --report: a folder to look at, or one line and nothing written."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import mindspore as ms
import pytest
from support.small_run import CLASSES, command

from mindcv_halo import create_model
from mindcv_halo.cli import main


@pytest.fixture
def checkpoint(flags, tmp_path) -> dict[str, str]:
    """Flags to validate an untrained network, which makes mistakes."""
    path = tmp_path / "model.ckpt"
    ms.save_checkpoint(create_model("halonet_test", num_classes=len(CLASSES)), str(path))
    return {**flags, "ckpt_path": str(path), "report": str(tmp_path / "some" / "report")}


@pytest.mark.parametrize("batch_size", ["4", "64"])
def test_report(capsys, checkpoint, image_folder, batch_size):
    assert main(command("validate", {**checkpoint, "batch_size": batch_size})) == 0
    out = capsys.readouterr().out
    folder = Path(checkpoint["report"])
    assert f"report: {folder}/report.html" in out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"top-1 {metrics['top1']:.2f} %" in out and metrics["num_images"] == 15
    with (folder / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(CLASSES) and {row["images"] for row in rows} == {"5"}
    assert sum(float(row["top1"]) for row in rows) / 3 == pytest.approx(metrics["top1"])
    page = (folder / "report.html").read_text()
    num_mistakes = round(15 * (1 - metrics["top1"] / 100))
    assert num_mistakes > 0 and page.count("<figure>") == num_mistakes
    assert page.count(f"{image_folder}/val/") == num_mistakes
    assert not Path(checkpoint["ckpt_save_dir"]).exists()


def test_a_report_without_the_images_that_cannot_be_decoded(capsys, checkpoint, image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "data")
    bad = tmp_path / "data" / "val" / "green" / "01.png"
    bad.write_bytes(b"no image")
    flags = {**checkpoint, "data_dir": str(tmp_path / "data"), "batch_size": "4", "mode": "1"}
    assert "01.png: it holds no known image format; remove or replace it, or set" in refuse(
        capsys, command("validate", flags)
    )
    assert main(command("validate", {**flags, "skip_bad_images": "True"})) == 0
    out = capsys.readouterr().out
    assert "on 14 images (1 left out)" in out and out.count(str(bad)) == 1
    folder = Path(checkpoint["report"])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["num_images"], metrics["num_left_out"]) == (14, 1)
    with (folder / "per_class.csv").open() as file:
        assert [row["images"] for row in csv.DictReader(file)] == ["5", "4", "5"]
    page = (folder / "report.html").read_text()
    assert str(bad) not in page and "left out" in page


def refuse(capsys, arguments: list[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    error = re.sub(r"^no effect: --epoch_size 2 .*\n", "", captured.err)  # the flags are those of training, too
    assert "top-1" not in captured.out and error.count("\n") == 1
    return error


def test_without_matplotlib(capsys, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = refuse(capsys, command("validate", checkpoint))
    assert error == "error: --report needs matplotlib; pip install mindcv_halo[plot]\n"
    assert not Path(checkpoint["report"]).exists()
    del checkpoint["report"]
    assert main(command("validate", checkpoint)) == 0


def test_a_report_that_cannot_be_written(capsys, checkpoint):
    error = refuse(capsys, command("validate", {**checkpoint, "report": checkpoint["ckpt_path"]}))
    assert "choose a folder that can be written" in error


def test_bad_input_makes_no_folder(capsys, checkpoint):
    assert "no such file" in refuse(capsys, command("validate", {**checkpoint, "ckpt_path": "absent.ckpt"}))
    assert not Path(checkpoint["report"]).exists()
