"""Which class has which label: one rule for validation, prediction, export and the page.

Names of classes come from the first of these that knows them:

1. a file of names that the user gives;
2. the checkpoint itself, where a run of ours wrote it, or class_names.txt beside it;
3. ImageNet: of a model of 1000 classes, where all folders are synsets such as n01440764;
4. the training split of the recipe;
5. in validation the folders themselves, in the order of their names, where there are as many as the model has classes.

Where none does, validation is refused: a folder that lacks a class would move the labels of all after it. Prediction
goes on with ImageNet's names for 1000 classes, else with the labels themselves.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.options import DatasetOptions, ModelOptions, Recipe
from ..data import get_class_names
from ..data.class_names import (
    are_synsets,
    count_named_classes,
    imagenet_class_names,
    imagenet_synsets,
    name_all_classes,
    name_labels,
    read_class_file,
)
from ..data.dataset_names import ARRAY_DATASETS, DIGITS, canonical_name
from ..data.image_folder import list_class_folders
from ..errors import UserError
from ..files.text import list_some
from ..models import get_pretrained_cfg
from ..models.registry import is_own_model
from ..models.weights import OURS, count_classes, find_packaged, open_weights
from ..models.weights import read_class_names as names_in_weights
from .setup import CLASS_NAMES_FILE, read_class_names

ClassNames = str | os.PathLike | Sequence[str] | Mapping[Any, Any]

_IMAGENET = 1000  # classes
_NAMED_KINDS = (".ckpt", ".safetensors")  # of files, that may hold names of classes
_logger = logging.getLogger("mindcv_halo")


@dataclass(frozen=True)
class Labels:
    """The classes of a model, in the order of its labels."""

    names: tuple[str, ...]
    folders: tuple[str, ...]  # what the folder of each class is called
    origin: str  # who says so

    @property
    def num_named(self) -> int:
        """How many have images at all: a run may have had more classes than folders."""
        return count_named_classes(self.names)

    def describe(self, recipe: Recipe, found: Sequence[str]) -> list[str]:
        """Lines for the log: how many classes the validation split and the model have, and who says which is which."""
        where = _name_split(recipe.dataset, recipe.dataset.val_split)
        counts = f"{len(found)} classes in {where}, {len(self.names)} in the model"
        return [f"{counts}; labels from {self.origin}", *note_order_of_numbers(self.folders[: self.num_named])]


@dataclass(frozen=True)
class _Weights:
    """What the weights tell of their classes."""

    num_classes: int | None  # of their classifier, as far as it can be told
    names: tuple[str, ...] | None
    are_foreign: bool  # written by somebody else: of 1000 classes they are ImageNet's


def find_class_names(recipe: Recipe, given: ClassNames | None) -> list[str]:
    """For prediction: a name for each class of the head; its size is the weights' unless the recipe says it."""
    known, weights = _find_known(recipe, given)
    if known is not None:
        return list(known.names)
    weights = weights or _read_weights(recipe)
    num_classes = recipe.model.num_classes
    if num_classes is None:
        num_classes = _IMAGENET if weights.num_classes is None else weights.num_classes
    if num_classes < 1:
        raise UserError(f"num_classes {num_classes}: prediction needs a classifier, of at least 1 class")
    if recipe.dataset.root != DatasetOptions().root:  # the current folder is that of no data set, or by chance
        trained = _list_trained(recipe)
        if len(trained) == num_classes and not are_synsets(trained):
            return trained
    return list(imagenet_class_names()) if num_classes == _IMAGENET else [str(label) for label in range(num_classes)]


def find_labels(recipe: Recipe, given: ClassNames | None, found: Sequence[str]) -> Labels:
    """For validation: the classes of the model, among which those `found` in the validation split must be.

    Raises UserError where nothing tells them, and where two that tell how many there are disagree.
    """
    options = recipe.dataset
    known, weights = _find_known(recipe, given)
    if known is not None:
        return known
    weights = weights or _read_weights(recipe)
    num_classes = recipe.model.num_classes or weights.num_classes or len(found)
    if num_classes == _IMAGENET and (are_synsets(found) or (weights.are_foreign and _are_labels(found))):
        return _label_imagenet(found)
    are_imagenets = weights.are_foreign and num_classes == _IMAGENET
    trained = found if canonical_name(options.name) in ARRAY_DATASETS else _list_trained(recipe)
    may_be_fewer = recipe.model.num_classes is not None and not are_imagenets
    if len(trained) == num_classes or (may_be_fewer and 0 < len(trained) < num_classes):
        folders = tuple(name_all_classes(trained, num_classes))
        return Labels(folders, folders, f"the folders of {_name_split(options, options.train_split)}")
    if len(found) == num_classes:
        folders = tuple(found)
        return Labels(folders, folders, f"the folders of {_name_split(options, options.val_split)}, in their order")
    raise _no_names(recipe, found, trained, num_classes)


def note_order_of_numbers(folders: Sequence[str]) -> list[str]:
    """A line for the log, where folders are numbers that count in the order of text, which is not theirs; else none."""
    if list(folders) != sorted(folders) or not all(re.fullmatch(r"[0-9]{1,9}", name) for name in folders):
        return []
    pairs = zip(folders, folders[1:], strict=False)
    first = next((label for label, (one, next_one) in enumerate(pairs, 1) if int(next_one) < int(one)), None)
    if first is None:
        return []
    return [
        f"class folders that are numbers have labels in the order of text: label {first} is folder {folders[first]}, "
        f"after {folders[first - 1]}"
    ]


