"""A small folder of images, and the flags of a run on it that takes seconds."""

from __future__ import annotations

import pickle
from pathlib import Path

import mindspore as ms
import pytest
from support.made_once import make_once
from support.small_run import make_flags, write_images

from mindcv_halo import engine
from mindcv_halo.config import make_recipe


@pytest.fixture(autouse=True)
def same_mode():
    """A run chooses MindSpore's mode; the next test finds the one of before."""
    before = ms.get_context("mode")
    yield
    ms.set_context(mode=before)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """train: 3 x 8 images, val: 3 x 5 images."""

    def write(root: Path) -> None:
        write_images(root / "train", 8, seed=0)
        write_images(root / "val", 5, seed=1)

    return make_once(tmp_path_factory, "colours", write)


@pytest.fixture
def flags(image_folder, tmp_path) -> dict[str, str]:
    """Flags of a short run in PyNative mode, which compiles nothing; a test changes what it is about."""
    return {**make_flags(image_folder, tmp_path / "run"), "mode": "1"}


@pytest.fixture(scope="session")
def pynative_run(image_folder, tmp_path_factory) -> engine.TrainingResult:
    """What the run of `flags` ends with, for tests that compare others with it."""

    def train(folder: Path) -> None:
        result = engine.train(make_recipe({**make_flags(image_folder, folder / "run"), "mode": "1"}))
        (folder / "result").write_bytes(pickle.dumps(result))

    return pickle.loads((make_once(tmp_path_factory, "pynative", train) / "result").read_bytes())


@pytest.fixture(scope="session")
def plain_run(image_folder, tmp_path_factory) -> engine.TrainingResult:
    """What a run in graph mode ends with, for tests that only look at it; most of its time is compilation."""

    def train(folder: Path) -> None:
        result = engine.train(make_recipe(make_flags(image_folder, folder / "run")))
        (folder / "result").write_bytes(pickle.dumps(result))

    return pickle.loads((make_once(tmp_path_factory, "plain", train) / "result").read_bytes())
