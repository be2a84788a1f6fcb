"""Rank 0 speaks and writes; the others say what is wrong, and who they are."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mindcv_halo.runs.log import keep_error, log_to_file, set_logger


@pytest.fixture(autouse=True)
def quiet_afterwards():
    """Give the logger of these tests back as it was: without a file that is open."""
    yield
    set_logger("test_logger")


def say(logger: logging.Logger) -> None:
    logger.debug("detail")
    logger.info("news")
    logger.warning("trouble")


def test_rank_0_speaks_and_writes(capsys, tmp_path):
    say(set_logger("test_logger", tmp_path))
    assert capsys.readouterr().out == "news\ntrouble\n"
    lines = (tmp_path / "rank0.log").read_text().splitlines()
    assert [line.partition(" INFO ")[2] or line.partition(" WARNING ")[2] for line in lines] == [
        "rank 0: news",
        "rank 0: trouble",
    ]


def test_other_ranks_say_what_is_wrong(capsys, tmp_path):
    """And have a file of their own from then on, where their machine had not even the folder."""
    logger = set_logger("test_logger", tmp_path / "run", rank=3)
    logger.info("news")
    assert not (tmp_path / "run").exists()
    say(logger)
    assert capsys.readouterr().out == "rank 3: trouble\n"
    assert (tmp_path / "run" / "rank3.log").read_text().endswith("WARNING rank 3: trouble\n")


def test_an_error_for_the_file_alone(capsys, tmp_path):
    assert log_to_file("nowhere", "test_logger") is None
    set_logger("test_logger", tmp_path)
    assert log_to_file("the cause", "test_logger") == tmp_path / "rank0.log"
    assert (tmp_path / "rank0.log").read_text().endswith("ERROR rank 0: the cause\n")
    assert capsys.readouterr().out == ""


def test_a_reader_that_goes_away_stops_nothing(tmp_path):
    """As `| head -1` does: the process goes on, its file has every line, and it ends with its own status."""
    script = (
        "import sys; from mindcv_halo.runs.log import set_logger\n"
        "logger = set_logger('mindcv_halo', sys.argv[1])\n"
        "for number in range(1000): logger.info(f'line {number}')\n"
        "print('and what is printed'); sys.exit(7)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 7
    log = (tmp_path / "rank0.log").read_text()
    assert log.count(": line ") == 1000 and log.count("nobody reads the standard output any more") == 1


@pytest.mark.parametrize("encoding, line", [("utf-8", "cat 猫"), ("latin-1", "cat \\u732b"), ("ascii", "cat \\u732b")])
def test_a_terminal_that_cannot_show_a_name(monkeypatch, tmp_path, encoding, line):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    set_logger("test_logger", tmp_path).info("cat 猫")
    assert stream.buffer.getvalue().decode(encoding) == f"{line}\n"
    assert (tmp_path / "rank0.log").read_text(encoding="utf-8").endswith("cat 猫\n")


def test_an_unexpected_error_is_kept_somewhere(tmp_path):
    """In the log's file, or where there is none that can be written, in one of its own."""
    (tmp_path / "file").touch()
    for folder in (tmp_path, None, tmp_path / "file"):
        set_logger("test_logger", folder)
        try:
            raise RuntimeError("- Kernel select failed:\n-----\nno kernel\n-----\n- The Function Call Stack\nin line 1")
        except RuntimeError as error:
            line = keep_error(error, "test_logger")
        start, _, path = line.partition("; all of it is in ")
        assert start == "RuntimeError: Kernel select failed: no kernel"
        assert (Path(path) == tmp_path / "rank0.log") is (folder == tmp_path)
        text = Path(path).read_text()
        assert "in line 1" in text and "test_log.py" in text
        if folder != tmp_path:
            Path(path).unlink()


def test_a_disk_that_takes_nothing_stops_nothing(capsys, tmp_path):
    (tmp_path / "file").touch()
    say(set_logger("test_logger", tmp_path / "file"))
    assert capsys.readouterr() == ("news\ntrouble\n", "")


def test_called_again_it_replaces_what_was(capsys, tmp_path):
    say(set_logger("test_logger", rank=1))
    first = set_logger("test_logger", tmp_path)
    file = first.handlers[1]
    say(set_logger("test_logger", tmp_path))
    assert file.stream is None  # closed
    assert capsys.readouterr().out == "rank 1: trouble\nnews\ntrouble\n"
    assert len((tmp_path / "rank0.log").read_text().splitlines()) == 2


def test_the_level_and_the_parent(capsys, caplog):
    logger = set_logger("test_logger", log_level=logging.DEBUG)
    say(logger)
    assert capsys.readouterr().out == "detail\nnews\ntrouble\n"
    assert caplog.records == []  # else a script with logging of its own prints all twice
    assert set_logger().name == "mindcv_halo"