def _find_known(recipe: Recipe, given: ClassNames | None) -> tuple[Labels | None, _Weights | None]:
    """Names that a file, or the weights, tell, and what was read of these on the way.

    Raises UserError where there are not as many as the recipe, or the weights' classifier, says.
    """
    checkpoint, num_classes = _find_file(recipe.model), recipe.model.num_classes
    reads = bool(checkpoint) and Path(checkpoint).suffix.lower() in _NAMED_KINDS
    weights = _read_weights(recipe) if reads else None
    inside = weights.names if weights else None
    if given is not None:
        is_file = isinstance(given, str | os.PathLike)
        names = read_class_file(given) if is_file else name_labels(given)
        origin = f"class_names {given}" if is_file else "class_names"
    elif inside is not None:
        names, origin = list(inside), f"checkpoint {checkpoint}"
        beside = read_class_names(checkpoint)
        if beside not in (None, names):
            _logger.warning(
                f"{Path(checkpoint).parent / CLASS_NAMES_FILE} is of other classes than the checkpoint itself, whose "
                "own names count; --class_names FILE would take others"
            )
    else:
        names, origin = read_class_names(checkpoint), f"the class names beside {checkpoint}"
    if names is None:
        return None, weights
    if num_classes not in (None, len(names)):
        raise UserError(
            f"{origin}: {len(names)} names, but num_classes is {num_classes}; give --num_classes {len(names)}, or the "
            f"names of {num_classes} classes with --class_names FILE"
        )
    if weights and weights.num_classes not in (None, len(names)):
        raise UserError(
            f"{origin}: {len(names)} names, but the classifier of checkpoint {checkpoint} has {weights.num_classes} "
            "classes; the names are of other weights: give the right ones with --class_names FILE"
        )
    return Labels(tuple(names), tuple(names), origin), weights


def _find_file(options: ModelOptions) -> str:
    """The checkpoint, or the published weights that travel with this package; "" for others."""
    if options.checkpoint_path or not options.pretrained:
        return options.checkpoint_path
    return str(find_packaged(get_pretrained_cfg(options.model_name)) or "")


def _read_weights(recipe: Recipe) -> _Weights:
    """Raises UserError for a file that cannot be read."""
    checkpoint, model_name = _find_file(recipe.model), recipe.model.model_name
    if not checkpoint:  # published ones
        return _Weights(get_pretrained_cfg(model_name).get("num_classes", _IMAGENET), None, are_foreign=True)
    if is_own_model(model_name):  # whose names of weights nobody knows
        return _Weights(None, names_in_weights(checkpoint), are_foreign=False)
    file = open_weights(checkpoint, ema=recipe.step.ema and bool(recipe.model.checkpoint_path))
    return _Weights(count_classes(file), file.class_names, file.source is not OURS)


def _list_trained(recipe: Recipe) -> list[str]:
    """The classes of the training split, without a look into their folders; none where there is no such split."""
    options = recipe.dataset
    name = canonical_name(options.name)
    if name in ARRAY_DATASETS:  # each of their splits names all classes
        return get_class_names(options.name, options.root, options.val_split, options.download)
    return list_class_folders(Path(options.root) / (DIGITS if name == DIGITS else ""), options.train_split)


def _are_labels(found: Sequence[str]) -> bool:
    return set(found) <= {str(label) for label in range(_IMAGENET)}


def _label_imagenet(found: Sequence[str]) -> Labels:
    """Folders may be called by synset or by label; a report shows the words too."""
    is_by_synset = are_synsets(found)
    folders = imagenet_synsets() if is_by_synset else tuple(str(label) for label in range(_IMAGENET))
    names = (f"{folder} {words}" for folder, words in zip(folders, imagenet_class_names(), strict=True))
    return Labels(tuple(names), folders, f"ImageNet's {'synsets' if is_by_synset else 'numbers'}")


def _name_split(options: DatasetOptions, split: str) -> str:
    return (
        str(Path(options.root) / split)
        if canonical_name(options.name) not in ARRAY_DATASETS
        else f"dataset {options.name}"
    )


def _no_names(recipe: Recipe, found: Sequence[str], trained: Sequence[str], num_classes: int) -> UserError:
    options = recipe.dataset
    where = _name_split(options, options.val_split)
    model = f"checkpoint {recipe.model.checkpoint_path}" if recipe.model.checkpoint_path else "the published model"
    if len(found) > num_classes:
        return UserError(
            f"{where} has {len(found)} classes ({list_some(found)}), {model} has {num_classes} classes; move the "
            "others away, or correct --num_classes"
        )
    there = f"{len(trained)} others" if trained else "none"
    return UserError(
        f"{where} has {len(found)} classes ({list_some(found)}), {model} has {num_classes} classes, and nothing says "
        f"which of them these are: no names in the checkpoint, no {CLASS_NAMES_FILE} beside it, "
        f"{there} in {_name_split(options, options.train_split)}; give --class_names FILE, with the name of a folder "
        "in each line, in the order of the labels"
    )
