"""A zip or tar archive as a folder whose files are read in place.

The table of contents is read once; every file is then one read at its place in the archive, from any thread. Nothing
of an archive is trusted: what it says of places and sizes is checked against its length before anything is read.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import struct
import tarfile
import weakref
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files.archives import find_place
from ..files.path import find_kind
from ..files.text import printable, show_path
from .storage import DISK, MOST_BYTES, Entry, Storage, damage, read_at

_MOST_LEVELS = 100  # of folders: each costs its whole path
_LONGEST_LINK = 4096  # bytes
_LONGEST_CHAIN = 40  # links
_ENCRYPTED, _UTF8 = 1 << 0, 1 << 11  # flags of a zip's file
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_FOLDER, _NOWHERE, _ODD = -1, -2, -3  # in place of a number: a folder, a link to no file of the archive, a device
_NO_CHECKSUM = -1
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip's file: signature, and the lengths of its name and extra field
_BLOCK = 512  # bytes: a tar consists of such
# What Python's readers of archives raise for one that is damaged, beside errors of their own.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, ValueError, NotImplementedError, OverflowError, RuntimeError, MemoryError, OSError),
)


class _File(NamedTuple):
    """A file as its archive's table has it."""

    name: str
    start: int  # of its data in a tar, of its local header in a zip
    packed: int  # bytes in the archive
    size: int  # bytes
    method: int = _STORED
    checksum: int = _NO_CHECKSUM


class _Other(NamedTuple):
    """A folder, a link or a device: `target` is the path that a link names, "" for the others."""

    name: str
    kind: int
    target: str = ""


class ArchiveEntry:
    """What lies in a folder of an archive; see storage.Entry."""

    __slots__ = ("name", "number", "path")

    def __init__(self, name: str, path: str, number: int):
        self.name = name
        self.path = path
        self.number = number

    def is_dir(self) -> bool:
        return self.number == _FOLDER

    def is_file(self) -> bool:
        return self.number >= 0

    def is_symlink(self) -> bool:
        return self.number == _NOWHERE


