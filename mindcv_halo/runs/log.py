"""The log: on the terminal and in a file from rank 0; of the other ranks only what is wrong."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

from tqdm import tqdm

from ..errors import summarise_error


class _Terminal(logging.Handler):
    """Writes above a progress bar instead of through it. Whoever stops reading, as `head` does, stops nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            text.encode(encoding, "surrogateescape")
        except UnicodeEncodeError:  # a terminal that cannot show a name gets its escapes
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except OSError:
            _leave_output()


class _RankFile(logging.FileHandler):
    """rank{N}.log, made at its first line."""

    def __init__(self, folder: Path, rank: int):
        super().__init__(folder / f"rank{rank}.log", encoding="utf-8", errors="surrogateescape", delay=True)
        self.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s rank {rank}: %(message)s"))
        self.is_whole = True  # whether the disk took the latest line

    def _open(self):
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)  # another machine's disk has none yet
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        """A disk that is full, or not there, does not end a run; what must be kept says so itself."""
        self.is_whole = True
        try:
            super().emit(record)
        except OSError:
            self.is_whole = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Where logging itself would print a traceback."""
        self.is_whole = False


def set_logger(
    name: str | None = "mindcv_halo",
    output_dir: str | Path | None = None,
    rank: int | None = 0,
    log_level: int = logging.INFO,
    color: bool = False,
) -> logging.Logger:
    """The logger called `name`, which from now on prints, and appends to output_dir/rank{rank}.log.

    Ranks other than 0 say, in both places, what is wrong. Called again it replaces what it set up before. A rank of
    None is 0; `color`, which MindCV has, changes nothing.
    """
    rank = rank or 0
    logger = logging.getLogger(name)
    logger.setLevel(log_level)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    terminal = _Terminal()
    terminal.setFormatter(logging.Formatter(f"rank {rank}: %(message)s" if rank else "%(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if output_dir is not None:
        handlers.append(_RankFile(Path(output_dir), rank))
    for handler in handlers:
        handler.setLevel(logging.WARNING if rank else logging.NOTSET)
        logger.addHandler(handler)
    return logger


def log_to_file(text: str, name: str = "mindcv_halo") -> Path | None:
    """Write an error into the log's file alone, for what the terminal is told otherwise; the file, if it is there."""
    record = logging.LogRecord(name, logging.ERROR, "", 0, text, None, None)
    for handler in logging.getLogger(name).handlers:
        if isinstance(handler, _RankFile):
            handler.handle(record)
            return Path(handler.baseFilename) if handler.is_whole else None
    return None


def keep_error(error: BaseException, name: str = "mindcv_halo") -> str:
    """One line about an error that nobody expected; it names the file that holds all of it.

    That is the log's file, or, where there is none that can be written, a new one among the temporary files.
    """
    text = "".join(traceback.format_exception(error))
    path = log_to_file(text, name)
    if path is None:
        with tempfile.NamedTemporaryFile("w", prefix="mindcv_halo-", suffix=".log", delete=False) as file:
            file.write(text)
        path = Path(file.name)
    return f"{summarise_error(error)}; all of it is in {path}"


def _leave_output() -> None:
    """From now on nothing that is printed goes anywhere; what is in Python's buffer neither."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    log_to_file("nobody reads the standard output any more; the run goes on")
