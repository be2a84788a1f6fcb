"""Files that somebody made to do harm, or that bad luck made, for test_hostile_files.py and drills/fuzz_weights.py.

Code in them, if it ran, would write the file that `canary` names.
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mindcv_halo.models.weights import to_timm
from support.weight_files import (
    arrays_of,
    as_keras,
    encode_ckpt,
    encode_entry,
    encode_safetensors,
    field,
    make_network,
    varint,
)

PATH_TRICKS = ("../../escaped", "/tmp/escaped", "..\\escaped", "a/../../escaped", "escaped\x00", "\x1b[2Jescaped", "")
_ONE = np.ones(1, np.float32).tobytes()


def hostile_ckpt() -> Iterator[tuple[str, bytes]]:
    """(what is wrong, content)."""
    good = arrays_of(make_network())
    whole = encode_ckpt(good)
    yield "empty", b""
    yield "one zero byte", b"\0"
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(1000)
    yield "a zip archive", b"PK\x03\x04" + bytes(1000)
    yield "a pickle", pickle.dumps({"a": 1})
    yield "text", b"this is no checkpoint\n" * 50
    yield "a length of 2^60", field(1, b"")[:1] + varint(1 << 60) + b"x"
    yield "a length of 2^63 inside", field(1, field(1, b"a") + b"\x12" + varint(1 << 63))
    yield "eleven bytes of a number", b"\x0a" + b"\xff" * 11
    yield "dimensions of 2^80", encode_entry("a", [1 << 40, 1 << 40], "Float32", _ONE)
    yield "dimensions whose product wraps to 1", encode_entry("a", [(1 << 64) - 1, (1 << 64) - 1], "Float32", _ONE)
    yield "a negative dimension", encode_entry("a", [(1 << 64) - 1], "Float32", _ONE)
    yield "too many numbers", encode_entry("a", [1], "Float32", _ONE * 2)
    yield "too few numbers", encode_entry("a", [3], "Float32", _ONE * 2)
    yield "a part of a number", encode_entry("a", [1], "Float32", _ONE[:3])
    yield "thousand dimensions", encode_entry("a", [1] * 1000, "Float32", _ONE)
    yield "an unknown type", encode_entry("a", [1], "Complex64", _ONE * 2)
    yield "a type that is no text", field(1, field(1, b"a") + field(2, field(2, b"\xff") + field(3, _ONE)))
    yield "a name that is no text", encode_entry(b"\xff\xfe", [1], "Float32", _ONE)
    yield "a note that is no text", encode_entry("dialect", [0], "str", b"\xff" * 7)
    yield "no tensor", field(1, field(1, b"a"))
    yield "two tensors", field(1, field(1, b"a") + 2 * field(2, field(2, b"Float32") + field(3, _ONE)))
    yield "a map of tensors", field(1, field(1, b"a") + field(3, b""))
    yield "an unknown field", field(9, b"x") + whole
    yield "a million entries", encode_entry("a", [1], "Float32", _ONE) * 1_000_000
    yield "a name twice", whole + encode_entry(next(iter(good)), [1], "Float32", _ONE)
    yield "a wrong checksum", whole + b"crc_num" + (12345).to_bytes(10, "big")
    yield "nothing but a checksum", b"crc_num" + bytes(10)
    yield "an unknown dialect", whole + encode_entry("dialect", [0], "str", "lisp".encode("utf-32-le"))
    yield "whole numbers", encode_ckpt({name: value.astype(np.int32) for name, value in good.items()})
    yield "truth values", encode_ckpt({name: value > 0 for name, value in good.items()})
    for number in (np.nan, np.inf, 1e300):
        weights = {name: value.astype(np.float64) for name, value in good.items()}
        weights["classifier.bias"] = weights["classifier.bias"] + number
        yield f"a weight of {number}", encode_ckpt(weights)
    for trick in PATH_TRICKS:
        yield f"the name {trick!r}", whole + encode_entry(trick, [1], "Float32", _ONE)


def hostile_safetensors() -> Iterator[tuple[str, bytes]]:
    def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    yield "empty", b""
    yield "seven bytes", bytes(7)
    yield "a header of 2^60 bytes", encode_safetensors({}, length=1 << 60)
    yield "a header of 2^64 - 1 bytes", encode_safetensors({}, length=(1 << 64) - 1)
    yield "a header longer than the file", encode_safetensors({}, length=1000)
    yield "a header of 50 MB", encode_safetensors(b"{" + b" " * 50_000_000 + b"}")
    yield "a header that is no JSON", encode_safetensors(b"nonsense")
    yield "a header that is no text", encode_safetensors(b"\xff" * 50)
    yield "a deep header", encode_safetensors(b'{"a":' * 100_000)
    yield "a deep list", encode_safetensors(b"[" * 100_000)
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(1000)
    yield "a pickle", pickle.dumps({"a": 1})
    yield (
        "a name twice",
        encode_safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            _ONE * 2,
        ),
    )
    yield "entries that overlap", encode_safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, _ONE * 3)
    yield "a hole", encode_safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, _ONE * 3)
    yield "an entry behind the end", encode_safetensors({"a": entry([4], 0, 16)}, _ONE)
    yield "an entry that ends before it starts", encode_safetensors({"a": entry([1], 4, 0)}, _ONE)
    yield "more behind the end", encode_safetensors({"a": entry([1], 0, 4)}, _ONE * 9)
    yield "a shape of 2^64", encode_safetensors({"a": entry([1 << 32, 1 << 32], 0, 4)}, _ONE)
    yield "a negative shape", encode_safetensors({"a": entry([-1], 0, 4)}, _ONE)
    yield "an unknown type", encode_safetensors({"a": entry([1], 0, 4, "X99")}, _ONE)
    yield "eight-bit floats", encode_safetensors({"a": entry([4], 0, 4, "F8_E4M3")}, _ONE)
    yield "notes that are no text", encode_safetensors({"__metadata__": {"dialect": 5}, "a": entry([1], 0, 4)}, _ONE)
    yield "hundred thousand entries", encode_safetensors({f"{number}": entry([0], 0, 0) for number in range(100_000)})
    own = {"stages.0.0.reduce.conv.weight": entry([1], 0, 4)}
    yield "an unknown dialect", encode_safetensors({"__metadata__": {"dialect": "../../x"}, **own}, _ONE)
    for number in (np.nan, np.inf):
        yield f"a weight of {number}", encode_safetensors(own, np.float32(number).tobytes())
    for trick in PATH_TRICKS:
        yield f"the name {trick!r}", encode_safetensors({**own, trick: entry([1], 4, 8)}, _ONE * 2)


class _Evil:
    """Pickled, a call."""

    def __init__(self, call: Callable, *arguments: Any):
        self.call = call
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call, self.arguments


def evil_pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that write `canary` when they are unpickled."""
    import builtins
    import os
    import subprocess

    command = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    calls = {
        "os.system": (os.system, command),
        "eval": (builtins.eval, code),
        "exec": (builtins.exec, code),
        "open": (builtins.open, str(canary), "w"),
        "subprocess": (subprocess.call, ["touch", str(canary)]),
        "getattr": (builtins.getattr, os, "system"),
        "import": (builtins.__import__, "antigravity"),
    }
    for name, call in calls.items():
        if name == "getattr":
            continue  # a module cannot be pickled: below, by hand
        for protocol in (0, 2, 4):
            yield f"{name}, protocol {protocol}", pickle.dumps(_Evil(*call), protocol)
            yield f"{name} beside weights, protocol {protocol}", pickle.dumps({"a": _Evil(*call)}, protocol)
    text = command.encode()
    yield "os.system by hand", b"cos\nsystem\n(S'" + text + b"'\ntR."
    yield "posix.system by hand", b"cposix\nsystem\n(S'" + text + b"'\ntR."
    yield "getattr by hand", b"cbuiltins\ngetattr\n(cos\n_wrap_close\nS'__init__'\ntR."
    yield "INST", b"(S'" + text + b"'\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nS'" + text + b"'\no."
    yield "a torch function", b"ctorch\nhub\n(S'x'\ntR."
    yield "numpy's loader", b"cnumpy\nload\n(S'/etc/passwd'\ntR."
    yield "a mark without end", b"(" * 100_000
    nested = b"K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 60  # each tuple holds the one before it twice
    yield "a key whose hash takes 2^60 steps", b"\x80\x02](" + nested + b"e}h\x00K\x01s."
    yield "an array of 64 GB", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (1 << 36).to_bytes(5, "little") + b"\x85R."
    yield "a long of 2 GB", b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x"
    yield "a text of 2^60 bytes", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x"
    yield "a memo of 2^31 places", b"\x80\x02K\x01r" + struct.pack("<I", (1 << 31) - 1) + b"."


