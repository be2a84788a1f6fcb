"""Folders of images: root/split/class/file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .folder_walk import LeftOut, leads_nowhere, walk_images
from .image_formats import IMAGE_EXTENSIONS


@dataclass(frozen=True)
class ImageFolder:
    """The images of one split: `paths[i]` shows the class `class_names[labels[i]]`."""

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray  # int32, as long as paths
    left_out: LeftOut = field(default_factory=LeftOut)  # what lies between them


def scan_image_folder(root: str | os.PathLike, split: str, class_names: Sequence[str] | None = None) -> ImageFolder:
    """List the images under root/split/class, and in folders below, classes and files in the order of their names.

    Hidden entries, files beside the class folders, and files without an image extension are left out; see walk_images.
    With `class_names` the labels count in that order, and a class without a folder is fine.

    Raises UserError for a missing root or split, a split without classes, a class without images, and a class that
    `class_names` lacks.
    """
    folder = _find_split(Path(root), split)
    found = sorted(entry.name for entry in _visible(folder) if not leads_nowhere(entry) and entry.is_dir())
    if not found:
        raise UserError(f"{folder} has no class folders; images belong in {folder}/<class>/<name>.jpg")
    order = tuple(found if class_names is None else class_names)
    label_of = number_classes(found, order, where=str(folder))
    left_out = _note_strays(folder)
    paths: list[str] = []
    labels: list[int] = []
    for name in found:
        files = walk_images(os.path.join(folder, name), left_out)
        if not files:
            raise UserError(
                f"class folder {folder / name} holds no image; put files with one of the extensions "
                f"{' '.join(IMAGE_EXTENSIONS)} into it, or remove it"
            )
        paths += files
        labels += [label_of[name]] * len(files)
    return ImageFolder(order, tuple(paths), np.array(labels, np.int32), left_out)


def number_classes(found: Sequence[str], order: Sequence[str], where: str) -> dict[str, int]:
    """The label of every class of `order`; UserError if one of the classes found at `where` is not among them."""
    label_of = {name: label for label, name in enumerate(order)}
    strangers = [name for name in found if name not in label_of]
    if strangers:
        raise UserError(
            f"{where}: {_shorten(strangers)} is none of the {len(order)} classes of the training run "
            f"({_shorten(order)}); move it away, or evaluate on the classes that the model knows"
        )
    return label_of


def _find_split(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise UserError(f"data_dir {str(root)!r} is no folder; give the one that holds {split}/<class>/<name>.jpg")
    folder = root / split
    if not folder.is_dir():
        there = sorted(entry.name for entry in _visible(root) if entry.is_dir())
        raise UserError(
            f"split {split!r} is no folder in {root}; it has {_shorten(there) if there else 'no folders'}; "
            "choose one of them, or correct data_dir"
        )
    return folder


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


def _shorten(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
