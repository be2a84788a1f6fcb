"""The curves of a run: what is drawn is what metrics.csv says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.files import whole_file
from mindcv_halo.report import pictures as curves
from mindcv_halo.report.pictures import plot_curves

HEADER = "epoch,step,lr,train_loss,top1,top5,val_loss,images_per_second\n"


@pytest.fixture
def table(tmp_path):
    """table("1,...", "2,...") writes a metrics.csv of these rows."""

    def write(*rows: str) -> Path:
        path = tmp_path / "metrics.csv"
        path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
        return path

    return write


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = curves.save_figure
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def lines(figure) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): line.get_xydata().tolist() for axes in figure.axes for line in axes.lines}


def test_each_column_becomes_a_line(table, drawn, tmp_path):
    rows = ("1,10,0.1,2.5,,,,80.0", "2,20,0.2,1.5,60.0,90.0,1.25,81.0", "3,30,0.05,nan,,,,82.0")
    assert plot_curves(table(*rows), tmp_path / "curves.png")
    assert lines(drawn[0]) == {
        "train": [[1, 2.5], [2, 1.5]],  # a loss that is no number leaves a gap
        "validation": [[2, 1.25]],
        "top-1": [[2, 60]],
        "top-5": [[2, 90]],
        "end of epoch": [[1, 0.1], [2, 0.2], [3, 0.05]],
    }
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss", "accuracy, %", "learning rate"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 10  # something is on it


@pytest.mark.parametrize("rows", [(), ("1,10,0.1,2.5,,,,80.0",), ("1,10,0.1,2.5,,,,80.0", "2,20,0.0")])
def test_short_tables(table, drawn, tmp_path, rows):
    """No epoch yet, one epoch without validation, and a line that was cut off."""
    assert plot_curves(table(*rows), tmp_path / "curves.png")
    assert lines(drawn[0]).get("train", []) == [[1, 2.5]][: len(rows)]
    assert "top-1" not in lines(drawn[0])


def test_one_epoch_is_marked_by_its_number(table, drawn, tmp_path):
    plot_curves(table("7,10,0.1,2.5,,,,80.0"), tmp_path / "curves.png")
    left, right = drawn[0].axes[-1].get_xlim()
    ticks = [tick for tick in drawn[0].axes[-1].get_xticks() if left <= tick <= right]
    assert 7 in ticks and all(tick == int(tick) for tick in ticks)


def test_a_failed_write_leaves_the_old_picture(table, tmp_path, monkeypatch):
    target = tmp_path / "curves.png"
    target.write_bytes(b"old")

    def fail(old, new):
        raise OSError("disk full")

    monkeypatch.setattr(whole_file.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_curves(table("1,10,0.1,2.5,,,,80.0"), target)
    assert target.read_bytes() == b"old"


def test_pyplot_is_left_alone(table, tmp_path, monkeypatch):
    """It keeps global state, and would look for a display."""
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_curves(table("1,10,0.1,2.5,50,90,2.0,80.0"), tmp_path / "curves.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot_curves(table("1,10,0.1,2.5,,,,80.0"), tmp_path / "curves.png") is False
    assert not (tmp_path / "curves.png").exists()
