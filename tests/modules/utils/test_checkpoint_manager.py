"""Checkpoints are whole or absent."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindcv_halo.utils import checkpoint_manager
from mindcv_halo.utils.checkpoint_manager import CheckpointManager, save_atomically


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.ckpt"
    cell = nn.Dense(2, 2)
    save_atomically(cell, path)
    old = path.read_bytes()

    def fail(cell, name):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint_manager.mindspore, "save_checkpoint", fail)
    with pytest.raises(OSError, match="disk full"):
        save_atomically(cell, path)
    assert path.read_bytes() == old


def test_a_file_is_replaced_by_a_readable_one(tmp_path):
    path = tmp_path / "model.ckpt"
    for value in (1.0, 2.0):
        cell = nn.Dense(2, 2, weight_init=value)
        save_atomically(cell, path)
    assert ms.load_checkpoint(str(path))["weight"].asnumpy().max() == 2
    assert [item.name for item in tmp_path.iterdir()] == ["model.ckpt"]


def test_the_latest_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, "net", keep=2)
    for epoch in (1, 2, 3):
        manager.save(nn.Dense(1, 1), epoch, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-2_10.ckpt", "net-3_10.ckpt"]
    assert np.all([path.stat().st_mode & 0o200 for path in tmp_path.iterdir()])
