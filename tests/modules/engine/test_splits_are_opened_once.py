"""Training and validation walk each split once, for its names, its size and its images: ImageNet's takes a while."""

from __future__ import annotations

from importlib import import_module

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from mindcv_halo.config import make_recipe
from mindcv_halo.data import image_folder

training = import_module("mindcv_halo.engine.train")  # the attribute of that name is the function
validation = import_module("mindcv_halo.engine.validate")


class Reached(Exception):
    """Everything that reads the folders has been."""


@pytest.fixture
def walked(tmp_path, monkeypatch):
    """The folders that are walked, in their order, split/class each."""
    for split in ("train", "val"):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / split / label / "0.png")
    folders: list[str] = []
    walk = image_folder.walk_images

    def counted(folder, left_out, *storage):
        folders.append(str(folder).removeprefix(f"{tmp_path}/"))
        return walk(folder, left_out, *storage)

    def stop(*_, **__):
        raise Reached

    monkeypatch.setattr(image_folder, "walk_images", counted)
    monkeypatch.setattr(training, "_open_folder", stop)
    monkeypatch.setattr(validation, "build_network", lambda *_, **__: None)
    monkeypatch.setattr(validation, "evaluate", stop)
    before = ms.get_context("mode")
    yield folders
    ms.set_context(mode=before)


def test_training_and_validation(walked, tmp_path):
    own = {"model": "halonet_test", "image_resize": 8, "batch_size": 2, "num_parallel_workers": 1, "mode": 1}
    recipe = make_recipe({**own, "data_dir": str(tmp_path), "val_while_train": True, "native_kernels": False})
    with pytest.raises(Reached):
        training.train(recipe)
    assert walked == ["train/a", "train/b", "val/a", "val/b"]
    walked.clear()
    with pytest.raises(Reached):
        validation.validate(make_recipe({**own, "data_dir": str(tmp_path), "pretrained": True}), class_names=["a", "b"])
    assert walked == ["val/a", "val/b"]
