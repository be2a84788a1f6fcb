"""Files are whole or the old ones."""

from __future__ import annotations

import os

import pytest

from mindcv_halo.files import whole_file
from mindcv_halo.files.whole_file import write_whole


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_whole(path, "old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(whole_file.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_contents(tmp_path):
    write_whole(tmp_path / "bytes", b"\x00\xff")
    write_whole(tmp_path / "text", "é" + os.fsdecode(b"caf\xe9"))  # a file name that is not UTF-8
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_bytes() == "é".encode() + b"caf\xe9"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]
