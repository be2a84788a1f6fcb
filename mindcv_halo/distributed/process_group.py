"""What processes of a job say to each other outside the training step.

All of it goes through one collective, the sum of float32 over all ranks, because that is what every backend of
MindSpore has; bytes travel exactly, as pairs of them (0 to 65535) are exact in float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor, ops

_CHUNK = 1 << 18  # numbers that are sent at once, 1 MB: MindSpore takes larger messages slower, number for number


@dataclass(frozen=True)
class ProcessGroup:
    """All ranks of a job; a process that runs by itself is a group of size 1. Every method is called by all ranks."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes files."""
        return self.rank == 0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over ranks of a float32 array."""
        return values if self.size == 1 else ops.AllReduce()(Tensor(values)).asnumpy()

    def wait(self) -> None:
        """Until all ranks are here."""
        self.sum(np.zeros(1, np.float32))

    def exchange(self, content: bytes) -> list[bytes]:
        """What each rank has to say, by rank. For short texts: all of it is in memory at once."""
        if self.size == 1:
            return [content]
        lengths = np.zeros(self.size, np.float32)
        lengths[self.rank] = len(content)
        sizes = self.sum(lengths).astype(np.int64)
        table = np.zeros((self.size, -(-int(sizes.max()) // 2)), np.float32)
        pairs = _to_numbers(content)
        table[self.rank, : len(pairs)] = pairs
        return [_to_bytes(row, size) for row, size in zip(self.sum(table), sizes, strict=True)]

    def broadcast(self, content: bytes) -> bytes:
        """What rank 0 has to say; the others' argument does not count."""
        size = int.from_bytes(self.exchange(len(content).to_bytes(8, "big"))[0], "big")
        numbers = _to_numbers(content) if self.is_main else np.zeros(-(-size // 2), np.float32)
        for start in range(0, len(numbers), _CHUNK):
            numbers[start : start + _CHUNK] = self.sum(numbers[start : start + _CHUNK])
        return _to_bytes(numbers, size)

    def broadcast_parameters(self, parameters: Iterable[Parameter]) -> None:
        """Give every rank the values of rank 0. Raises RuntimeError unless all are equal afterwards, bit for bit."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for parameter in parameters:
            own = parameter.asnumpy()
            value = np.frombuffer(self.broadcast(own.tobytes()), own.dtype).reshape(own.shape)
            if not self.is_main:
                parameter.set_data(Tensor(value.copy()))
            digest.update(f"{parameter.name} {value.dtype} {value.shape}".encode())
            digest.update(parameter.asnumpy().tobytes())
        digests = self.exchange(digest.digest())
        different = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if different:
            raise RuntimeError(f"ranks {different} do not hold the weights of rank 0 after the broadcast")


ONE_PROCESS = ProcessGroup()


def _to_numbers(content: bytes) -> np.ndarray:
    """Pairs of bytes as float32; an odd last byte is filled up with a zero."""
    return np.frombuffer(content + b"\0" * (len(content) % 2), np.uint16).astype(np.float32)


def _to_bytes(numbers: np.ndarray, size: int) -> bytes:
    return numbers.astype(np.uint16).tobytes()[:size]
