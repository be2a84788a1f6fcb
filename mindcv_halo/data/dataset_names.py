"""The names of data sets that are more than a folder of images, in one place: any case is right."""

from __future__ import annotations

import re
from difflib import get_close_matches

ARRAY_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")  # of arrays (height, width, channels)
DIGITS = "digits"
_FOLDERS = ("imagenet", "")
GREY_DATASETS = ("mnist", "fashion_mnist")


def canonical_name(name: str) -> str:
    """`name` in lower case if that is a data set that we know; any other name stands for a folder and stays."""
    lower = name.lower()
    return lower if lower in (*ARRAY_DATASETS, DIGITS, *_FOLDERS) else name


def count_channels(name: str) -> int:
    """The channels of a data set's images."""
    return 1 if canonical_name(name) in GREY_DATASETS else 3


def suggest_name(name: str) -> str | None:
    """The known data set that a name such as cifar-10 or minst may mean; None for the known ones and all others."""
    if canonical_name(name) in (*ARRAY_DATASETS, DIGITS, *_FOLDERS):
        return None
    letters = re.sub(r"[\W_]", "", name.lower())
    return next(iter(get_close_matches(letters, (*ARRAY_DATASETS, DIGITS), n=1, cutoff=0.75)), None)
