"""The files of MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 with a few random images, in their published formats."""

from __future__ import annotations

import struct

import numpy as np

CIFAR_NAMES = [f"thing{number}" for number in range(10)]


def idx(array: np.ndarray) -> bytes:
    magic = 2048 + array.ndim
    return struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files(count: int = 5) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for prefix in ("train", "t10k"):
        files[f"{prefix}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def cifar10_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {"batches.meta.txt": "\n".join(CIFAR_NAMES).encode() + b"\n\n"}
    for number, name in enumerate([*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin"]):
        files[name] = b"".join(bytes([number + k]) + rng.bytes(3072) for k in range(2))
    return files


def cifar100_files(count: int = 5) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    names = "\n".join(f"fine{number}" for number in range(100)).encode()
    files = {"fine_label_names.txt": names, "coarse_label_names.txt": b"coarse\n"}
    for name in ("train.bin", "test.bin"):
        files[name] = b"".join(bytes([0, 99 - k]) + rng.bytes(3072) for k in range(count))
    return files


ARRAY_FILES = {
    "mnist": mnist_files,
    "fashion_mnist": mnist_files,  # in MNIST's format, under the same names
    "cifar10": cifar10_files,
    "cifar100": cifar100_files,
}
