"""Archives and compressed files, unpacked so that nothing lands outside of the folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import UserError

_ALIASES = {".tgz": (".tar", ".gz"), ".tbz": (".tar", ".bz2"), ".tbz2": (".tar", ".bz2"), ".txz": (".tar", ".xz")}
_ARCHIVES = (".tar", ".zip")
_OPENERS: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def detect_file_type(filename: str) -> tuple[str, str | None, str | None]:
    """(the whole suffix, the archive's, the compression's), such as (".tar.gz", ".tar", ".gz"); None for neither.

    Raises UserError for a name that ends in none of these.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(filename).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in _ALIASES:
        return (last, *_ALIASES[last])
    if last in _ARCHIVES:
        return last, last, None
    if last in _OPENERS:
        if suffixes[-2:-1] == [".tar"]:
            return f".tar{last}", ".tar", last
        return last, None, last
    known = ", ".join([*_ARCHIVES, *_ALIASES, *_OPENERS])
    raise UserError(f"{filename}: its name must end in {known}; unpack it by hand")


def extract_archive(from_path: str | Path, to_path: str | Path | None = None) -> str:
    """Unpack an archive into the folder `to_path`, by default its own; a compressed file beside itself.

    Returns the folder, or the file that was unpacked. Links and devices are left out. Raises UserError for a damaged
    file, and for one with members that would land outside of the folder, before anything is written.
    """
    source = Path(from_path)
    suffix, archive, compression = detect_file_type(source.name)
    folder = source.parent if to_path is None else Path(to_path)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive == ".tar":
            extract_tar(source, folder, compression)
        elif archive == ".zip":
            extract_zip(source, folder)
        else:
            target = folder / source.name[: -len(suffix)]
            with _OPENERS[compression](source) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            return str(target)
    except (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"{source} cannot be unpacked ({error}); get it anew") from error
    return str(folder)


def extract_tar(from_path: str | Path, to_path: str | Path, compression: str | None = None) -> None:
    """The files of a tar archive into a folder; `compression` is such as ".gz"."""
    with tarfile.open(from_path, f"r:{compression[1:]}" if compression else "r:") as tar:
        members = [member for member in tar if member.isfile() or member.isdir()]
        targets = [Path(to_path) / find_place(member.name, from_path) for member in members]
        for member, target in zip(members, targets, strict=True):
            _write(target, None if member.isdir() else tar.extractfile(member))


def extract_zip(from_path: str | Path, to_path: str | Path) -> None:
    """The files of a zip archive into a folder."""
    with zipfile.ZipFile(from_path) as archive:
        members = archive.infolist()
        targets = [Path(to_path) / find_place(member.filename, from_path) for member in members]
        for member, target in zip(members, targets, strict=True):
            _write(target, None if member.is_dir() else archive.open(member))


def find_place(name: str, archive: str | Path) -> PurePosixPath:
    """Where a member lies in the folder that an archive holds; its name may be written as on Windows.

    Raises UserError for one that lies outside.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} has a member {name!r}, which is outside of the folder; it is not to be trusted")
    return path


def _write(target: Path, content: IO[bytes] | None) -> None:
    """A file of this content, or for None a folder."""
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
