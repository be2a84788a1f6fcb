"""The weights that travel with the package: what their rows say they are, and as right as when they were trained."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from mindcv_halo import create_model, list_models
from mindcv_halo.engine import Predictor
from mindcv_halo.models import get_pretrained_cfg
from mindcv_halo.models.weights import fetch_pretrained, find_packaged

# The first of Fashion-MNIST's test images (Zalando SE, MIT licence) and their labels.
IMAGES = Path(__file__).parents[3] / "golden" / "fashion_mnist_500.npz"
RIGHT = 474  # of them; that of the whole test set is in the run's log, beside the weights
BATCH = 125


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setenv("MINDCV_HALO_MIRROR", "http://127.0.0.1:9")


def packaged() -> list[str]:
    return [name for name in list_models(pretrained=True) if find_packaged(get_pretrained_cfg(name))]


def test_they_are_the_files_that_their_rows_name():
    assert packaged() == ["halonet_mini"]
    for name in packaged():
        cfg = get_pretrained_cfg(name)
        file = fetch_pretrained(name, cfg)
        assert sha256(file.read_bytes()).hexdigest() == cfg["sha256"]
        assert file.with_suffix(".log").is_file() and file.with_suffix(".yaml").is_file()


def test_accuracy(pynative):
    """Of pictures in three colours, as infer.py reads them, and of grey ones."""
    with np.load(IMAGES) as file:
        images, labels = file["images"], file["labels"]
    coloured = create_model("halonet_mini", pretrained=True).set_train(False)
    grey = create_model("halonet_mini", pretrained=True, in_channels=1).set_train(False)
    cfg = coloured.default_cfg
    right = 0
    for first in range(0, len(images), BATCH):
        part = ((images[first : first + BATCH, None] - cfg["mean"][0]) / cfg["std"][0]).astype(np.float32)
        logits = coloured(Tensor(np.repeat(part, 3, axis=1))).asnumpy()
        right += int((logits.argmax(1) == labels[first : first + BATCH]).sum())
        if not first:
            np.testing.assert_allclose(grey(Tensor(part)).asnumpy(), logits, rtol=1e-3, atol=1e-3)
    assert abs(right - RIGHT) <= 1  # an image may lie on the border of two classes


@pytest.mark.parametrize("ema", [False, True])  # which a run's recipe may have, and published weights never do
def test_a_picture_is_called_by_name(tmp_path, ema):
    with np.load(IMAGES) as file:
        Image.fromarray(file["images"][0]).save(tmp_path / "boot.png")
    predictor = Predictor("halonet_mini", pretrained=True, mode=1, ema=ema)
    assert predictor(tmp_path / "boot.png").class_names[0] == "Ankle boot"
