"""Folders of images, archives of such, and MindRecord files: root/split/class/file."""

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
from . import folder_index
from .archive import open_storage
from .class_names import is_text
from .folder_index import Found, find_images
from .folder_walk import LeftOut, readable_folder, walk_images
from .image_formats import IMAGE_EXTENSIONS
from .mindrecord import MindRecord, find_records, is_record, list_records, read_records
from .storage import DISK, MACOS_NOTES, Entry, Files, Storage

MOVE_OR_RENAME = "move it away, or name it as the model does"  # a class that the model lacks


class NoSplitError(UserError):
    """There is no such split, or not even the folder or archive that should hold it."""

    def __init__(self, text: str, has_root: bool):
        super().__init__(text)
        self.has_root = has_root


@dataclass(frozen=True)
class ImageFolder:
    """The images of one split: `paths[i]` shows the class `class_names[labels[i]]`."""

    folder: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray  # int32, as long as paths
    left_out: LeftOut  # what lies between them
    storage: Files = DISK  # where the paths lead

    def relabel(self, class_names: Sequence[str]) -> ImageFolder:
        """The same images with labels that count in this order; UserError if it lacks one of the classes."""
        packed = isinstance(self.storage, MindRecord)
        advice = "write it anew, with the model's classes as the folders in file_name" if packed else MOVE_OR_RENAME
        label_of = number_classes(self.class_names, class_names, str(self.folder), advice)
        table = np.array([label_of[name] for name in self.class_names], np.int32)
        return replace(self, class_names=tuple(class_names), labels=table[self.labels])


def scan_image_folder(root: str | os.PathLike, split: str, class_names: Sequence[str] | None = None) -> ImageFolder:
    """List the images under root/split/class, and in folders below, classes and files in the order of their names.

    Hidden entries, files beside the class folders, and files without an image extension are left out; see walk_images.
    Of a large folder the list is kept in a file for other processes and later ones; see folder_index.py.
    With `class_names` the labels count in that order, and a class without a folder is fine. `root` may be a zip or tar
    archive (see archive.py), and the split a MindRecord (see mindrecord.py): of both, images are read in place.

    Raises NoSplitError for a missing root or split, and UserError for an archive that is not sound, a split without
    classes, a class without images, a class whose name is no Unicode text, two whose names look the same, and a class
    that `class_names` lacks.
    """
    storage = _open_root(Path(root))
    records = _find_records(storage, Path(root), split)
    if records is not None:
        names, paths, labels, files = read_records(records)
        listed = ImageFolder(records, names, paths, labels, LeftOut(), files)
        return listed if class_names is None else listed.relabel(class_names)
    folder = _find_split(storage, Path(root), split)
    found = _list_folders(storage, folder)
    if not found:
        raise UserError(f"{folder} has no class folders; images belong in {folder}/<class>/<name>.jpg")
    _check_folder_names(found, folder)
    if class_names is not None:
        number_classes(found, class_names, where=str(folder))  # before the walk, which may take long
    if storage is DISK and _is_large(folder, found):
        images = find_images(str(folder), found, lambda disk: _walk(disk, folder, found))
    else:
        images = _walk(storage, folder, found)
    listed = ImageFolder(folder, tuple(found), tuple(images.paths), images.labels, images.left_out, storage)
    return listed if class_names is None else listed.relabel(class_names)


def _walk(storage: Storage, folder: Path, class_names: Sequence[str]) -> Found:
    """The images of all classes; UserError for a class without any."""
    left_out = _note_strays(storage, folder)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        files = walk_images(os.path.join(folder, name), left_out, storage)
        if not files:
            raise UserError(
                f"class folder {folder / name} holds no image; put files with one of the extensions "
                f"{' '.join(IMAGE_EXTENSIONS)} into it, or remove it"
            )
        paths += files
        labels += [label] * len(files)
    return Found(paths, np.array(labels, np.int32), left_out)


def _is_large(folder: Path, class_names: Sequence[str]) -> bool:
    """Whether it is, if all classes have about as many entries as the first."""
    first = os.path.join(folder, class_names[0])
    with readable_folder(first):
        count = len(DISK.list(first))
    return count * len(class_names) >= folder_index.LARGE


def list_class_folders(root: str | os.PathLike, split: str) -> list[str]:
    """The names of the folders of a split, in the order of scan_image_folder; none where there is no such split."""
    storage = _open_root(Path(root))
    records = _find_records(storage, Path(root), split)
    if records is not None:
        return list(read_records(records).class_names)
    try:
        return _list_folders(storage, _find_split(storage, Path(root), split))
    except NoSplitError:
        return []


def number_classes(
    found: Sequence[str], order: Sequence[str], where: str, advice: str = MOVE_OR_RENAME
) -> dict[str, int]:
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
            f"({list_some(order)}); {advice}"
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


def _open_root(root: Path) -> Storage:
    if is_record(root):
        raise UserError(
            f"data_dir {str(root)!r} is a MindRecord file, which holds one split; give its folder as data_dir, and the "
            "file's name as the split (in a recipe train_split or val_split)"
        )
    return open_storage(root)


def _find_records(storage: Storage, root: Path, split: str) -> Path | None:
    """The MindRecord file of a split that is no folder."""
    return None if storage.is_folder(str(root / split)) else find_records(root, split)


def _find_split(storage: Storage, root: Path, split: str) -> Path:
    if not storage.is_folder(str(root)):
        raise NoSplitError(
            f"data_dir {str(root)!r} is no folder; give the one that holds {split}/<class>/<name>.jpg, or a zip or tar "
            "archive of it",
            has_root=False,
        )
    folder = root / split
    if storage.is_folder(str(folder)):
        return folder
    there = _list_folders(storage, root) + ([] if storage.is_packed else list_records(root))
    if storage.is_packed and len(there) == 1 and storage.is_folder(str(root / there[0] / split)):
        return root / there[0] / split
    has = list_some(there) if there else "no folders"
    if storage.is_packed and len(there) == 1:
        has += f" with {list_some(_list_folders(storage, root / there[0])) or 'no folders'}"
    raise NoSplitError(
        f"split {split!r} is no folder in {root}; it has {has}; choose one of them, or correct data_dir",
        has_root=True,
    )


def _list_folders(storage: Storage, folder: Path) -> list[str]:
    entries = _visible(storage, folder)
    return sorted(entry.name for entry in entries if not storage.leads_nowhere(entry) and entry.is_dir())


def _visible(storage: Storage, folder: Path) -> list[Entry]:
    with readable_folder(str(folder)):
        entries = storage.list(str(folder))
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name != MACOS_NOTES]


def _note_strays(storage: Storage, folder: Path) -> LeftOut:
    """The images that lie beside the class folders, and links that might have been one."""
    left_out = LeftOut()
    for entry in sorted(_visible(storage, folder), key=lambda entry: entry.name):
        if storage.leads_nowhere(entry):
            left_out.note("links to nothing", entry.path)
        elif entry.name.lower().endswith(IMAGE_EXTENSIONS) and entry.is_file():
            left_out.note("beside the class folders", entry.path)
    return left_out
