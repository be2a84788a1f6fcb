"""Checkpoints are whole or absent."""

from __future__ import annotations

import mindspore as ms
import pytest
from mindspore import nn

from mindcv_halo.files.checkpoint_file import write_checkpoint


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.ckpt"
    cell = nn.Dense(2, 2)
    write_checkpoint(cell.get_parameters(), path)
    old = path.read_bytes()

    def fail(entries, name, **_):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(ms, "save_checkpoint", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(cell.get_parameters(), path)
    assert path.read_bytes() == old


def test_a_file_is_replaced_by_a_readable_one(tmp_path):
    path = tmp_path / "model.ckpt"
    for value in (1.0, 2.0):
        cell = nn.Dense(2, 2, weight_init=value)
        write_checkpoint(cell.get_parameters(), path)
    assert ms.load_checkpoint(str(path))["weight"].asnumpy().max() == 2
    assert [item.name for item in tmp_path.iterdir()] == ["model.ckpt"]
