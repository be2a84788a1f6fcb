"""What files tell about themselves, and files that tell nothing."""

from __future__ import annotations

import json
import sys

import pytest
from support.awkward_names import AWKWARD

from mindcv_halo import create_model
from mindcv_halo.deploy import encode_metadata, read_metadata, require_onnx, write_onnx
from mindcv_halo.errors import UserError


def test_text_stays_text():
    facts = {
        "model": "halonet_50t",
        "size": (3, 8, 8),
        "crop_pct": 0.95,
        "names": ["Grünfink", 'a "b"'],
        "folded": True,
    }
    encoded = encode_metadata(facts)
    assert encoded["model"] == "halonet_50t" and encoded["folded"] == "true"
    assert json.loads(encoded["size"]) == [3, 8, 8] and json.loads(encoded["names"]) == facts["names"]
    assert all(isinstance(value, str) for value in encoded.values())


def test_onnx(tmp_path):
    metadata = encode_metadata({"weights": "caf\udce9.ckpt", "class_names": AWKWARD})
    write_onnx(tmp_path / "x.onnx", create_model("halonet_test", num_classes=2), (None, 3, 32, 32), metadata)
    assert read_metadata(tmp_path / "x.onnx") == metadata
    assert metadata["weights"] == r"caf\udce9.ckpt" and json.loads(metadata["class_names"]) == list(AWKWARD)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.onnx", b"\xff" * 99, r"x.onnx: it is damaged, or no .onnx file"),
        ("x.mindir", b"\xff" * 99, r"x.mindir: it is damaged, or no .mindir file"),
        ("x.onnx", b"", r"x.onnx: it is damaged, or no .onnx file"),
        ("x.mindir", b"", r"x.mindir: it is damaged, or no .mindir file"),
        ("x.onnx", b"\x1a\x00", r"x.onnx: it is damaged, or no .onnx file"),  # a field of nothing
        ("x.mindir", b"\x1a\x00", r"x.mindir: it is damaged, or no .mindir file"),
        ("x.air", b"", r"x.air: metadata is read from .onnx and .mindir files"),
        ("absent.onnx", None, r"absent.onnx: No such file or directory"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_metadata(tmp_path / name)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"^x needs onnx and onnxruntime; pip install mindcv_halo\[onnx\]$"):
        require_onnx("x")
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"x.onnx needs onnx and onnxruntime"):
        read_metadata(tmp_path / "x.onnx")
