"""The confusion matrix as a picture: its cells, names and numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.report import pictures as confusion_picture
from mindcv_halo.report.pictures import draw_confusion


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """draw(confusions, names) -> the axes of the picture, and its pixels."""
    figures = []
    save = confusion_picture.save_figure

    def keep(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(confusion_picture, "save_figure", keep)

    def run(confusions, names):
        draw_confusion(np.asarray(confusions), names, tmp_path / "confusion.png")
        with Image.open(tmp_path / "confusion.png") as image:
            return figures[-1].axes[0], np.asarray(image.convert("RGB"))

    return run


def names_on(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_three_classes(draw):
    axes, pixels = draw([[3, 1, 0], [0, 0, 0], [0, 0, 8]], ["<b>", "$a_{$", "a name of more than 24 letters"])
    assert names_on(axes.xaxis) == names_on(axes.yaxis) == ["<b>", "$a_{$", "a name of more than 24 …"]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[0, :2], [75, 25])
    assert shares.mask.sum() == 6  # a cell without images has no colour
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"3": (0, 0), "1": (1, 0), "8": (2, 2)}
    assert [patch.get_xy()[1] for patch in axes.patches] == [0.5]  # the row without images
    assert min(pixels.shape[:2]) >= 400


def test_names_in_other_scripts_make_no_noise(draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(np.eye(2, dtype=int), ["猫", "犬"])


@pytest.mark.parametrize("name", ["W" * 200, "\n" * 50, "\u202e" + "a" * 30], ids=ascii)
def test_a_single_class_of_any_name_makes_no_noise(draw, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes, _ = draw([[1]], [name])
    assert axes.get_window_extent().width > 100  # pixels
    assert names_on(axes.xaxis)[0].isprintable()


@pytest.mark.parametrize("num_classes, named, numbered", [(25, True, True), (60, True, False), (61, False, False)])
def test_what_fits(draw, num_classes, named, numbered):
    axes, _ = draw(np.eye(num_classes, dtype=int), [f"class {number}" for number in range(num_classes)])
    assert (names_on(axes.xaxis)[:2] == ["class 0", "class 1"]) is named
    assert bool(axes.texts) is numbered


def test_a_thousand_classes_share_cells(draw):
    confusions = np.diag(np.full(1000, 50))
    confusions[10, 10], confusions[10, 903] = 30, 20
    confusions[996:] = 0
    axes, pixels = draw(confusions, [f"n{number}" for number in range(1000)])
    shares = axes.images[0].get_array()
    assert shares.shape == (250, 250)
    assert shares[2, 225] == pytest.approx(100 * 20 / 200) and shares[2, 2] == pytest.approx(90)
    assert axes.images[0].get_extent() == [-0.5, 999.5, 999.5, -0.5]
    assert "4 neighbouring classes share a cell" in axes.get_ylabel()
    assert [patch.get_xy()[1] for patch in axes.patches] == [995.5]
    assert pixels.shape[0] > 1000  # a cell is several pixels wide


def test_classes_that_fill_no_last_cell(draw):
    axes, _ = draw(np.eye(251, dtype=int), [str(number) for number in range(251)])
    assert axes.images[0].get_array().shape == (126, 126)
    assert axes.images[0].get_extent() == [-0.5, 251.5, 251.5, -0.5]


def test_one_mistake_differs_from_none(draw):
    """One image of a hundred, in a matrix without numbers."""
    confusions = np.diag(np.full(100, 100))
    confusions[0, 99] = 1
    axes, _ = draw(confusions, [str(number) for number in range(100)])
    image = axes.images[0]
    red, green, blue, _ = image.cmap(image.norm(image.get_array()))[0, 99]
    assert red < 0.85 and blue > red
