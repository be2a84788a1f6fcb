"""examples/fashion.py: which images it takes, and what it says of a run that was stopped. Nothing is trained here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.array_files import ARRAY_FILES

ROOT = Path(__file__).parents[2]


# Flags count, then the recipe.
TRAIN = """
import re, sys
from pathlib import Path
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
recipe = Path(flags["--config"]).read_text()
folder = Path(flags.get("--ckpt_save_dir") or re.search("ckpt_save_dir: (.*)", recipe)[1])
folder.mkdir(parents=True, exist_ok=True)
top1 = "" if flags.get("--val_while_train") == "False" else 50.1
(folder / "metrics.csv").write_text(f"epoch,top1\\n1,{top1}\\n2,{top1}\\n")
print("images from", flags["--data_dir"])
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What fashion.py needs of one, with a train.py that writes two epochs; and a PATH without apt-get."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/fashion.py").write_text((ROOT / "examples/fashion.py").read_text())
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def run(checkout: Path, *flags: str, images: Path | None = None) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "FASHION_MNIST"}
    environment |= {"PYTHONPATH": str(ROOT), "PATH": ""}
    environment |= {"FASHION_MNIST": os.path.relpath(images, checkout)} if images else {}
    command = [sys.executable, "examples/fashion.py", *flags]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def images(checkout) -> Path:
    place = checkout / "images"
    place.mkdir()
    for name, content in ARRAY_FILES["mnist"]().items():
        (place / name).write_bytes(content)
    return place


def test_flags_count_in_what_it_says(checkout, images):
    done = run(checkout, "--epoch_size", "2", "--ckpt_save_dir", "elsewhere", "--model", "halonet_test", images=images)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"images from {images}") == 2
    assert done.stdout.count("halonet_test: top-1 50.10 % on the test images") == 2
    done = run(checkout, "--epoch_size", "2", "--val_while_train", "False", images=images)
    assert "halonet_mini: top-1 not measured on" in done.stdout


def test_a_run_that_was_stopped_is_no_result(checkout, images):
    done = run(checkout, images=images)
    assert done.returncode == 1 and re.search(r"halonet_mini ended after 2 of \d+ epochs", done.stderr)
    assert "top-1" not in done.stdout


def test_images_that_are_not_all_there(checkout, images):
    (images / "t10k-labels-idx1-ubyte").unlink()
    done = run(checkout, images=images)
    assert done.returncode == 1
    assert (
        "FASHION_MNIST=images lacks t10k-labels-idx1-ubyte; put them there, or leave FASHION_MNIST out" in done.stderr
    )
    (checkout / ".cache/fashion/usr/share/datasets").mkdir(parents=True)
    images.rename(checkout / ".cache/fashion/usr/share/datasets/fashion-mnist")  # as of a fetch that was stopped
    if not Path("/usr/share/datasets/fashion-mnist").exists():
        assert "the package dataset-fashion-mnist cannot be had" in run(checkout).stderr
