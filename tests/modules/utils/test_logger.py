"""Rank 0 speaks and writes; the others say what is wrong, and who they are."""

from __future__ import annotations

import logging

import pytest

from mindcv_halo.utils.logger import set_logger


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


def test_other_ranks_say_what_is_wrong_and_write_nothing(capsys, tmp_path):
    say(set_logger("test_logger", tmp_path, rank=3))
    assert capsys.readouterr().out == "rank 3: trouble\n"
    assert list(tmp_path.iterdir()) == []


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
