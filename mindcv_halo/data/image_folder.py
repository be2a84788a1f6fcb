"""Folders of images: root/split/class/file."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files.text import list_some, printable
from .class_names import is_text
from .folder_walk import LeftOut, leads_nowhere, walk_images
from .image_formats import IMAGE_EXTENSIONS


@dataclass(frozen=True)
class ImageFolder:
    """The images of one split: `paths[i]` shows the class `class_names[labels[i]]`."""

    folder: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray  # int32, as long as paths
    left_out: LeftOut  # what lies between them

    def relabel(self, class_names: Sequence[str]) -> ImageFolder:
        """The same images with labels that count in this order; UserError if it lacks one of the classes."""
        label_of = number_classes(self.class_names, class_names, where=str(self.folder))
        table = np.array([label_of[name] for name in self.class_names], np.int32)
        return replace(self, class_names=tuple(class_names), labels=table[self.labels])


def scan_image_folder(root: str | os.PathLike, split: str, class_names: Sequence[str] | None = None) -> ImageFolder:
    """List the images under root/split/class, and in folders below, classes and files in the order of their names.

    Hidden entries, files beside the class folders, and files without an image extension are left out; see walk_images.
    With `class_names` the labels count in that order, and a class without a folder is fine.

    Raises UserError for a missing root or split, a split without classes, a class without images, a class whose name
    is no Unicode text, two whose names look the same, and a class that `class_names` lacks.
    """
    folder = _find_split(Path(root), split)
    found = _list_folders(folder)
    if not found:
        raise UserError(f"{folder} has no class folders; images belong in {folder}/<class>/<name>.jpg")
    _check_folder_names(found, folder)
    if class_names is not None:
        number_classes(found, class_names, where=str(folder))  # before the walk, which may take long
    left_out = _note_strays(folder)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(found):
        files = walk_images(os.path.join(folder, name), left_out)
        if not files:
            raise UserError(
                f"class folder {folder / name} holds no image; put files with one of the extensions "
                f"{' '.join(IMAGE_EXTENSIONS)} into it, or remove it"
            )
        paths += files
        labels += [label] * len(files)
    images = ImageFolder(folder, tuple(found), tuple(paths), np.array(labels, np.int32), left_out)
    return images if class_names is None else images.relabel(class_names)


def list_class_folders(root: str | os.PathLike, split: str) -> list[str]:
    """The names of the folders of a split, in the order of scan_image_folder; none where there is no such split."""
    folder = Path(root) / split
    return _list_folders(folder) if folder.is_dir() else []


def number_classes(found: Sequence[str], order: Sequence[str], where: str) -> dict[str, int]:
    """The label of every class found at `where`: its position in `order`.

    A letter with an accent is the same in one piece and in two: file systems of macOS take such names apart.
    Raises UserError if one of the classes found is not in `order`, or is there twice.
    """
    label_of = {name: label for label, name in enumerate(order)}
    composed = {unicodedata.normalize("NFC", name): label for name, label in label_of.items()}
    labels = {name: label_of.get(name, composed.get(unicodedata.normalize("NFC", name))) for name in found}
    strangers = [name for name, label in labels.items() if label is None]
    if strangers:
        raise UserError(
            f"{where}: {list_some(strangers)} is none of the {len(order)} classes of the model "
            f"({list_some(order)}); move it away, or name it as the model does"
        )
    several = [name for name, count in Counter(order).items() if count > 1 and name in labels]
    if several:
        raise UserError(
            f"{where}: {list_some(several)} is the name of several of the {len(order)} classes; give each its own"
        )
    return labels


def _check_folder_names(names: Sequence[str], folder: Path) -> None:
    for name in names:
        if not is_text(name):
            raise UserError(
                f"class folder {folder / printable(name)}: its name is no UTF-8, so that no file could hold it; rename "
                "it (convmv does that for many)"
            )
    twins = [name for name, count in Counter(unicodedata.normalize("NFC", name) for name in names).items() if count > 1]
    if twins:
        raise UserError(
            f"{folder} has two class folders that are both called {printable(twins[0])}: one is written with letter "
            "and accent in one piece, the other in two; put all images into one, and remove the other"
        )


def _find_split(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise UserError(f"data_dir {str(root)!r} is no folder; give the one that holds {split}/<class>/<name>.jpg")
    folder = root / split
    if not folder.is_dir():
        there = _list_folders(root)
        raise UserError(
            f"split {split!r} is no folder in {root}; it has {list_some(there) if there else 'no folders'}; "
            "choose one of them, or correct data_dir"
        )
    return folder


def _list_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _visible(folder) if not leads_nowhere(entry) and entry.is_dir())


def _visible(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _note_strays(folder: Path) -> LeftOut:
    """The images that lie beside the class folders, and links that might have been one."""
    left_out = LeftOut()
    for entry in sorted(_visible(folder), key=lambda entry: entry.name):
        if leads_nowhere(entry):
            left_out.note("links to nothing", entry.path)
        elif entry.name.lower().endswith(IMAGE_EXTENSIONS) and entry.is_file():
            left_out.note("beside the class folders", entry.path)
    return left_out
