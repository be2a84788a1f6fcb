"""The log: on the terminal from rank 0, in a file from every rank."""

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
    name: str | None = "mindcv_halo", output_dir: str | Path | None = None, rank: int = 0, log_level: int = logging.INFO
) -> logging.Logger:
    """The logger called `name`, which from now on prints on rank 0 and appends to output_dir/rank{rank}.log.

    Called again it replaces what it set up before.
    """
    logger = logging.getLogger(name)
    logger.setLevel(log_level)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if rank == 0:
        terminal = _TqdmHandler()
        terminal.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(terminal)
    if output_dir is not None:
        file = logging.FileHandler(Path(output_dir) / f"rank{rank}.log")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)
    return logger