class Archive:
    """The content of a zip or tar archive, as a Storage: its files are called ARCHIVE/path/in/it.

    Links to files of the archive are such files. Raises UserError for what is no sound archive, or packed so that its
    files cannot be read in place.
    """

    is_packed = True

    def __init__(self, path: str):
        self.path = path
        self._prefix = f"{path}/"
        self._descriptor = _open_file(path)
        weakref.finalize(self, os.close, self._descriptor)
        self._length = os.fstat(self._descriptor).st_size
        self._is_zip = _find_kind(path, self._descriptor) == "zip"
        self._folders: dict[str, dict[str, int]] = {"": {}}  # by path in the archive: numbers of files by name
        self._starts, self._packed, self._sizes, self._checksums = (array("q") for _ in range(4))
        self._methods = array("B")
        self._fill()

    def __reduce__(self) -> tuple:
        """Copies, in this process and another, are opened anew."""
        return _open_archive, (self.path,)

    def list(self, folder: str) -> list[ArchiveEntry]:
        content = self._folders[self._inner(folder)]
        return [ArchiveEntry(name, f"{folder}/{name}", number) for name, number in content.items()]

    def is_folder(self, path: str) -> bool:
        return self._inner(path) in self._folders

    def leads_nowhere(self, entry: Entry) -> bool:
        return entry.is_symlink()

    def identity(self, folder: str) -> str:
        return folder

    def size(self, path: str) -> int:
        return self._sizes[self._number(path)]

    def read(self, path: str) -> bytes:
        number = self._number(path)
        size, packed = self._sizes[number], self._packed[number]
        if max(size, packed) > MOST_BYTES:
            raise damage(f"it has {size:,} bytes, and files of {MOST_BYTES:,} at most are read")
        data = self._read_at(self._find_data(number), packed)
        if self._methods[number] == _DEFLATED:
            data = _inflate(data, size)
        if len(data) != size:
            raise damage("its two sizes in the archive differ: the archive is damaged")
        if self._checksums[number] not in (_NO_CHECKSUM, zlib.crc32(data)):
            raise damage("its checksum in the archive is another: the archive is damaged")
        return data

    def read_ends(self, path: str, count: int) -> tuple[bytes, bytes]:
        number = self._number(path)
        if self._methods[number] == _DEFLATED:
            data = self.read(path)
            return data[:count], data[-count:]
        start, size = self._find_data(number), self._sizes[number]
        count = min(count, size)
        return self._read_at(start, count), self._read_at(start + size - count, count)

    def _inner(self, path: str) -> str:
        """The path within the archive; one that is in no archive for a path outside."""
        return "" if path == self.path else path.removeprefix(self._prefix) if path.startswith(self._prefix) else "/"

    def _number(self, path: str) -> int:
        folder, _, name = self._inner(path).rpartition("/")
        number = self._folders.get(folder, {}).get(name, _NOWHERE)
        if number < 0:
            raise FileNotFoundError(errno.ENOENT, "there is no such file in the archive")
        return number

    def _find_data(self, number: int) -> int:
        """Where the data of a file begins."""
        start = self._starts[number]
        if not self._is_zip:
            return start
        signature, *lengths = _LOCAL_HEADER.unpack(self._read_at(start, _LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise damage("its place in the archive holds something else: the archive is damaged")
        return start + _LOCAL_HEADER.size + sum(lengths)

    def _read_at(self, start: int, count: int) -> bytes:
        data = read_at(self._descriptor, start, count)
        if len(data) < count:
            raise damage("the archive ends within it: the archive is cut off")
        return data

    # ---- The table of contents

    def _fill(self) -> None:
        links: dict[str, str] = {}
        try:
            for member in _list_zip(self.path) if self._is_zip else _list_tar(self.path):
                if isinstance(member, _File):
                    self._add(member.name, self._append(member))
                elif member.target:
                    links[self._clean(member.name)] = member.target
                else:
                    self._add(member.name, member.kind)
            for link, target in links.items():
                self._add(link, self._follow(target, links))
        except UserError:
            raise
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise UserError(f"archive {show_path(self.path)}: {printable(reason)}; copy or pack it anew") from error

    def _append(self, file: _File) -> int:
        """The number of a file that is new."""
        if file.start < 0 or file.packed < 0 or file.start + file.packed > self._length:
            raise ValueError(f"it is cut off: {printable(file.name)} lies behind its end")
        if file.method not in (_STORED, _DEFLATED):
            raise UserError(
                f"archive {show_path(self.path)}: {printable(file.name)} is compressed by method {file.method}, and "
                "only stored and deflated files can be read in place; pack it anew, as zip -0 does"
            )
        self._starts.append(file.start)
        self._packed.append(file.packed)
        self._sizes.append(file.size)
        self._methods.append(file.method)
        self._checksums.append(file.checksum)
        return len(self._sizes) - 1

    def _add(self, name: str, number: int) -> None:
        """Put a member into its folder. Of two files of a name the last counts, as it does when they are unpacked."""
        folder, _, last = self._clean(name).rpartition("/")
        if not last:
            return  # the folder that was packed, as "."
        content = self._folders.get(folder)
        if content is None:
            content = self._make_folder(folder)
        if last in content and _FOLDER in (number, content[last]) and number != content[last]:
            raise ValueError(f"it has a file and a folder called {printable(name)}")
        content[last] = number
        if number == _FOLDER:
            self._folders.setdefault(f"{folder}/{last}" if folder else last, {})

    def _make_folder(self, path: str) -> dict[str, int]:
        """The content of a folder whose own entry is missing, or comes later."""
        parts = path.split("/")
        if len(parts) > _MOST_LEVELS:
            raise ValueError(f"it has folders below folders, more than {_MOST_LEVELS} deep")
        for level in range(1, len(parts) + 1):
            folder = "/".join(parts[:level])
            if folder not in self._folders:
                self._add(folder, _FOLDER)
        return self._folders[path]

    def _clean(self, name: str) -> str:
        """A member's name as a path in the archive: "" for the archive's own folder."""
        if name[:1] in ("/", ".") or name[-1:] in ("/", ".") or "/." in name or "//" in name or "\\" in name:
            name = str(find_place(name, self.path))
            return "" if name == "." else name
        return name

    def _follow(self, target: str, links: dict[str, str]) -> int:
        """The number of the file that a link leads to, over other links too."""
        for _ in range(_LONGEST_CHAIN):
            target = posixpath.normpath(target)
            folder, _, name = target.rpartition("/")
            number = self._folders.get(folder, {}).get(name, _NOWHERE)
            if number >= 0:
                return number
            if target not in links:
                break
            target = links[target]
        return _NOWHERE


def open_storage(root: Path) -> Storage:
    """What can list and read `root` and what lies below: an archive, if it is a file, else the disk."""
    return _open_archive(str(root)) if find_kind(root) in ("file", "pipe") else DISK


_opened: weakref.WeakValueDictionary[tuple, Archive] = weakref.WeakValueDictionary()


def _open_archive(path: str) -> Archive:
    """An archive; the same for both splits of it, as long as one of them is in use and the file does not change."""
    status = os.stat(path)
    key = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    archive = _opened.get(key)
    if archive is None:
        archive = _opened[key] = Archive(path)
    return archive


def _open_file(path: str) -> int:
    """A descriptor. Raises UserError for what is no file that can be read."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for its writer
        raise UserError(f"data_dir {path!r} is no folder and no ordinary file; give a folder, or a zip or tar archive")
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"data_dir {path!r}: {error.strerror}; make it readable, or move it away") from None


def _find_kind(path: str, descriptor: int) -> str:
    """ "zip" or "tar". Raises UserError for other files."""
    head = os.pread(descriptor, _BLOCK, 0)
    for magic, compression in _COMPRESSIONS.items():
        if head.startswith(magic):
            raise UserError(
                f"data_dir {path!r} is compressed by {compression} as a whole, so that its files cannot be read in "
                "place; unpack it and give the folder, or pack it again without compression, as tar -cf does"
            )
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return "tar"
    except tarfile.HeaderError:
        if zipfile.is_zipfile(path):
            return "zip"
    if head.startswith(b"PK"):
        raise UserError(
            f"archive {show_path(path)}: it is cut off: the table at a zip's end is missing; copy or pack it anew"
        )
    raise UserError(
        f"data_dir {path!r} is no folder, and no zip or tar archive; give the folder that holds the splits, or an "
        "archive of it"
    )


def _list_zip(path: str) -> Iterator[_File | _Other]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _decode_name(member).replace("\\", "/")
            if member.flag_bits & _ENCRYPTED:
                raise UserError(
                    f"archive {show_path(path)}: {printable(name)} is encrypted; pack it anew without a password"
                )
            if name.endswith("/"):
                yield _Other(name, _FOLDER)
            elif stat.S_ISLNK(member.external_attr >> 16) and member.file_size <= _LONGEST_LINK:
                target = archive.read(member).decode(errors="surrogateescape")
                yield _Other(name, _NOWHERE, _from_folder_of(name, target))
            else:
                yield _File(
                    *(name, member.header_offset, member.compress_size, member.file_size),
                    *(member.compress_type, member.CRC),
                )


def _decode_name(member: zipfile.ZipInfo) -> str:
    """Names without a mark are of 1980's code page by the standard, and UTF-8 where they can be."""
    if member.flag_bits & _UTF8 or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _list_tar(path: str) -> Iterator[_File | _Other]:
    with tarfile.open(path, "r:") as tar:
        behind = -1
        while (member := tar.next()) is not None:
            if tar.offset <= behind:
                raise ValueError(f"the length of {printable(member.name)} is damaged")
            behind = tar.offset
            tar.members.clear()  # of a million files they would take a gigabyte
            if member.isreg() and not member.issparse():
                yield _File(member.name, member.offset_data, member.size, member.size)
            elif member.isdir():
                yield _Other(member.name, _FOLDER)
            elif member.islnk():
                yield _Other(member.name, _NOWHERE, member.linkname)
            elif member.issym():
                yield _Other(member.name, _NOWHERE, _from_folder_of(member.name, member.linkname))
            else:
                yield _Other(member.name, _ODD)
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):  # tarfile takes whatever is no member for the end
            raise ValueError("it is cut off, or damaged, before the empty block that ends a tar")


def _from_folder_of(link: str, target: str) -> str:
    """The path in the archive that a symbolic link names."""
    return posixpath.join(posixpath.dirname(link), target)


def _inflate(data: bytes, size: int) -> bytes:
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        content = inflater.decompress(data, size + 1)
    except zlib.error:
        content, inflater = b"", None
    if inflater is None or len(content) != size or not inflater.eof:
        raise damage("it cannot be decompressed to its size: the archive is damaged")
    return content
