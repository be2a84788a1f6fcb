"""TensorBoard events, read back from the file's own format."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from mindcv_halo.errors import UserError
from mindcv_halo.runs.tensorboard import EventWriter


def read_events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of all scalars. A record: its length (8 bytes), 4 of checksum, the event, 4 of checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            data = data[12 + length + 4 :]
    return found


def test_scalars_are_in_the_file_at_once(tmp_path):
    writer = EventWriter(tmp_path)
    writer.add(10, lr=0.5, top1=None, **{"train/loss": 2.25})
    assert read_events(tmp_path) == [(10, "lr", 0.5), (10, "train/loss", 2.25)]
    writer.add(20, top1=50.0)
    writer.close()
    assert read_events(tmp_path)[2:] == [(20, "top1", 50.0)]


def test_without_tensorboardx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"needs tensorboardX; pip install mindcv_halo\[tensorboard\]"):
        EventWriter(tmp_path / "events")
    assert not (tmp_path / "events").exists()
