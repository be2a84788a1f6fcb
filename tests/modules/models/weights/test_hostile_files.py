"""A sample of hostile weight files: an error, and nothing else. tests/drills/fuzz_weights.py has thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hostile_files import evil_pickles, hostile_ckpt, hostile_keras, hostile_safetensors, hostile_torch
from support.weight_files import make_network, write_all

from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import load_weights, open_weights
from mindcv_halo.models.weights.formats import foreign_worker

# Of torch's, whose reader takes seconds to start.
TORCH_SAMPLE = (
    "code in an archive: os.system beside weights, protocol 2", "code in a bare pickle: os.system by hand",
    "code in the old format: eval, protocol 2", "code in an archive: an array of 64 GB", "a zip bomb",
    "records of 4 GB", "a view of any size", "a whole module", "a weight of nan", "the name '../../escaped'",
)  # fmt: skip

# What the reader of Keras's files says of them. It is asked in this process: to start its own takes half a second.
KERAS_REFUSED = {
    "a shape of 2^40": "'predictions.bias' says it is .*, but has fewer numbers",
    "compressed zeros": "'predictions.bias' says it is .*, but has fewer numbers",
    "an outside file": "'predictions.bias' lies in another file",
    "a virtual array": "'predictions.bias' lies in another file",
    "a link out of the file": "'more' is a link",
    "a link within the file": "'more' is a link",
    "a circle": "'again' is in it twice",
    "an array under two names": "'more:0' is in it twice",
    "two arrays for one name": "'predictions.bias' is in it twice",
    "references": "'predictions.bias' is of type object",
    "records": "'predictions.bias' is of type .*'a'",
    "deep groups": "its groups are nested too deeply",
}  # fmt: skip
# What HDF5 refuses, and what is refused after the reader.
KERAS_SAMPLE = ("text", "a signature and zeros", "whole numbers", "a weight of nan", "the name '..'")


@pytest.fixture(scope="module")
def network():
    return make_network()


def refuse(network, path: Path, what: str, content: bytes) -> None:
    """Fail unless the file is refused with one readable line, and leaves nothing behind."""
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    try:
        file = open_weights(str(path))
        load_weights(network, file)
    except UserError as error:
        text = str(error).replace(str(path), "")
        assert text.isprintable() and len(text) < 1000, f"{what}: {error!r}"
    else:
        pytest.fail(f"{what}: it was loaded")
    assert sorted(path.parent.iterdir()) == before, f"{what}: something was written"


def test_ckpt(network, tmp_path):
    for what, content in hostile_ckpt():
        refuse(network, tmp_path / "x.ckpt", what, content)


def test_safetensors(network, tmp_path):
    for what, content in hostile_safetensors():
        refuse(network, tmp_path / "x.safetensors", what, content)


def test_torch(network, tmp_path):
    pytest.importorskip("torch")
    found = dict(hostile_torch(tmp_path / "canary"))
    for what in TORCH_SAMPLE:
        refuse(network, tmp_path / "x.pth", what, found[what])


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_keras(network, tmp_path, is_whole):
    pytest.importorskip("h5py")
    (tmp_path / "files").mkdir()
    found = dict(hostile_keras(tmp_path))
    assert found.keys() >= {*KERAS_REFUSED, *KERAS_SAMPLE}
    for what in found if is_whole else ("a link within the file", *KERAS_SAMPLE):
        refuse(network, tmp_path / "files" / "x.h5", what, found[what])


def test_why_kerass_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    found = dict(hostile_keras(tmp_path))
    path = tmp_path / "x.h5"
    for what, reason in KERAS_REFUSED.items():
        path.write_bytes(found[what])
        with pytest.raises(ValueError, match=f"^{reason}"):
            foreign_worker.read_keras(h5py, str(path))


def test_the_pickles_are_as_evil_as_they_look(tmp_path):
    """Read by pickle itself they run their code, so that their being refused says something."""
    canary = tmp_path / "canary"
    ran = []
    for what, content in evil_pickles(canary):
        if not what.startswith(("os.system", "eval", "exec", "open", "posix", "INST", "OBJ")):
            continue
        (tmp_path / "x.pickle").write_bytes(content)
        code = f"import pickle; pickle.load(open({str(tmp_path / 'x.pickle')!r}, 'rb'))"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert canary.exists(), what
        canary.unlink()
        ran.append(what)
    assert len(ran) > 20


def kinds(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name, path in write_all(folder, torch=False, h5py=False).items():
        yield name, path.read_bytes()


@pytest.mark.parametrize("name", ["own.ckpt", "plain.ckpt", "own.safetensors", "timm.safetensors"])
def test_files_cut_anywhere(network, tmp_path, name):
    content = dict(kinds(tmp_path))[name]
    places = [len(content) * percent // 100 for percent in range(100)] + [len(content) - 1]
    for place in places:
        refuse(network, tmp_path / f"cut-{name}", f"{name} cut at {place}", content[:place])


def test_a_file_of_three_gigabytes(tmp_path):
    path = tmp_path / "x.ckpt"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)  # takes no room on the disk
    with pytest.raises(UserError, match=r"it has 3.0 GB, which is more than any HaloNet"):
        open_weights(str(path))


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"x")

    def fail(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UserError, match=r"x.ckpt cannot be read: .*Permission denied; check the file"):
        open_weights(str(path))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file(tmp_path, kind):
    """A pipe would wait for its writer."""
    path = tmp_path / "x.ckpt"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(UserError, match=rf"x.ckpt: it is no ordinary file, but a {kind}; give a file$"):
        open_weights(str(path))
    with pytest.raises(UserError, match=r"there is no such file"):
        open_weights(str(tmp_path / "absent.ckpt"))
