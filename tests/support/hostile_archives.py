"""Zip and tar archives of images that somebody made to do harm, or that bad luck made, for test_archive.py."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

Files = dict[str, bytes]

_CENTRAL = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_BAD = "bad image file .*train/a/1.png:"
_OUTSIDE = "has a member .* outside of the folder; it is not to be trusted"


def pack_zip(files: Files, how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return out.getvalue()


def pack_tar(files: Files, **fields: dict[str, object]) -> bytes:
    """`fields` of members: attributes of their TarInfo that differ from a file's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.get(name, {}).items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def hostile_archives(good: Files) -> Iterator[tuple[str, bytes, str]]:
    """(what is wrong, content, pattern of the error of the archive, or of an image in it): "" for none.

    `good` are images of a split train, of which the first, train/a/1.png, is spoilt.
    """
    yield "nothing at all", b"", "no zip or tar archive"
    yield "text", b"no archive\n" * 100, "no zip or tar archive"
    yield "zeros", bytes(10_240), "no zip or tar archive"
    yield from _hostile_zips(good)
    yield from _hostile_tars(good)


def _hostile_zips(good: Files) -> Iterator[tuple[str, bytes, str]]:
    first, image = next(iter(good.items()))
    stored, deflated = pack_zip(good), pack_zip(good, zipfile.ZIP_DEFLATED)
    yield "zip, cut in the middle", stored[: len(stored) // 2], "cut off: the table at a zip's end is missing"
    yield "zip, one byte short", stored[:-1], "cut off"
    yield "zip, its beginning lost", stored[1000:], "archive"
    yield "zip without members", pack_zip({}), "split 'train' is no folder"
    for name in ("../x.jpg", "train/../../x.jpg", "/etc/x.jpg", "..\\x.jpg"):
        yield f"zip with {name}", pack_zip({**good, name: image}), _OUTSIDE
    yield "zip, a file that is a folder", pack_zip({**good, "train/a": b"x"}), "a file and a folder called train/a"
    yield "zip, 200 folders deep", pack_zip({**good, "d/" * 200 + "x.jpg": image}), "more than 100 deep"
    yield "zip, 30,000 folders deep", pack_zip({**good, "d/" * 30_000 + "x.jpg": image}), "more than 100 deep"
    yield "zip, a name with line breaks", pack_zip({**good, "train/a/x\n\x1b[2J.jpg": b"none"}), ""
    yield "zip, a name of code page 437", pack_zip(good).replace(b"train/a", b"train/\x81"), ""
    for what, method in (("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        yield f"zip, {what}", pack_zip(good, method), f"compressed by method {method}, .* pack it anew"
    yield "zip, a part of several", _change_end(stored, 4, struct.pack("<HH", 1, 1)), ""
    yield "zip, a table that is longer", _change_end(stored, 12, struct.pack("<I", 1 << 30)), "archive"
    yield "zip, a table elsewhere", _change_end(stored, 16, struct.pack("<I", 1 << 31)), "archive"
    size, checksum, huge = len(image), zlib.crc32(image), 0xFFFFFFF0
    entries = {  # what the table says of the first file: (archive, offset in its entry, number, message)
        "encrypted": (stored, 8, 1, "is encrypted; pack it anew without"),
        "4 GB packed": (stored, 20, huge, "lies behind its end"),
        "a place behind the end": (stored, 42, huge, "lies behind its end"),
        "4 GB unpacked": (deflated, 24, huge, f"{_BAD} it has 4,294,967,280 bytes"),
        "a byte more unpacked": (deflated, 24, size + 1, f"{_BAD} it cannot be decompressed"),
        "a byte less unpacked": (deflated, 24, size - 1, f"{_BAD} it cannot be decompressed"),
        "two sizes of a stored file": (stored, 24, size - 1, f"{_BAD} its two sizes"),
        "another checksum": (stored, 16, checksum ^ 1, f"{_BAD} its checksum"),
        "the place of another": (stored, 42, 7, f"{_BAD} its place in the archive holds"),
    }
    for what, (archive, offset, number, message) in entries.items():
        width = "<H" if offset == 8 else "<I"
        yield f"zip, {what}", _change_table(archive, offset, struct.pack(width, number)), message
    yield "zip, a version of the future", _change_table(stored, 6, b"\xff\0"), "zip file version 25.5"
    yield "zip, deflated but it is not", _change_table(stored, 10, b"\x08\0"), f"{_BAD} it cannot be decompressed"
    yield "zip, stored but it is not", _change_table(deflated, 10, b"\0\0"), f"{_BAD} its two sizes"
    yield "zip, no header before a file", stored.replace(_LOCAL, b"none", 1), f"{_BAD} its place in the archive holds"
    at = stored.index(image) + len(image) // 2
    yield "zip, a changed byte", stored[:at] + bytes([stored[at] ^ 255]) + stored[at + 1 :], f"{_BAD} its checksum"
    yield "zip, a bomb", pack_zip({**good, first: bytes(20_000_000)}, zipfile.ZIP_DEFLATED), ""
    link = zipfile.ZipInfo("train/a/link.jpg")
    link.external_attr = 0o120777 << 16
    for target in ("/etc/passwd", "link.jpg", "../../../x", "", "\0"):
        out = io.BytesIO(stored)
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr(link, target)
        yield f"zip, a link to {target!r}", out.getvalue(), ""


def _hostile_tars(good: Files) -> Iterator[tuple[str, bytes, str]]:
    first, image = next(iter(good.items()))
    whole = pack_tar(good)
    for how, pack in {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}.items():
        yield f"tar, {how}", pack(whole), f"compressed by {how} as a whole, .* unpack it .* tar -cf"
    members = -(-len(image) // 512) + 1  # blocks of the first
    for what, at in {
        "within a header": 512 * members + 100,
        "within a file": 700,
        "between files": 512 * members,
    }.items():
        yield f"tar, cut {what}", whole[:at], "archive .*: .*; copy or pack it anew"
    broken = bytearray(whole)
    broken[512 * members + 20] ^= 1
    yield "tar, a damaged header", bytes(broken), "cut off, or damaged"
    for name in ("../x.jpg", "train/../../x.jpg", "/etc/x.jpg"):
        yield f"tar with {name}", pack_tar({**good, name: image}), _OUTSIDE
    yield "tar, a file that is a folder", pack_tar({**good, "train/a": b"x"}), "a file and a folder called train/a"
    yield "tar, 30,000 folders deep", pack_tar({**good, "d/" * 30_000 + "x.jpg": image}), "more than 100 deep"
    for size in (1 << 40, -512, -(1 << 20)):
        yield f"tar, a size of {size}", _change_size(whole, size), "archive .*; copy or pack it anew"
    for what, kind in {"pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE, "kind nobody knows": b"Z"}.items():
        yield f"tar, a {what}", pack_tar({**good, "train/a/odd.jpg": b""}, **{"train/a/odd.jpg": {"type": kind}}), ""
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        for target in ("/etc/passwd", "train/a/odd.jpg", "odd.jpg", "../../../x", "", first):
            fields = {"train/a/odd.jpg": {"type": kind, "linkname": target}}
            yield f"tar, a link to {target}", pack_tar({**good, "train/a/odd.jpg": b""}, **fields), ""
    records = {
        "size=-1024": "copy or pack it anew",
        f"size={1 << 62}": "copy or pack it anew",
        "size=x": "copy or pack it anew",
        "path=../../x.jpg": _OUTSIDE,
        "GNU.sparse.map=1,2,3": "class folder .*train/a holds no image",
    }
    for record, message in records.items():
        key, _, value = record.partition("=")
        yield f"tar, {record}", pack_tar(good, **{first: {"pax_headers": {key: value}}}), message


def _change_table(archive: bytes, offset: int, content: bytes) -> bytes:
    """A zip whose table says other things of its first file."""
    return _put(archive, archive.index(_CENTRAL) + offset, content)


def _change_end(archive: bytes, offset: int, content: bytes) -> bytes:
    return _put(archive, archive.rindex(b"PK\x05\x06") + offset, content)


def _change_size(archive: bytes, size: int) -> bytes:
    """A tar whose first header has another size, and the right checksum."""
    number = size.to_bytes(12, "big", signed=True)
    header = bytearray(_put(archive[:512], 124, bytes([0x80 if size >= 0 else 0xFF]) + number[1:]))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[512:]


def _put(archive: bytes, at: int, content: bytes) -> bytes:
    return archive[:at] + content + archive[at + len(content) :]


PACKERS: dict[str, Callable[[Files], bytes]] = {
    "stored.zip": pack_zip,
    "deflated.zip": lambda files: pack_zip(files, zipfile.ZIP_DEFLATED),
    "images.tar": pack_tar,
}
