"""Downloads of the small public data sets, each checked against its published MD5."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files.download import RemoteFile, download
from ..files.path import find_kind

_CHUNK = 1 << 20  # bytes

# https://yann.lecun.com/exdb/mnist no longer serves its files; the mirror's are the same by their MD5.
MNIST_FILES = {
    name: RemoteFile(f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz", md5)
    for name, md5 in {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    }.items()
}
FASHION_MNIST_FILES = {
    name: RemoteFile(f"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{name}.gz", md5)
    for name, md5 in {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }.items()
}
CIFAR10_ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
)
CIFAR100_ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"
)


def get_dataset_download_root() -> str:
    """Where data sets go if no folder is given."""
    return str(Path.home() / ".mindcv_halo" / "datasets")


class MnistDownload:
    """`download` puts MNIST's four files into `path`, root/mnist, unless they are there."""

    def __init__(self, root: str | None = None):
        self.root = root or get_dataset_download_root()
        self.path = os.path.join(self.root, "mnist")

    def download(self) -> None:
        _download_files(MNIST_FILES, Path(self.path))


class FashionMnistDownload:
    """`download` puts Fashion-MNIST's four files into `path`, root/fashion_mnist, unless they are there."""

    def __init__(self, root: str | None = None):
        self.root = root or get_dataset_download_root()
        self.path = os.path.join(self.root, "fashion_mnist")

    def download(self) -> None:
        _download_files(FASHION_MNIST_FILES, Path(self.path))


class Cifar10Download:
    """`download` unpacks CIFAR-10's binary version into `path`, root/cifar-10-batches-bin, unless it is there."""

    def __init__(self, root: str | None = None):
        self.root = root or get_dataset_download_root()
        self.path = os.path.join(self.root, "cifar-10-batches-bin")

    def download(self) -> None:
        _download_archive(CIFAR10_ARCHIVE, Path(self.path))


class Cifar100Download:
    """`download` unpacks CIFAR-100's binary version into `path`, root/cifar-100-binary, unless it is there."""

    def __init__(self, root: str | None = None):
        self.root = root or get_dataset_download_root()
        self.path = os.path.join(self.root, "cifar-100-binary")

    def download(self) -> None:
        _download_archive(CIFAR100_ARCHIVE, Path(self.path))


def _download_files(files: Mapping[str, RemoteFile], folder: Path) -> None:
    """Put files that are gzipped where they come from into `folder`, each as it is, unless it is there."""
    with _folder_can_be_written(folder):
        for name, remote in files.items():
            if (folder / name).exists():
                continue
            with _downloaded(remote, folder) as packed:
                unpacked = packed.with_name(f"{packed.name}.unpacked")
                with gzip.open(packed) as source, open(unpacked, "wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
                unpacked.rename(folder / name)


def _download_archive(remote: RemoteFile, folder: Path) -> None:
    """Put the regular files of a tar archive into `folder`, without the folders they have in the archive.

    Only the last part of a member's name is used, and links are left out, so that nothing lands elsewhere. The folder
    appears when it is complete.
    """
    if find_kind(folder):
        return
    with _folder_can_be_written(folder.parent), _downloaded(remote, folder.parent) as archive:
        unfinished = archive.with_name("unpacked")
        unfinished.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile():
                    with open(unfinished / Path(member.name).name, "wb") as target:
                        shutil.copyfileobj(tar.extractfile(member), target, _CHUNK)
        unfinished.rename(folder)


@contextmanager
def _folder_can_be_written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}; make room, or choose another data_dir"
        ) from None


@contextmanager
def _downloaded(remote: RemoteFile, folder: Path) -> Iterator[Path]:
    """The file, checked, in a temporary folder inside `folder`; the rest of that folder is gone afterwards.

    Raises UserError if it cannot be had over the given scheme, or is not what its MD5 says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
        path = Path(scratch) / (remote.url.rpartition("/")[2] or "file")
        download(remote, path, advice=f"check the network, or put the unpacked files into {folder} by hand")
        yield path
