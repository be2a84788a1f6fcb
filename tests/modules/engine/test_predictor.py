"""Predictor: every kind of image, names of classes, threads, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from mindcv_halo import Predictor, create_model
from mindcv_halo.config.options import list_options
from mindcv_halo.data.class_names import imagenet_class_names
from mindcv_halo.engine import infer as inference
from mindcv_halo.engine.images import read_pixels
from mindcv_halo.errors import UserError

OPTIONS = {"image_resize": 32, "device_target": "CPU", "mode": 1}
COMPILED = {**OPTIONS, "mode": 0}


def save_network(folder: Path, num_classes: int = 3, **options) -> str:
    ms.set_seed(1)
    network = create_model("halonet_test", num_classes=num_classes, **options)
    network.classifier.weight.set_data(network.classifier.weight * 100)  # probabilities that differ
    path = folder / "model.ckpt"
    ms.save_checkpoint(network, str(path))
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return save_network(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def predictor(checkpoint) -> Predictor:
    return Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, batch_size=4, **COMPILED)


def make_pixels(seed: int = 0, size: tuple[int, int] = (40, 52)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_one_image_gives_one_prediction(predictor):
    prediction = predictor(make_pixels())
    assert prediction.path is None and sorted(prediction.labels) == [0, 1, 2]
    assert prediction.class_names == tuple(str(label) for label in prediction.labels)
    logits = predictor.logits([make_pixels()])[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(prediction.probabilities, np.sort(shares)[::-1], rtol=1e-9)
    assert prediction.labels == tuple(np.argsort(-shares))


def test_several_give_a_list_in_their_order(predictor):
    images = [make_pixels(seed) for seed in range(7)]  # a full batch, and one that is filled up
    predictions = predictor(images)
    assert len(predictions) == 7 and len({prediction.probabilities for prediction in predictions}) == 7
    for image, prediction in zip(images, predictions, strict=True):
        np.testing.assert_allclose(prediction.probabilities, predictor(image).probabilities, rtol=1e-4)
    assert predictor(()) == [] and predictor.logits([]).shape == (0, 3)


def test_every_kind_of_image(predictor, tmp_path):
    """One picture as file, Pillow image and array, and greys as their three equal channels."""
    pixels = make_pixels()
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray(pixels).save(tmp_path / "image.bmp")
    opened = Image.open(tmp_path / "image.png")
    see_through = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 9, np.uint8)]))
    same = [pixels, pixels[::-1][::-1], tmp_path / "image.png", str(tmp_path / "image.bmp"), opened, see_through]
    logits = predictor.logits(same)
    assert np.ptp(logits, axis=0).max() < 1e-5
    grey = pixels[..., 0]
    greys = [grey, grey[..., None], np.dstack([grey] * 3), Image.fromarray(grey)]
    grey_logits = predictor.logits(greys)
    assert np.ptp(grey_logits, axis=0).max() < 1e-5 < np.abs(grey_logits[0] - logits[0]).max()
    assert predictor(tmp_path / "image.png").path == tmp_path / "image.png"


@pytest.mark.parametrize(
    "image, message",
    [
        (make_pixels().astype(np.float32), r"an array of type float32 and shape \(40, 52, 3\) is no image"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\) is no image; it must be uint8"),
        (np.zeros(4, np.uint8), r"shape \(4,\) is no image"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\) is no image"),
        (7, r"an image is a path, a Pillow image or an array, not a int"),
        ("absent.png", r"bad image file absent.png: No such file"),
    ],
)
def test_bad_images(predictor, image, message):
    with pytest.raises(UserError, match=message):
        predictor(image)


def test_a_damaged_pillow_image(predictor, tmp_path):
    Image.fromarray(make_pixels()).save(tmp_path / "image.png")
    content = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"bad image: .*; it is damaged"):
        predictor(Image.open(tmp_path / "image.png"))


def test_streams_read_as_they_go_and_can_leave_out(predictor):
    read, errors = [], []

    def images():
        for seed in range(9):
            read.append(seed)
            yield "absent.png" if seed in (1, 6) else make_pixels(seed)

    predictions = predictor.stream(images(), errors.append)
    first = next(predictions)
    assert read == [0, 1, 2, 3, 4]  # four images that can be read
    rest = list(predictions)
    assert len(rest) == 6 and [str(error).partition(":")[0] for error in errors] == ["bad image file absent.png"] * 2
    assert [first, *rest] == predictor([make_pixels(seed) for seed in range(9) if seed not in (1, 6)])
    with pytest.raises(UserError, match="absent.png"):
        list(predictor.stream(images()))


def test_threads_share_a_predictor(predictor, checkpoint):
    """And several of them: MindSpore's mode and compiler belong to the process."""
    images = [make_pixels(seed) for seed in range(6)]
    alone = [predictor(image) for image in images]
    explained = predictor.explain(images[0]).attention.weights
    busy = []
    run = predictor._run

    both = Event()  # whether a second call came while the first one ran

    def watched(batch):
        busy.append(True)
        if len(busy) > 1:
            both.set()
        both.wait(0.05)
        assert len(busy) == 1  # one at a time
        result = run(batch)
        busy.pop()
        return result

    predictor._run = watched
    try:
        other = Predictor("halonet_test", checkpoint_path=checkpoint, mode=1)
        other._run = watched
        with ThreadPoolExecutor(6) as pool:
            others = pool.map(other, images)
            weights = pool.submit(lambda: predictor.explain(images[0]).attention.weights)
            together = list(pool.map(predictor, images * 3))
    finally:
        predictor._run = run
    assert together == alone * 3
    assert len(list(others)) == len(images)
    np.testing.assert_array_equal(weights.result(), explained)


