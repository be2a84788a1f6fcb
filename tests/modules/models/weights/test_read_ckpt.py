"""MindSpore's .ckpt, read without MindSpore."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from support.weight_files import encode_ckpt, encode_entry

from mindcv_halo.errors import UserError
from mindcv_halo.files.checkpoint_file import write_checkpoint
from mindcv_halo.models.weights.formats.ckpt import read_ckpt

VALUES = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "float16": np.array([1.5, -2], np.float16),
    "float64": np.array([[1e300]], np.float64),
    "int32": np.array([-5, 1 << 30], np.int32),
    "int64": np.array(-(1 << 60), np.int64),
    "uint8": np.arange(256, dtype=np.uint8),
    "bool": np.array([True, False]),
    "scalar": np.array(3, np.float32),
    "name with spaces/and ü": np.ones((1, 1, 1, 1, 1), np.float32),
}


def save(path: Path, **options) -> None:
    ms.save_checkpoint([Parameter(Tensor(value), name=name) for name, value in VALUES.items()], str(path), **options)


@pytest.mark.parametrize("crc_check", [False, True])
def test_what_mindspore_writes(tmp_path, crc_check):
    path = tmp_path / "x.ckpt"
    notes = {"dialect": "mindcv", "text": "any text ü", "epoch": 5, "rate": 0.5}
    save(path, append_dict=notes, crc_check=crc_check)
    contents = read_ckpt(path)
    assert contents.notes == {"dialect": "mindcv", "text": "any text ü"}
    assert contents.arrays.keys() == {*VALUES, "epoch", "rate"}
    theirs = ms.load_checkpoint(str(path))
    for name, value in VALUES.items():
        assert contents.arrays[name].dtype == value.dtype and contents.arrays[name].shape == value.shape
        np.testing.assert_array_equal(contents.arrays[name], value)
        np.testing.assert_array_equal(contents.arrays[name], theirs[name].asnumpy())


def test_bfloat16(tmp_path):
    values = np.array([1.0, -2.5, 3e38, 1e-40], np.float32)
    ms.save_checkpoint([Parameter(Tensor(values, ms.bfloat16), name="x")], str(tmp_path / "x.ckpt"))
    found = read_ckpt(tmp_path / "x.ckpt").arrays["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, Tensor(values, ms.bfloat16).astype(ms.float32).asnumpy())


def test_an_array_in_pieces(tmp_path):
    """MindSpore splits what has more than half a gigabyte, each piece with the shape of the whole."""
    whole = np.arange(10, dtype=np.float32)
    pieces = [encode_entry("x", [2, 5], "Float32", part.tobytes()) for part in np.array_split(whole, 3)]
    other = encode_ckpt({"y": np.ones(1, np.float32)})
    (tmp_path / "x.ckpt").write_bytes(other + b"".join(pieces))
    np.testing.assert_array_equal(read_ckpt(tmp_path / "x.ckpt").arrays["x"], whole.reshape(2, 5))
    (tmp_path / "x.ckpt").write_bytes(b"".join([*pieces[:2], other, pieces[2]]))
    with pytest.raises(UserError, match=r"'x' says it is \(2, 5\), but has 7 numbers"):
        read_ckpt(tmp_path / "x.ckpt")


def test_older_versions_write_a_scalar_as_of_shape_zero(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(encode_entry("x", [0], "Float32", np.float32(7).tobytes()))
    assert read_ckpt(tmp_path / "x.ckpt").arrays["x"].shape == ()


def test_a_checksum_tells_of_any_change(tmp_path):
    path = tmp_path / "x.ckpt"
    write_checkpoint([Parameter(Tensor(value), name=name) for name, value in VALUES.items()], path, {"a": "b"})
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content) - 17, 50):  # the mark and the checksum come last
        broken = bytearray(content)
        broken[place] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"its checksum is wrong"):
            read_ckpt(path)
