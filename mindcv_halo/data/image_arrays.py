"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST in their standard binary files, read into memory."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files.path import find_kind
from .dataset_download import Cifar10Download, Cifar100Download, FashionMnistDownload, MnistDownload
from .image_folder import number_classes


@dataclass(frozen=True)
class ImageArrays:
    """The images of one split: `images[i]` shows the class `class_names[labels[i]]`."""

    class_names: tuple[str, ...]
    images: np.ndarray  # uint8, (number, height, width, channels)
    labels: np.ndarray  # int32, (number,)
    found: str = ""  # where the files are, if data_dir does not tell

    def relabel(self, class_names: Sequence[str]) -> ImageArrays:
        """The same images with labels that count in this order; UserError if it lacks one of the classes."""
        label_of = number_classes(self.class_names, class_names, where="the data set")
        table = np.array([label_of[name] for name in self.class_names], np.int32)
        return replace(self, class_names=tuple(class_names), labels=table[self.labels])


@dataclass(frozen=True)
class _Format:
    downloader: type[MnistDownload] | type[FashionMnistDownload] | type[Cifar10Download] | type[Cifar100Download]
    train: tuple[str, ...]
    test: tuple[str, ...]
    read: Callable[[list[Path]], ImageArrays]
    system: str | None = None  # where a package of the operating system puts the files


def read_arrays(name: str, root: str, split: str, download: bool = False) -> ImageArrays:
    """The split "train" or "test" (also called "val") of one of ARRAY_FORMATS.

    It is read from root, from its usual folder below, or, if these hold no file of either split, from where the
    operating system's package puts it. Files may be gzipped. With `download` missing files are fetched first. Raises
    UserError for missing or damaged files, and other splits.
    """
    data_format = ARRAY_FORMATS[name]
    if split not in ("train", "test", "val"):
        raise UserError(
            f"{name} has no split {split!r}; choose train or test (or val, for test) as train_split and val_split"
        )
    downloader = data_format.downloader(root)
    names = data_format.train if split == "train" else data_format.test
    own = [root, downloader.path]
    # The splits of two data sets must not be taken for those of one.
    is_own = any(_list_there(place, {*data_format.train, *data_format.test}) for place in own)
    places = own if is_own or not data_format.system else [*own, data_format.system]
    files = _find(names, *places)
    if files is None and download:
        downloader.download()
        files = _find(names, downloader.path)
        if files is None:  # an archive is fetched where its folder is not there
            raise UserError(
                f"{name}: {downloader.path} lacks {', '.join(names)}, or some of these; remove that folder, and it is "
                "fetched anew"
            )
    if files is None:
        raise UserError(
            f"{name}: neither {' nor '.join(places)} holds {', '.join(names)}; correct data_dir, or set "
            "dataset_download"
        )
    arrays = data_format.read(files)
    is_systems = str(files[0].parent) == data_format.system
    return replace(arrays, found=f"{name} is read from {data_format.system}" if is_systems else "")


def _list_there(folder: str, names: Iterable[str]) -> list[Path]:
    """Those of the files that a folder has, each as it is or gzipped (name.gz)."""
    pairs = ((Path(folder, name), Path(folder, f"{name}.gz")) for name in names)
    found = (next((path for path in pair if find_kind(path) == "file"), None) for pair in pairs)
    return [path for path in found if path]


def _find(names: tuple[str, ...], *folders: str) -> list[Path] | None:
    """The files in the first folder that has all of them."""
    found = (_list_there(folder, names) for folder in folders)
    return next((files for files in found if len(files) == len(names)), None)


def _read_idx_pair(class_names: Sequence[str], paths: list[Path]) -> ImageArrays:
    """IDX files of images and labels: a big-endian header of magic number and sizes, then bytes."""
    image_path, label_path = paths
    images = _read_idx(image_path, magic=2051, axes=3)
    labels = _read_idx(label_path, magic=2049, axes=1)
    if len(images) != len(labels):
        raise UserError(f"{image_path} has {len(images)} images, {label_path} {len(labels)} labels; get both anew")
    _check_labels(labels, class_names, label_path)
    return ImageArrays(tuple(class_names), images[..., None], labels.astype(np.int32))


def _check_labels(labels: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    if labels.max() >= len(class_names):
        raise UserError(f"{path} has a label {labels.max()} of {len(class_names)} classes; get it anew")


def _read_idx(path: Path, magic: int, axes: int) -> np.ndarray:
    data = _read_bytes(path)
    length = 4 + 4 * axes
    found, *sides = np.frombuffer(data[:length].ljust(length, b"\0"), ">i4").tolist()
    if found != magic or min(sides) < 1 or len(data) != length + math.prod(sides):
        raise UserError(f"{path} is damaged: its length or header is not that of an IDX file; get it anew")
    return np.frombuffer(data, np.uint8, offset=length).reshape(sides)


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; make it readable, or move it away") from None
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged: it cannot be unpacked ({error}); get it anew") from None


def _read_cifar10(paths: list[Path]) -> ImageArrays:
    return _read_cifar(paths, label_bytes=1)


def _read_cifar100(paths: list[Path]) -> ImageArrays:
    return _read_cifar(paths, label_bytes=2)


def _read_cifar(paths: list[Path], label_bytes: int) -> ImageArrays:
    """Records of the label (the last of `label_bytes`), then 32x32 pixels of red, of green, of blue."""
    *data_paths, names_path = paths
    record = label_bytes + 3 * 32 * 32
    parts = []
    for path in data_paths:
        data = np.frombuffer(_read_bytes(path), np.uint8)
        if len(data) == 0 or len(data) % record:
            raise UserError(f"{path} is damaged: {len(data)} bytes are not whole records of {record}; get it anew")
        parts.append(data.reshape(-1, record))
    records = np.concatenate(parts)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = records[:, label_bytes - 1]
    try:
        names = _read_bytes(names_path).decode().split()
    except UnicodeDecodeError:
        raise UserError(f"{names_path} is damaged: it is no text; get it anew") from None
    _check_labels(labels, names, data_paths[0].parent)
    return ImageArrays(tuple(names), np.ascontiguousarray(images), labels.astype(np.int32))


_IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
ARRAY_FORMATS = {
    "mnist": _Format(MnistDownload, *_IDX_FILES, partial(_read_idx_pair, "0123456789")),
    "fashion_mnist": _Format(
        FashionMnistDownload,
        *_IDX_FILES,
        partial(_read_idx_pair, _GARMENTS),
        system="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
    ),
    "cifar10": _Format(
        Cifar10Download,
        (*(f"data_batch_{number}.bin" for number in range(1, 6)), "batches.meta.txt"),
        ("test_batch.bin", "batches.meta.txt"),
        _read_cifar10,
    ),
    "cifar100": _Format(
        Cifar100Download,
        ("train.bin", "fine_label_names.txt"),
        ("test.bin", "fine_label_names.txt"),
        _read_cifar100,
    ),
}