def test_the_mode_is_the_callers(checkpoint):
    before = ms.get_context("mode")
    results = []
    for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
        ms.set_context(mode=mode)
        try:
            made = Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, **COMPILED)
            results.append(made.logits([make_pixels()]))
            assert ms.get_context("mode") == mode
        finally:
            ms.set_context(mode=before)
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


def test_an_explanation_holds_the_prediction_and_the_view(predictor):
    pixels = make_pixels(size=(32, 32))
    explanation = predictor.explain(pixels, "stages.1.1", (3, 30))
    np.testing.assert_allclose(explanation.prediction.probabilities, predictor(pixels).probabilities, rtol=1e-5)
    assert explanation.view.shape == (32, 32, 3) and explanation.view.dtype == np.uint8
    attention = explanation.attention
    assert (attention.layer, attention.stride, attention.image_size) == ("stages.1.1", 4, (32, 32))
    assert attention.image_query == (0, 28, 4, 32)
    assert predictor.attention_layers == ("stages.1.1", "stages.2.0", "stages.3.0")
    with pytest.raises(UserError, match="query 32 0 lies outside the image of 32 x 32 pixels"):
        predictor.explain(pixels, 0, (32, 0))


def test_the_view_is_what_the_resize_and_the_crop_leave(checkpoint):
    """Blue left and right of a red square: the crop leaves the square alone."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[..., 2], pixels[:, 20:60] = 255, (255, 0, 0)
    made = Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, crop_pct=0.8, **OPTIONS)
    view = made.explain(pixels).view
    assert view.shape == (32, 32, 3) and (view == (255, 0, 0)).all()


def test_names_of_classes(checkpoint, tmp_path):
    def names(path: str = checkpoint, **options):
        return Predictor("halonet_test", checkpoint_path=path, **OPTIONS, **options).class_names

    assert names(num_classes=3) == ["0", "1", "2"]
    assert names(class_names=["a", "b", "c"]) == ["a", "b", "c"]
    assert names(class_names={"c": 2, "a": 0, "b": 1}) == ["a", "b", "c"]
    (tmp_path / "file.txt").write_text("x\ny\nz\n")
    assert names(class_names=tmp_path / "file.txt") == names(class_names=str(tmp_path / "file.txt")) == ["x", "y", "z"]
    beside = save_network(tmp_path)
    (tmp_path / "class_names.txt").write_text("blue\ngreen\nred\n")
    assert names(beside) == ["blue", "green", "red"]
    assert names(beside, class_names=["a", "b", "c"]) == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"the class names beside .*model.ckpt: 3 names, but num_classes is 4"):
        names(beside, num_classes=4)
    with pytest.raises(UserError, match=r"class_names: 2 names, but num_classes is 3"):
        names(class_names=["a", "b"], num_classes=3)
    with pytest.raises(UserError, match=r"num_classes 0: prediction needs a classifier"):
        names(num_classes=0)


def test_a_thousand_classes_are_imagenets(tmp_path):
    made = Predictor("halonet_test", checkpoint_path=save_network(tmp_path, 1000), top_k=2, **OPTIONS)
    prediction = made(make_pixels())
    assert prediction.class_names == tuple(imagenet_class_names()[label] for label in prediction.labels)
    assert len(prediction.labels) == len(prediction.probabilities) == 2


def test_a_network_of_grey_images(tmp_path):
    """Trained on MNIST: one channel, the whole image."""
    path = save_network(tmp_path, 10, in_channels=1)
    options = {"dataset": "mnist", "in_channels": 1}
    made = Predictor("halonet_test", checkpoint_path=path, num_classes=10, **OPTIONS, **options)
    pixels = make_pixels()
    assert made.explain(pixels).view.shape == (32, 32, 1)
    grey = np.array(Image.fromarray(pixels).convert("L"))
    np.testing.assert_allclose(made.logits([pixels]), made.logits([grey]), atol=1e-6)


def test_exif(checkpoint, tmp_path):
    """The same for a file, and for what Pillow makes of it; arrays have none."""
    pixels = make_pixels()
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned by 90 degrees to the left
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    for is_asked, seen in ((False, pixels), (True, np.rot90(pixels).copy())):
        made = Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, exif=is_asked, **OPTIONS)
        with Image.open(tmp_path / "image.png") as image:
            logits = made.logits([tmp_path / "image.png", image, seen])
        np.testing.assert_array_equal(logits, logits[[2, 2, 2]])


def test_a_strip_of_an_image_is_refused_before_it_is_resized(checkpoint, tmp_path):
    made = Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, **OPTIONS)
    made(np.zeros((1, 50, 3), np.uint8))
    with pytest.raises(UserError, match=r"it has 51 x 1 pixels, and its sides may differ by a factor of 50 at most"):
        made(np.zeros((1, 51, 3), np.uint8))
    Image.new("RGB", (1, 9000)).save(tmp_path / "strip.png")
    errors = []
    assert not list(made.stream([tmp_path / "strip.png"], errors.append))
    assert "strip.png: it has 1 x 9000 pixels" in str(errors[0])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"checkpoint_path": ""}, r"prediction needs weights: give --ckpt_path FILE, in Python checkpoint_path=FILE"),
        ({"batch_size": 0}, r"batch_size 0 must be at least 1"),
        ({"top_k": 0}, r"top_k 0 must be at least 1"),
        ({"imagesize": 3}, r"unknown recipe key 'imagesize'; nearest: image_resize"),
        ({"model_name": "halonet_5"}, r"unknown model 'halonet_5'"),
        ({"reset_head": True}, r"reset_head True is of no use in prediction; leave it out"),
    ],
)
def test_bad_settings(checkpoint, changes, message):
    settings = {"model_name": "halonet_test", "checkpoint_path": checkpoint, "num_classes": 3, **OPTIONS, **changes}
    with pytest.raises(UserError, match=message):
        Predictor(**settings)


def test_keys_that_prediction_has_no_use_for(monkeypatch):
    """Each key of a recipe is taken or refused by its name, before any work."""
    monkeypatch.setattr(inference, "find_class_names", lambda *_: ["a"])
    monkeypatch.setattr(inference, "use_device", pytest.fail)
    refused = set()
    for key, option in list_options().items():
        name = {"model": "model_name", "ckpt_path": "checkpoint_path"}.get(key, key)
        with pytest.raises((UserError, pytest.fail.Exception)) as error:
            Predictor(**{"checkpoint_path": "x.ckpt", name: "x.ckpt" if key == "ckpt_path" else option.default})
        if error.type is UserError:
            assert str(error.value) == f"Predictor: {key} {option.default} is of no use in prediction; leave it out"
            refused.add(key)
    assert {"lr", "seed", "mixup", "scale", "loss", "ema_decay", "epoch_size", "shuffle", "amp_level"} <= refused
    assert not refused & {"mode", "mean", "crop_pct", "dialect", "ema", "val_amp_level", "fuse_bn", "dataset", "exif"}


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", b"GIF89a"])
def test_an_error_about_an_image_says_what_prediction_can_do(tmp_path, content):
    """skip_bad_images is for data sets."""
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"bad image file .*x.png: .*; remove or replace it$"):
        read_pixels(tmp_path / "x.png")
