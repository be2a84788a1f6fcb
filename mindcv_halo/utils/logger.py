"""The log: on the terminal and in a file from rank 0; of the other ranks only what is wrong, on the terminal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tqdm import tqdm


class _TqdmHandler(logging.Handler):
    """Writes above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def set_logger(
    name: str | None = "mindcv_halo",
    output_dir: str | Path | None = None,
    rank: int | None = 0,
    log_level: int = logging.INFO,
    color: bool = False,
) -> logging.Logger:
    """The logger called `name`, which from now on prints, and appends to output_dir/rank0.log, on rank 0.

    Other ranks write no file, and print warnings and errors with their rank. Called again it replaces what it set up
    before. The folder is made if need be; a rank of None is 0; `color`, which MindCV has, changes nothing.
    """
    rank = rank or 0
    logger = logging.getLogger(name)
    logger.setLevel(log_level)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    terminal = _TqdmHandler()
    logger.addHandler(terminal)
    if rank > 0:
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(logging.Formatter(f"rank {rank}: %(message)s"))
        return logger
    terminal.setFormatter(logging.Formatter("%(message)s"))
    if output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(Path(output_dir) / "rank0.log")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s rank 0: %(message)s"))
        logger.addHandler(file)
    return logger
