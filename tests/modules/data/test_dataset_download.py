from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.array_files import CIFAR_NAMES, cifar10_files, mnist_files

from mindcv_halo.data import create_dataset, dataset_download, get_class_names, get_dataset_size
from mindcv_halo.data.dataset_download import Cifar10Download, RemoteFile
from mindcv_halo.data.image_arrays import ARRAY_FORMATS
from mindcv_halo.errors import UserError


def tar_of(files: dict[str, bytes], link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
    return out.getvalue()


@pytest.fixture
def serve(tmp_path):
    """serve({"name": bytes}) -> {"name": RemoteFile}, from a server on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    def publish(files: dict[str, bytes]) -> dict[str, RemoteFile]:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return {
            name: RemoteFile(f"http://127.0.0.1:{server.server_port}/{name}", hashlib.md5(data).hexdigest())
            for name, data in files.items()
        }

    yield publish
    server.shutdown()
    thread.join()
    server.server_close()


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


GARMENTS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
IDX_CLASSES = {"mnist": list("0123456789"), "fashion_mnist": GARMENTS}


@pytest.fixture
def no_package(monkeypatch, tmp_path) -> Path:
    """Where Fashion-MNIST's package would be, on a machine that may have it; nothing is there yet."""
    place = tmp_path / "usr/share/datasets/fashion-mnist"
    own = replace(ARRAY_FORMATS["fashion_mnist"], system=str(place))
    monkeypatch.setitem(ARRAY_FORMATS, "fashion_mnist", own)
    return place


@pytest.mark.parametrize("name", IDX_CLASSES)
def test_idx_files_are_downloaded_once_and_read(tmp_path, serve, monkeypatch, no_package, name):
    files, names, constant = mnist_files(), IDX_CLASSES[name], f"{name.upper()}_FILES"
    remote = serve({f"{file}.gz": gzip.compress(data) for file, data in files.items()})
    monkeypatch.setattr(dataset_download, constant, {file: remote[f"{file}.gz"] for file in files})
    root = tmp_path / "data"
    assert get_class_names(name, str(root), "train", download=True) == names  # what a run asks first
    dataset = create_dataset(name, str(root), "test", shuffle=False, download=True)
    rows = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert [int(label) for _, label in rows] == [0, 1, 2, 3, 4] and rows[0][1].dtype == np.int32
    expected = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(5, 28, 28, 1)
    np.testing.assert_array_equal(np.stack([image for image, _ in rows]), expected)
    assert contents(root) == [name, *sorted(f"{name}/{file}" for file in files)]
    assert get_class_names(name, str(root), "train") == names
    assert get_dataset_size(name, str(root / name), "val") == 5  # the folder itself will do

    monkeypatch.setattr(dataset_download, constant, {file: RemoteFile("http://127.0.0.1:9/", "") for file in files})
    ARRAY_FORMATS[name].downloader(str(root)).download()  # nothing is missing, so the dead address is not asked


@pytest.mark.parametrize("name", IDX_CLASSES)
def test_idx_files_may_be_gzipped(tmp_path, no_package, name):
    files = list(mnist_files().items())
    for number, (file, data) in enumerate(files):  # some are, some are not
        (tmp_path / (f"{file}.gz" if number % 2 else file)).write_bytes(gzip.compress(data) if number % 2 else data)
    dataset = create_dataset(name, str(tmp_path), "train", shuffle=False)
    rows = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    expected = np.frombuffer(files[0][1][16:], np.uint8).reshape(5, 28, 28, 1)
    np.testing.assert_array_equal(np.stack([image for image, _ in rows]), expected)
    assert [int(label) for _, label in rows] == [0, 1, 2, 3, 4]
    for broken in (b"no gzip", gzip.compress(files[1][1])[:-9], b"\x1f\x8b\x08" + bytes(30)):
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(broken)
        with pytest.raises(UserError, match="train-labels-idx1-ubyte.gz is damaged: it cannot be unpacked"):
            create_dataset(name, str(tmp_path), "train")


def test_fashion_mnist_is_found_where_its_package_puts_it(tmp_path, no_package):
    """As its folder has it, gzipped; what data_dir holds comes first."""
    with pytest.raises(UserError, match=rf"fashion_mnist: neither .* nor {no_package} holds train-images"):
        create_dataset("fashion_mnist", str(tmp_path / "data"))
    no_package.mkdir(parents=True)
    for file, data in mnist_files(7).items():
        (no_package / f"{file}.gz").write_bytes(gzip.compress(data))
    assert get_dataset_size("fashion_mnist", str(tmp_path / "data"), "test") == 7
    found = create_dataset("fashion_mnist", str(tmp_path / "data"), "test").left_out
    assert found == f"fashion_mnist is read from {no_package}"
    own = tmp_path / "data" / "fashion_mnist"
    own.mkdir(parents=True)
    for file, data in mnist_files(3).items():
        (own / file).write_bytes(data)
    assert get_dataset_size("fashion_mnist", str(tmp_path / "data"), "test") == 3
    (own / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(UserError, match=r"fashion_mnist: neither .*data/fashion_mnist holds t10k-images"):
        create_dataset("fashion_mnist", str(tmp_path / "data"), "test")  # of which the package's would be others


def test_cifar10_is_downloaded_and_read(tmp_path, serve, monkeypatch):
    files = cifar10_files()
    archive = tar_of({f"cifar-10-batches-bin/{name}": data for name, data in files.items()})
    monkeypatch.setattr(dataset_download, "CIFAR10_ARCHIVE", serve({"cifar.tar.gz": archive})["cifar.tar.gz"])
    root = str(tmp_path / "data")
    dataset = create_dataset("cifar10", root, shuffle=False, download=True)
    rows = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert [int(label) for _, label in rows] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    planes = np.frombuffer(files["data_batch_2.bin"][1:3073], np.uint8).reshape(3, 32, 32)
    np.testing.assert_array_equal(rows[2][0], np.stack(list(planes), axis=-1))
    assert get_class_names("cifar10", root, "test") == CIFAR_NAMES
    backwards = create_dataset("cifar10", root, "test", shuffle=False, class_names=CIFAR_NAMES[::-1])
    assert [int(label) for _, label in backwards.create_tuple_iterator(num_epochs=1, output_numpy=True)] == [4, 3]
    with pytest.raises(UserError, match="is none of the 1 classes of the model"):
        create_dataset("cifar10", root, class_names=["thing0"])


def test_cifar100_takes_the_fine_label(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(b"".join(bytes([3, 70 + k]) + rng.bytes(3072) for k in range(2)))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"fine{number}" for number in range(100)))
    dataset = create_dataset("cifar100", str(tmp_path), "train", shuffle=False)
    rows = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert [int(label) for _, label in rows] == [70, 71] and rows[0][0].shape == (32, 32, 3)


def test_archives_cannot_write_elsewhere(tmp_path, serve, monkeypatch):
    files = {"../../outside.bin": b"x", "/absolute.bin": b"y", "deep/er/inside.bin": b"z"}
    archive = serve({"evil.tar.gz": tar_of(files, link="/etc/passwd")})["evil.tar.gz"]
    monkeypatch.setattr(dataset_download, "CIFAR10_ARCHIVE", archive)
    root = tmp_path / "data"
    Cifar10Download(str(root)).download()
    assert contents(root) == [
        "cifar-10-batches-bin",
        "cifar-10-batches-bin/absolute.bin",
        "cifar-10-batches-bin/inside.bin",
        "cifar-10-batches-bin/outside.bin",
    ]
    assert contents(tmp_path)[0] == "data" and not Path("/absolute.bin").exists()


@pytest.mark.parametrize("damage", ["wrong checksum", "missing", "no server"])
def test_failed_downloads_leave_nothing_behind(tmp_path, serve, monkeypatch, damage):
    remote = serve({"cifar.tar.gz": tar_of(cifar10_files())})["cifar.tar.gz"]
    message = {"wrong checksum": "has the MD5 .* instead of 0+", "missing": "cannot download", "no server": "cannot"}
    remote = {
        "wrong checksum": RemoteFile(remote.url, "0" * 32),
        "missing": RemoteFile(remote.url + ".gone", remote.md5),
        "no server": RemoteFile("http://127.0.0.1:9/file", remote.md5),
    }[damage]
    monkeypatch.setattr(dataset_download, "CIFAR10_ARCHIVE", remote)
    root = tmp_path / "data"
    with pytest.raises(UserError, match=message[damage]):
        create_dataset("cifar10", str(root), download=True)
    assert contents(root) == []


@pytest.mark.parametrize(
    "name, split, message",
    [
        ("mnist", "train", "mnist: neither .* holds train-images-idx3-ubyte"),
        ("fashion_mnist", "train", "fashion_mnist: neither .* holds train-images-idx3-ubyte"),
        ("fashion_mnist", "valid", "fashion_mnist has no split 'valid'"),
        ("cifar10", "training", "cifar10 has no split 'training'"),
    ],
)
def test_missing_files_and_splits_are_named(tmp_path, no_package, name, split, message):
    with pytest.raises(UserError, match=message):
        create_dataset(name, str(tmp_path), split)


def test_damaged_files_are_named(tmp_path):
    for name, data in {**mnist_files(), **cifar10_files()}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(mnist_files()["train-images-idx3-ubyte"][:-1])
    (tmp_path / "data_batch_3.bin").write_bytes(b"123")
    for name in IDX_CLASSES:
        with pytest.raises(UserError, match="train-images-idx3-ubyte is damaged"):
            create_dataset(name, str(tmp_path), "train")
    with pytest.raises(UserError, match="data_batch_3.bin is damaged: 3 bytes"):
        create_dataset("cifar10", str(tmp_path), "train")


@pytest.mark.parametrize("header", [b"", b"not found", (2051, 5), (2051, 0, 28, 28), (2051, -5, -28, 28), (2049, 3920)])
def test_headers_of_idx_files(tmp_path, header):
    """Too short, of no image, of sides below zero, of labels."""
    for name, data in mnist_files().items():
        (tmp_path / name).write_bytes(data)
    content = header if isinstance(header, bytes) else np.array(header, ">i4").tobytes() + bytes(5 * 28 * 28)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match="train-images-idx3-ubyte is damaged: its length or header"):
        create_dataset("mnist", str(tmp_path), "train")


def test_names_of_cifar(tmp_path):
    for name, data in cifar10_files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "batches.meta.txt").write_text("airplane automobile")
    with pytest.raises(UserError, match=rf"^{tmp_path} has a label \d of 2 classes; get it anew$"):
        create_dataset("cifar10", str(tmp_path), "train")
    (tmp_path / "batches.meta.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"batches.meta.txt is damaged: it is no text; get it anew$"):
        create_dataset("cifar10", str(tmp_path), "train")


@pytest.mark.parametrize("name", [*IDX_CLASSES, "cifar10"])
def test_a_folder_that_cannot_be_made(tmp_path, no_package, name):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: .*; make room, or choose another data_dir"):
        create_dataset(name, str(tmp_path / "file"), "train", download=True)


def test_only_known_schemes_and_full_checksums_are_published():
    remotes = [
        dataset_download.CIFAR10_ARCHIVE,
        dataset_download.CIFAR100_ARCHIVE,
        *dataset_download.MNIST_FILES.values(),
        *dataset_download.FASHION_MNIST_FILES.values(),
    ]
    assert all(remote.url.startswith("https://") and len(remote.md5) == 32 for remote in remotes)
