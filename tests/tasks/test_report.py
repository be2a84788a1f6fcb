"""validate --report: a folder to look at, or one line and nothing written."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import mindspore as ms
import pytest
from conftest import CLASSES, command  # tests/tasks/conftest.py

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


def refuse(capsys, arguments: list[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "top-1" not in captured.out and captured.err.count("\n") == 1
    return captured.err


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
