"""Names of classes: in files that users keep, in files of ours, and ImageNet's.

In a file of lines a name stands as it is, or, where that would not come back as it was, as a JSON string: one that
holds a line break or another character that cannot be seen, has blanks at its ends, or begins with a quotation mark or
a bracket. JSON strings are ASCII, so that nothing between the writer and the reader can take them for something else.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError

_IMAGENET_FILE = Path(__file__).with_name("imagenet_classes.txt")
_LONGEST_LABEL = 9  # digits; Python refuses to read thousands of them
_OPENINGS = ('"', "[", "{")  # what begins a JSON string, or a whole file of JSON
_WITHOUT_FOLDER = re.compile(r"class \d+/\d+")


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k in WordNet's words, in the order of their labels."""
    return tuple(words for _, words in _read_imagenet())


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The same classes as their folders are called: n01440764 and so on, which is their order too."""
    return tuple(synset for synset, _ in _read_imagenet())


def _read_imagenet() -> Iterable[tuple[str, str]]:
    for line in _IMAGENET_FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            synset, _, words = line.partition("\t")
            yield synset, words


def are_synsets(names: Iterable[str]) -> bool:
    """Whether all are folders of ImageNet-1k."""
    return set(names) <= set(imagenet_synsets())


def name_all_classes(names: Sequence[str], num_classes: int) -> list[str]:
    """A name for each of `num_classes` classes, of which the first have `names`.

    The others are called "class 7/1000", as no folder can be called.
    """
    return [*names, *(f"class {label}/{num_classes}" for label in range(len(names), num_classes))]


def count_named_classes(names: Sequence[str]) -> int:
    """How many of the classes have a folder: all but those that name_all_classes had to name."""
    return next((label for label, name in enumerate(names) if _WITHOUT_FOLDER.fullmatch(name)), len(names))


def format_class_names(names: Iterable[str]) -> str:
    """The lines that read_class_file reads as these names, whatever they hold."""
    return "".join(f"{name if _is_plain(name) else json.dumps(name)}\n" for name in names)


def read_class_file(path: str | Path) -> list[str]:
    """The names in a file, in the order of the labels.

    A text file holds a name a line, as it is or as a JSON string. JSON holds a list of names, or an object from label
    to name, from name to label (torchvision's class_to_idx), or from label to a list that ends in the name (Keras's
    imagenet_class_index.json).

    Raises UserError for a file that cannot be read, and names that do not number the classes from 0 on.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # some editors of Windows write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"class_names {path}: {reason}") from None
    if text.lstrip().startswith(("[", "{")):
        return name_labels(_read_json(text, path), str(path))
    lines = text.rstrip().split("\n") if text.strip() else []
    return check_names(list(map(_read_line, lines)), str(path))


def _is_plain(name: str) -> bool:
    return name.isprintable() and name == name.strip() and not name.startswith(_OPENINGS)


def _read_line(line: str) -> str:
    """The name in a line: a JSON string, or else the line as it is."""
    line = line.strip()
    if line.startswith('"'):
        with suppress(json.JSONDecodeError):
            return json.loads(line)
    return line


def _read_json(text: str, path: str | Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"class_names {path}: no JSON, {error}") from None
    except RecursionError:
        raise UserError(f"class_names {path}: no JSON, it is nested too deeply") from None
    except ValueError:  # what Python says of a number of thousands of digits
        raise UserError(f"class_names {path}: no label has as many digits as a number in it") from None


def name_labels(names: Any, origin: str = "given") -> list[str]:
    """The names in the order of their labels, out of any of the shapes that read_class_file knows in JSON."""
    if not isinstance(names, dict):
        return check_names(list(names), origin)
    by_label = {}
    for key, value in names.items():
        label, name = (value, key) if isinstance(value, int) and not isinstance(key, int) else (key, value)
        digits = str(label)
        if not digits.isdecimal() or len(digits) > _LONGEST_LABEL or int(label) in by_label:
            shown = reprlib.repr(label)
            raise UserError(f"class_names {origin}: {shown} must be a label, a number of its own from 0 on")
        by_label[int(label)] = name[-1] if isinstance(name, list | tuple) and name else name
    missing = next((label for label in range(len(by_label)) if label not in by_label), None)
    if missing is not None:
        raise UserError(f"class_names {origin}: {len(by_label)} classes, but none has the label {missing}")
    return check_names([by_label[label] for label in range(len(by_label))], origin)


def check_names(names: list[Any], origin: str) -> list[str]:
    """The same names. Raises UserError unless there are some, and each is a text that files can hold."""
    if not names:
        raise UserError(f"class_names {origin}: there are none; give one for each class")
    for label, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise UserError(
                f"class_names {origin}: the name of class {label} is {reprlib.repr(name)}; every class needs one"
            )
        if not is_text(name):
            raise UserError(
                f"class_names {origin}: the name of class {label}, {reprlib.repr(name)}, is no Unicode text; correct it"
            )
    return names


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: that of a folder may be other bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
