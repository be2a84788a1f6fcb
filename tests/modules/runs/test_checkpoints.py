"""A run keeps so many of its checkpoints."""

from __future__ import annotations

from mindspore import nn

from mindcv_halo.runs.checkpoints import CheckpointManager


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_latest_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, "net", keep=2)
    for epoch in (1, 2, 3):
        manager.save(nn.Dense(1, 1).get_parameters(), epoch, 10)
    assert names(tmp_path) == ["net-2_10.ckpt", "net-3_10.ckpt", "net_last.ckpt"]
    assert all(path.stat().st_mode & 0o200 for path in tmp_path.iterdir())
    assert (tmp_path / "net_last.ckpt").samefile(tmp_path / "net-3_10.ckpt")


def test_the_best_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, "net", keep=2, policy="top_k")
    for epoch, score in ((1, 50.0), (2, 70.0), (3, None), (4, 60.0)):
        manager.save(nn.Dense(1, 1).get_parameters(), epoch, 10, score)
    assert names(tmp_path) == ["net-2_10.ckpt", "net-4_10.ckpt", "net_last.ckpt"]


def test_all_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, "net", keep=1, policy=None)
    for epoch in (1, 2):
        manager.save(nn.Dense(1, 1).get_parameters(), epoch, 10)
    assert names(tmp_path) == ["net-1_10.ckpt", "net-2_10.ckpt", "net_last.ckpt"]


def test_a_resumed_run_goes_on_counting(tmp_path):
    first = CheckpointManager(tmp_path, "net", keep=2)
    first.save(nn.Dense(1, 1).get_parameters(), 1, 10)
    first.save(nn.Dense(1, 1).get_parameters(), 2, 10)
    again = CheckpointManager(tmp_path, "net", keep=2, kept=first.kept)
    again.save(nn.Dense(1, 1).get_parameters(), 3, 10)
    assert names(tmp_path) == ["net-2_10.ckpt", "net-3_10.ckpt", "net_last.ckpt"]
