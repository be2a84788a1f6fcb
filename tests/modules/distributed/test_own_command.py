"""How the user would start a run again."""

from __future__ import annotations

import pytest

from mindcv_halo.distributed.own_command import name_training_command


@pytest.mark.parametrize(
    "words, command",
    [
        (["python3", "/somewhere/train.py", "-c", "r.yaml"], "python train.py"),
        (["/venv/bin/python", "/venv/bin/mindcv-halo", "train", "-c", "r.yaml"], "mindcv-halo train"),
        (["/venv/bin/python", "/venv/bin/mindcv-halo", "train"], "mindcv-halo train"),
        (["python", "-X", "dev", "-m", "mindcv_halo.cli", "train"], "python train.py"),  # flags are Python's own
        (["python", "-m", "mindcv_halo.cli", "train", "--lr", "1"], "python -m mindcv_halo.cli train"),
        (["python", "-m", "pytest", "train"], "python train.py"),
        (["python", "-c", "import mindcv_halo"], "python train.py"),
    ],
)
def test_the_command_of_training(words, command):
    assert name_training_command(words) == command
