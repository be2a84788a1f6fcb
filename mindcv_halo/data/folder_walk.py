"""The image files below a folder, and what lies between them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ..errors import UserError
from ..files.text import show_path
from .image_formats import IMAGE_EXTENSIONS
from .storage import DISK, Entry, Storage


class LeftOut:
    """What a walk did not take, by kind; as text it is one line with an example of each kind, "" for nothing."""

    def __init__(self):
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def note(self, kind: str, path: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.examples.setdefault(kind, path)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        kinds = (f"{count} {kind}, such as {show_path(self.examples[kind])}" for kind, count in self.counts.items())
        noun = "file" if self.total == 1 else "files"
        return f"left out {self.total} {noun}: {'; '.join(kinds)}" if self.counts else ""


def walk_images(folder: str, left_out: LeftOut, storage: Storage = DISK) -> list[str]:
    """The paths of the images in a folder and in all below it, in the order of torchvision's ImageFolder.

    That is the order of the folders' paths, and of names in a folder. Links to files and folders are followed; a folder
    that was met already is not entered again, so that a link back does no harm. Files without an image extension,
    hidden ones and links to nothing are left out, which `left_out` notes; hidden files that do not look like images,
    and hidden folders, go without saying.

    Raises UserError for a folder that cannot be read.
    """
    found: dict[str, list[str]] = {}  # names of images by folder
    met: set[Hashable] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        names, others = _list(here, met, storage)
        if names:
            found[here] = names
        for entry in others:
            looks_right = entry.name.lower().endswith(IMAGE_EXTENSIONS)
            if storage.leads_nowhere(entry):
                left_out.note("links to nothing", entry.path)
            elif entry.name.startswith("."):
                if looks_right and not entry.is_dir():
                    left_out.note("hidden", entry.path)
            elif entry.is_dir():
                with readable_folder(entry.path):
                    is_known = storage.identity(entry.path) in met
                if is_known:
                    left_out.note("links to folders that are read anyway", entry.path)
                else:
                    waiting.append(entry.path)
            elif not looks_right:
                left_out.note("without the extension of an image", entry.path)
            else:
                left_out.note("no ordinary files", entry.path)
    paths: list[str] = []
    for here in sorted(found):
        beginning = os.path.join(here, "")
        paths += [beginning + name for name in found[here]]
    return paths


@contextmanager
def readable_folder(folder: str) -> Iterator[None]:
    """Raises UserError where a folder, or what lies in it, cannot be read."""
    try:
        yield
    except OSError as error:
        raise UserError(f"folder {show_path(folder)}: {error.strerror}; make it readable, or move it away") from None


def _list(folder: str, met: set[Hashable], storage: Storage) -> tuple[list[str], list[Entry]]:
    """The names of a folder's images, and its other entries, both in order; none if it was met before, which is noted.

    Of a million ordinary images nothing is asked but their names, of links whether they lead to a file.
    """
    names, others = [], []
    with readable_folder(folder):
        identity = storage.identity(folder)
        if identity in met:
            return [], []
        met.add(identity)
        for entry in storage.list(folder):
            name = entry.name
            if name.lower().endswith(IMAGE_EXTENSIONS) and name[0] != "." and _is_file(entry):
                names.append(name)
            else:
                others.append(entry)
    return sorted(names), sorted(others, key=lambda entry: entry.name)


def _is_file(entry: Entry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link back to itself
        return False
