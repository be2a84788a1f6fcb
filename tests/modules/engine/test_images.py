"""The files that a prediction is about."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from mindcv_halo.engine.images import list_images, show_progress
from mindcv_halo.errors import UserError


def test_a_folder_is_listed_without_what_is_hidden(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("mindcv_halo"), "warning", said.append)
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", "notes.txt", ".hidden.png", ".cache/c.png", "._a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list_images([str(tmp_path), str(tmp_path / "notes.txt")])
    assert [str(name) for _, name in found] == ["a.webp", "b/1.jpg", "b/2.PNG", "notes.txt"]
    assert [path for path, _ in found] == [tmp_path / name for _, name in found]
    assert said == [
        f"image_path {tmp_path}: left out 3 files: 2 hidden, such as {tmp_path}/._a.jpg; "
        f"1 without the extension of an image, such as {tmp_path}/notes.txt"
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no image there"):
        list_images(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"absent: there is no such file or folder"):
        list_images([str(tmp_path), str(tmp_path / "absent")])
    os.mkfifo(tmp_path / "pipe.jpg")  # which would wait for its writer
    with pytest.raises(UserError, match=r"pipe.jpg: it is no ordinary file, but a pipe; give a file$"):
        list_images(str(tmp_path / "pipe.jpg"))


def test_a_bar_shows_on_a_terminal_only(capsys, monkeypatch):
    assert list(show_progress([Path("a"), Path("b")])) == [Path("a"), Path("b")]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(show_progress([Path("a"), Path("b")]))
    assert "predicting: 100%" in capsys.readouterr().err
