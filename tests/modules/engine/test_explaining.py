"""Pictures of attention: what is on them, where they lie, and that none is lost."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from mindcv_halo import Predictor, create_model
from mindcv_halo.config import make_recipe
from mindcv_halo.engine import explain
from mindcv_halo.engine.explain import predict_and_explain
from mindcv_halo.engine.explanation_picture import draw_explanation
from mindcv_halo.errors import UserError

FRAMES = {"query": (0xFF, 0x2D, 0x6F), "block": (0xFF, 0xD2, 0x1F), "window": (0x22, 0xC7, 0xFF)}
OUTSIDE = (0xD9, 0xDD, 0xE2)


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("weights") / "model.ckpt"
    ms.save_checkpoint(create_model("halonet_test", num_classes=3), str(path))
    # In PyNative mode nothing is compiled.
    return {"model": "halonet_test", "ckpt_path": str(path), "num_classes": 3, "mode": 1, "device_target": "CPU"}


def find_colour(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a picture that have this colour, (2, number)."""
    pixels = np.array(Image.open(path).convert("RGB")).astype(int)
    return np.array(np.nonzero((np.abs(pixels - colour) <= 2).all(2)))


@pytest.mark.parametrize("size, layer", [(32, 0), (64, -1), (256, 1)])
def test_a_picture_shows_the_image_and_the_three_frames(values, tmp_path, size, layer):
    """The image is green, so that the frames' colours are their own; the query lies in its upper left corner."""
    pytest.importorskip("matplotlib")
    names = ["a $formula$", "猫", "x" * 90]  # what a title must cope with
    options = {**values, "image_resize": size, "class_names": names}
    predictor = Predictor(options.pop("model"), checkpoint_path=options.pop("ckpt_path"), **options)
    green = np.zeros((size, size, 3), np.uint8)
    green[..., 1] = 90
    explanation = predictor.explain(green, layer, (0, 0))
    path = tmp_path / "picture.png"
    draw_explanation(explanation, path)
    left = Image.open(path).width * 5.6 / (5.6 + 2.5 * 2)  # the part of the large image; 2 x 2 heads beside it
    spans = {}
    for name, colour in FRAMES.items():
        rows, columns = find_colour(path, colour)
        assert (columns < left).any() and (columns > left).any(), name
        large = columns[(columns < left) & (rows < Image.open(path).height * 0.75)]
        spans[name] = np.ptp(large)
    sides = [box.bottom - box.top for box in (explanation.attention.block, explanation.attention.window)]
    # Widths of frames, with a line of 2.5 points about 4 pixels wide.
    assert spans["block"] / sides[0] == pytest.approx(spans["window"] / sides[1], abs=4)
    assert spans["query"] == pytest.approx(spans["block"] / sides[0], abs=4)
    assert find_colour(path, OUTSIDE).size  # the window reaches beyond the image
    assert find_colour(path, (0, 90, 0)).size


def make_images(folder: Path) -> None:
    for number, name in enumerate(("a/1.png", "a/1.jpg", "b/1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 60 * number, np.uint8)).save(folder / name)


@pytest.fixture
def empty_pictures(monkeypatch):
    """Where it matters which there are: to draw them is most of the work, and others look at what is on them."""
    monkeypatch.setattr(explain, "draw_explanation", lambda explanation, path: path.touch())


def test_every_image_has_a_picture_of_its_own(values, tmp_path, empty_pictures):
    pytest.importorskip("matplotlib")
    make_images(tmp_path / "images")
    recipe = make_recipe({**values, "image_resize": 32})
    images = [str(tmp_path / "images"), str(tmp_path / "images/a/1.png"), str(tmp_path / "images/b/1.png")]
    folder = tmp_path / "new" / "pictures"
    predictions = list(predict_and_explain(recipe, images, str(folder), top_k=2))
    assert [str(prediction.path.relative_to(tmp_path / "images")) for prediction in predictions] == [
        "a/1.jpg", "a/1.png", "b/1.png", "a/1.png", "b/1.png",
    ]  # fmt: skip
    assert all(len(prediction.labels) == 2 for prediction in predictions)
    pictures = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert pictures == ["1.png-2.png", "1.png.png", "a/1.jpg.png", "a/1.png.png", "b/1.png.png"]


def test_bad_images_are_left_out_if_there_are_others(values, tmp_path, empty_pictures):
    pytest.importorskip("matplotlib")
    make_images(tmp_path / "images")
    (tmp_path / "images/a/1.png").write_bytes(b"no image")
    recipe, errors = make_recipe({**values, "image_resize": 32}), []
    folder = str(tmp_path / "pictures")
    found = list(predict_and_explain(recipe, str(tmp_path / "images"), folder, on_error=errors.append))
    assert len(found) == 2 and len(errors) == 1 and "a/1.png" in str(errors[0])
    with pytest.raises(UserError, match="a/1.png"):
        list(predict_and_explain(recipe, str(tmp_path / "images/a/1.png"), folder, on_error=errors.append))
    with pytest.raises(UserError, match="a/1.png"):
        list(predict_and_explain(recipe, str(tmp_path / "images"), folder))


@pytest.mark.parametrize(
    "place, message",
    [({"layer": 9}, "layer 9 must be one of"), ({"query": (0, 32)}, "query 0 32 lies outside the image of 32 x 32")],
)
def test_places_are_checked_before_anything_is_written(values, tmp_path, place, message):
    pytest.importorskip("matplotlib")
    make_images(tmp_path / "images")
    recipe = make_recipe({**values, "image_resize": 32})
    with pytest.raises(UserError, match=message):
        list(predict_and_explain(recipe, str(tmp_path / "images"), str(tmp_path / "pictures"), **place))
    assert not (tmp_path / "pictures").exists()
