"""Names of classes out of files: lists that users keep, and ImageNet's."""

from __future__ import annotations

import json
import reprlib
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError

_IMAGENET_FILE = Path(__file__).with_name("imagenet_classes.txt")
_LONGEST_LABEL = 9  # digits; Python refuses to read thousands of them


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k in WordNet's words, in the order of their labels."""
    lines = _IMAGENET_FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line.partition("\t")[2] for line in lines if not line.startswith("#"))


def read_class_file(path: str | Path) -> list[str]:
    """The names in a file, in the order of the labels.

    A text file holds a name a line. JSON holds a list of names, or an object from label to name, from name to label
    (torchvision's class_to_idx), or from label to a list that ends in the name (Keras's imagenet_class_index.json).

    Raises UserError for a file that cannot be read, and names that do not number the classes from 0 on.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # some editors of Windows write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"class_names {path}: {reason}") from None
    if not text.lstrip().startswith(("[", "{")):
        names = text.rstrip().splitlines()
    else:
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"class_names {path}: no JSON, {error}") from None
        except RecursionError:
            raise UserError(f"class_names {path}: no JSON, it is nested too deeply") from None
        except ValueError:  # what Python says of a number of thousands of digits
            raise UserError(f"class_names {path}: no label has as many digits as a number in it") from None
        names = name_labels(content, str(path))
    return _check_names(names, str(path))


def name_labels(names: Any, origin: str = "given") -> list[str]:
    """The names in the order of their labels, out of any of the shapes that read_class_file knows in JSON."""
    if not isinstance(names, dict):
        return _check_names(list(names), origin)
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
    return _check_names([by_label[label] for label in range(len(by_label))], origin)


def _check_names(names: list[Any], origin: str) -> list[str]:
    if not names:
        raise UserError(f"class_names {origin}: there are none; give one for each class")
    for label, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(
                f"class_names {origin}: the name of class {label} is {reprlib.repr(name)}; every class needs one"
            )
    return [name.strip() for name in names]