def hostile_torch(canary: Path) -> Iterator[tuple[str, bytes]]:
    import torch

    def archive(data: bytes, records: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as file:
            file.writestr("archive/data.pkl", data)
            file.writestr("archive/byteorder", b"little")
            for name, content in (records or {}).items():
                file.writestr(f"archive/{name}", content)
            file.writestr("archive/version", b"3\n")
        return out.getvalue()

    def saved(content: Any, **options: Any) -> bytes:
        out = io.BytesIO()
        torch.save(content, out, **options)
        return out.getvalue()

    yield "empty", b""
    yield "text", b"this is no checkpoint\n" * 50
    yield "half a zip archive", b"PK\x03\x04" + bytes(1000)
    yield "an empty zip archive", b"PK\x05\x06" + bytes(18)
    legacy_head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    for name, data in evil_pickles(canary):
        yield f"code in an archive: {name}", archive(data)
        yield f"code in a bare pickle: {name}", data
        yield f"code in the old format: {name}", legacy_head + data
    good = {name: torch.from_numpy(np.array(value)) for name, value in to_timm(arrays_of(make_network())).items()}
    whole = saved(good)
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        records = {name: file.read(name) for name in file.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in records.items():
            file.writestr(name, content)
    yield "compressed records", out.getvalue()
    yield "a zip bomb", archive(saved({"a": torch.zeros(1)}), {"data/0": bytes(300_000_000)}, zipfile.ZIP_DEFLATED)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in [*records.items(), *records.items()]:
            file.writestr(name, content)
    yield "every record twice", out.getvalue()
    lying = bytearray(whole)
    for place in range(len(lying) - 46):
        if lying[place : place + 4] == b"PK\x01\x02":
            lying[place + 20 : place + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    yield "records of 4 GB", bytes(lying)
    yield "a view of any size", saved({**good, "head.fc.bias": torch.zeros(1).expand(1 << 36)})
    yield (
        "a view of any size, old format",
        saved({"a": torch.zeros(1).expand(1 << 36)}, _use_new_zipfile_serialization=False),
    )
    yield "a sparse tensor", saved({**good, "head.fc.bias": torch.ones(5).to_sparse()})
    yield "complex numbers", saved({**good, "head.fc.bias": torch.ones(5, dtype=torch.complex64)})
    yield "eight-bit floats", saved({**good, "head.fc.bias": torch.ones(5).to(torch.float8_e4m3fn)})
    yield "whole numbers", saved({**good, "head.fc.bias": torch.ones(5, dtype=torch.int32)})
    yield "a tensor on no device", saved({**good, "head.fc.bias": torch.ones(5, device="meta")})
    yield "a whole module", saved(torch.nn.Linear(2, 2))
    yield "a list", saved([torch.ones(1)])
    yield "a number for a name", saved({**good, 5: torch.ones(1)})
    yield "no tensors", saved({"state_dict": {"a": 5}})
    deep: Any = {"a": torch.ones(1)}
    for _ in range(200):
        deep = {"state_dict": deep}
    yield "state dicts within state dicts", saved(deep)
    for number in (np.nan, np.inf):
        yield f"a weight of {number}", saved({**good, "head.fc.bias": torch.full((5,), number)})
    for trick in PATH_TRICKS:
        yield f"the name {trick!r}", saved({**good, trick: torch.ones(1)})
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out)
    yield "a script", out.getvalue()


def hostile_keras(folder: Path) -> Iterator[tuple[str, bytes]]:
    import h5py

    good = as_keras(arrays_of(make_network()))
    bias = "predictions/predictions/bias:0"

    path = folder / "hostile.h5"
    with h5py.File(path, "w", libver="latest") as whole:
        for name, value in good.items():
            whole.create_dataset(name, data=value)
    untouched = path.read_bytes()
    path.unlink()

    def written(change: Callable[[Any], None]) -> bytes:
        path.write_bytes(untouched)
        with h5py.File(path, "r+", libver="latest") as file:
            change(file)
        content = path.read_bytes()
        path.unlink()
        return content

    def replace(**options: Any) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            del file[bias]
            file.create_dataset(bias, **options)

        return change

    def put(name: str, item: Any) -> Callable[[Any], None]:
        return lambda file: file.__setitem__(name, item)

    def circle(file: Any) -> None:
        file["predictions/again"] = file["predictions"]

    def twice(file: Any) -> None:
        file["predictions/predictions/more:0"] = file[bias]

    def alike(file: Any) -> None:
        file["predictions/bias:0"] = np.ones(5, np.float32)

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((5,), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (5,))
        del file[bias]
        file.create_virtual_dataset(bias, layout)

    yield "empty", b""
    yield "text", b"this is no checkpoint\n" * 50
    yield "a signature alone", b"\x89HDF\r\n\x1a\n"
    yield "a signature and zeros", b"\x89HDF\r\n\x1a\n" + bytes(5000)
    yield "a shape of 2^40", written(replace(shape=(1 << 40,), dtype="f4"))
    yield (
        "a compressed bomb",
        written(replace(shape=(1 << 34,), dtype="f4", chunks=(1 << 20,), compression="gzip", fillvalue=1)),
    )
    yield "compressed zeros", written(replace(data=np.zeros(10_000_000, np.float32), compression="gzip"))
    yield "an outside file", written(replace(shape=(5,), dtype="f4", external=[("/etc/passwd", 0, 20)]))
    yield "a virtual array", written(virtual)
    yield "a link out of the file", written(put("more", h5py.ExternalLink("/etc/passwd", "/")))
    yield "a link within the file", written(put("more", h5py.SoftLink("/predictions")))
    yield "a link to nowhere", written(put("more", h5py.SoftLink("/nowhere")))
    yield "a circle", written(circle)
    yield "an array under two names", written(twice)
    yield "two arrays for one name", written(alike)
    yield "texts", written(replace(data=["a", "b"]))
    yield "references", written(replace(shape=(5,), dtype=h5py.ref_dtype))
    yield "records", written(replace(data=np.zeros(5, [("a", "f4"), ("b", "f4")])))
    yield "texts of any length", written(replace(shape=(5,), dtype=h5py.vlen_dtype(np.float32)))
    yield "whole numbers", written(replace(data=np.ones(5, np.int32)))
    yield "deep groups", written(put("/".join("abcdefgh") + "/w", np.ones(1, np.float32)))
    yield "an array at the top", written(put("w", np.ones(1, np.float32)))
    for number in (np.nan, np.inf):
        yield f"a weight of {number}", written(replace(data=np.full(5, number, np.float32)))
    for trick in ("..", "a\\..\\b", "\x1b[2Jescaped"):
        yield f"the name {trick!r}", written(put(trick + "/w", np.ones(1, np.float32)))


def hostile(canary: Path, *, torch: bool, h5py: bool) -> Iterator[tuple[str, str, bytes]]:
    """(suffix, what is wrong, content) of all of them."""
    for what, content in hostile_ckpt():
        yield ".ckpt", what, content
    for what, content in hostile_safetensors():
        yield ".safetensors", what, content
    if torch:
        for what, content in hostile_torch(canary):
            yield ".pth", what, content
    if h5py:
        for what, content in hostile_keras(canary.parent):
            yield ".h5", what, content
