"""Going on with a run: from its newest state on rank 0's disk to the same step, position and recipe on every rank."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter
from mindspore.dataset import Dataset

from ..config.options import DatasetOptions, Recipe, flatten, list_options
from ..config.resolve import WEIGHTS_FROM_STATE
from ..data.sample_source import clamp_workers
from ..distributed.process_group import ProcessGroup
from ..errors import UserError
from ..files.text import list_some
from ..optim import is_setting
from ..runs.state import has_state, load_newest_state, restore
from ..training.step import TrainStep
from .batches import find_loaded_images

# Keys in which a resumed run may differ. Of the workers those count that there are processors for, which TrainingData
# has.
FREE_KEYS = {key for key, option in list_options().items() if option.free_on_resume}
# Keys of the schedule that a resumed run may change: its rates are those of the new schedule from the same update on.
EXTENDING_KEYS = {"epoch_size", "decay_epochs"}


@dataclass
class Position:
    """How far a run has come; with the parameters of the train step it is the whole state."""

    epoch: int = 0  # complete epochs
    step: int = 0  # steps of the next one
    loss_sum: float = 0.0  # of these steps
    best_top1: float | None = None
    best_epoch: int | None = None
    first_update: int = 0  # what the optimizer had behind it when the run began, with resume_opt


@dataclass(frozen=True)
class TrainingData:
    """What the next steps of a run depend on besides its recipe: the images, and who draws their augmentation."""

    class_names: list[str]
    num_images: int
    files: str  # a digest of their names and labels; "" for arrays
    num_parallel_workers: int  # that this machine has processors for


def describe_data(options: DatasetOptions, class_names: Sequence[str], loader: Dataset) -> TrainingData:
    """The training data of a run, from its loader."""
    images = find_loaded_images(loader)
    paths = images.source.read.paths if images.has_files else ()
    names = (path.rpartition(os.sep)[2] for path in paths)  # a million of them: one text, and one digest of it
    text = "".join(f"{label} {name}\n" for name, label in zip(names, images.source.labels, strict=False))
    content = unicodedata.normalize("NFC", text).encode(errors="surrogateescape")
    return TrainingData(
        list(class_names),
        len(images.source.labels),
        hashlib.sha256(content).hexdigest() if paths else "",
        clamp_workers(options.num_parallel_workers),
    )


@dataclass(frozen=True)
class SavedState:
    """What a run left behind: `content` on every rank, the arrays on rank 0 only."""

    arrays: Mapping[str, np.ndarray]
    content: Mapping[str, Any]
    images_per_step: int  # of the run that goes on

    @property
    def facts(self) -> dict[str, Any]:
        """What the recipe need not say, by key: where the weights are, and whose reading of the paper they have."""
        return {**WEIGHTS_FROM_STATE, "dialect": self.content["dialect"]}

    @property
    def same_steps(self) -> bool:
        """Whether the steps of both runs have as many images, over all ranks."""
        return self.content["images_per_step"] == self.images_per_step

    def find_position(self, steps_per_epoch: int) -> Position:
        """Where to go on. Steps of another size are counted so that no image of the epoch is left out."""
        position = Position(**self.content["position"])
        if not self.same_steps:
            steps = position.step * self.content["images_per_step"] // self.images_per_step
            steps = min(steps, steps_per_epoch)  # the last step of an epoch may have had fewer images
            position.loss_sum *= steps / max(1, position.step)
            position.step = steps
        return position

    def put_into(self, step: TrainStep, updates: int) -> None:
        """Give the step this rank's arrays. With steps of another size `updates` have been made in their count.

        Raises UserError when the state is that of another step.
        """
        if not self.arrays:
            return
        arrays = {name: value for name, value in self.arrays.items() if not is_setting(name)}
        if not self.same_steps:  # the update counter is the place in the rates, which belong to the size of the steps
            counter = step.optimizer.global_step
            under_way = int(arrays.get("num_accumulated", 0)) > 0  # it counts when it is made
            made = self.content["position"].get("first_update", 0) + max(0, updates - under_way)
            arrays[counter.name] = np.full(counter.shape, made, np.int32)
        restore(state_parameters(step), arrays)


def state_parameters(step: TrainStep) -> dict[str, Parameter]:
    """What a state holds, by name: all that a step changes. Rates and other settings are the recipe's."""
    return {name: parameter for name, parameter in step.parameters_dict().items() if not is_setting(name)}


