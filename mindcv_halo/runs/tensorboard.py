"""Numbers of a run as TensorBoard events."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..errors import UserError


def require_tensorboard() -> None:
    """Raise UserError if tensorboardX, which is optional, is missing."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise UserError("tensorboard needs tensorboardX; pip install mindcv_halo[tensorboard]") from None


class EventWriter:
    """Writes scalars to a new event file in `folder`, at once: a run that is killed keeps its history.

    (tensorboardX's SummaryWriter hands events to a thread, and its flush does not wait for that.)
    Raises UserError if tensorboardX is missing.
    """

    def __init__(self, folder: str | Path):
        require_tensorboard()
        from tensorboardX.event_file_writer import EventsWriter

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # The name holds the time in seconds: without the process a run that is resumed soon would overwrite the file.
        self.file = EventsWriter(str(folder / "events"), filename_suffix=f".{os.getpid()}")

    def add(self, step: int, **scalars: float | None) -> None:
        """The value of each name at `step`; None (such as top1 of an epoch without validation) is left out."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items() if value is not None]
        self.file.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self.file.flush()

    def close(self) -> None:
        self.file.close()
