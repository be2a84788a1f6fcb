"""A small folder of images, and the flags of a run on it that takes seconds."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import mindspore as ms
import pytest
from support.made_once import make_once
from support.small_run import make_flags, write_images

from mindcv_halo import engine
from mindcv_halo.config import make_recipe
from mindcv_halo.runs.state import load_state, save_state


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
def plain_run(image_folder, tmp_path_factory) -> engine.TrainingResult:
    """What the run of `flags` ends with, for tests that only look at it, or compare others with it."""

    def train(folder: Path) -> None:
        result = engine.train(make_recipe({**make_flags(image_folder, folder / "run"), "mode": "1"}))
        (folder / "result").write_bytes(pickle.dumps(result))

    return pickle.loads((make_once(tmp_path_factory, "plain", train) / "result").read_bytes())


@pytest.fixture(scope="session")
def graph_run(plain_run, image_folder, tmp_path_factory) -> Path:
    """The folder of a run that goes on in graph mode, from what `plain_run` was after its first epoch of two.

    A run may not change its mode, so that its state says that it was in this one.
    """

    def train(folder: Path) -> None:
        run = Path(shutil.copytree(plain_run.last_checkpoint.parent, folder / "run"))
        (run / "halonet_test_state-2_0.safetensors").unlink()
        arrays, content = load_state(run / "halonet_test_state-1_0.safetensors")
        content["recipe"]["mode"] = 0
        save_state({name: ms.Tensor(value) for name, value in arrays.items()}, content, run, "halonet_test", 1, 0)
        engine.train(make_recipe({**make_flags(image_folder, run), "mode": "0", "resume": "True"}))

    return make_once(tmp_path_factory, "graph", train) / "run"