def load_run(
    recipe: Recipe, data: TrainingData, images_per_step: int, group: ProcessGroup, logger: logging.Logger
) -> SavedState | None:
    """The newest whole state of the run, read by rank 0; None for `resume: auto` where there is none.

    Raises UserError when its recipe, or its data, are others than these.
    """
    arrays: Mapping[str, np.ndarray] = {}
    text = b""
    if group.is_main:
        folder, model_name = Path(recipe.run.ckpt_save_dir), recipe.model.model_name
        if recipe.run.resume != "auto" or has_state(folder, model_name):
            arrays, content = load_newest_state(folder, model_name, logger)
            _check_recipe(recipe, content, images_per_step, logger)
            _check_data(data, content)
            text = json.dumps(content).encode()
    text = group.broadcast(text)
    return SavedState(arrays, json.loads(text), images_per_step) if text else None


def _check_recipe(recipe: Recipe, content: Mapping[str, Any], images_per_step: int, logger: logging.Logger) -> None:
    now = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    epochs_done = content["position"]["epoch"] + (content["position"]["step"] > 0)
    if recipe.run.epoch_size < epochs_done:
        raise UserError(
            f"resume: the run is in its epoch {epochs_done}, and epoch_size is {recipe.run.epoch_size}; give "
            f"--epoch_size {epochs_done} or more"
        )
    for key, value in content["recipe"].items():
        if key not in now:
            raise UserError(
                f"resume: this version has no key {key!r}, which the run has; go on with the version before"
            )
        if key in FREE_KEYS or now[key] == value:
            continue
        if key in EXTENDING_KEYS:
            logger.info(
                f"{key} was {value} and is {now[key]} now: from here on the rates are those of the new schedule"
            )
            continue
        if key == "batch_size" and content["images_per_step"] == images_per_step:
            continue  # on another number of ranks
        raise UserError(
            f"resume: {key} was {value!r} and is {now[key]!r} now; resume with the run's own recipe.yaml, or start "
            "anew in another ckpt_save_dir, with resume False"
        )


def _check_data(data: TrainingData, content: Mapping[str, Any]) -> None:
    """Raises UserError where the run's images were others, if its state tells."""
    if "data" not in content:
        return
    before = TrainingData(**content["data"])
    ways = "put the run's images back, or start a new run from its checkpoint with --ckpt_path"
    # A letter with its accent is one or two characters, as the file system likes.
    earlier, now = ([unicodedata.normalize("NFC", name) for name in each.class_names] for each in (before, data))
    if now != earlier:
        gone = [name for name in earlier if name not in now]
        new = [name for name in now if name not in earlier]
        changes = {"gone": gone, "new": new}
        change = "; ".join(f"{word}: {list_some(names)}" for word, names in changes.items() if names)
        raise UserError(f"resume: the classes are not those of the run ({change or 'their order is another'}); {ways}")
    if data.num_images != before.num_images:
        raise UserError(f"resume: the run had {before.num_images} training images, here are {data.num_images}; {ways}")
    if data.files != before.files:
        raise UserError(f"resume: names or classes of the training images are not those of the run; {ways}")
    if data.num_parallel_workers != before.num_parallel_workers:
        raise UserError(
            f"resume: num_parallel_workers was {before.num_parallel_workers} by the processors of the run's machine, "
            f"and is {data.num_parallel_workers} here, by which augmentation would draw other numbers; go on on a "
            f"machine with {before.num_parallel_workers} processors or more, with --num_parallel_workers "
            f"{before.num_parallel_workers}; or start a new run from its checkpoint with --ckpt_path"
        )
