"""Going on with a run: from its newest state on rank 0's disk to the same step, position and recipe on every rank."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..optim import optimizer_state
from ..options import Recipe, flatten
from ..utils.process_group import ProcessGroup
from ..utils.run_state import load_newest_state, restore
from ..utils.train_step import TrainStep

# Keys in which a resumed run may differ: what it writes and where it reads, not what the next step is.
FREE_KEYS = {
    "resume", "resume_opt", "ckpt_path", "pretrained", "reset_head", "resize_pos", "dialect", "data_dir",
    "ckpt_save_dir", "device_target", "distribute", "val_while_train", "val_interval", "eval_shuffle", "val_amp_level",
    "log_interval", "ckpt_save_interval", "ckpt_save_policy", "keep_checkpoint_max", "tensorboard", "dataset_download",
    "data_timeout", "jit_level", "fuse_bn",
}  # fmt: skip


@dataclass
class Position:
    """How far a run has come; with the parameters of the train step it is the whole state."""

    epoch: int = 0  # complete epochs
    step: int = 0  # steps of the next one
    loss_sum: float = 0.0  # of these steps
    best_top1: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class SavedState:
    """What a run left behind: `content` on every rank, the arrays on rank 0 only."""

    arrays: Mapping[str, np.ndarray]
    content: Mapping[str, Any]
    images_per_step: int  # of the run that goes on

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
        if self.same_steps:
            restore(step, self.arrays)
            return
        # The plan of rates belongs to the size of the steps, and the update counter is the position in it.
        optimizer = step.optimizer
        known = {*optimizer_state(optimizer), *(parameter.name for parameter in optimizer.parameters)}
        plans = {
            parameter.name: parameter.asnumpy()
            for parameter in optimizer.get_parameters()
            if parameter.name not in known
        }
        under_way = int(self.arrays.get("num_accumulated", 0)) > 0  # it counts when it is made
        count = np.full(optimizer.global_step.shape, max(0, updates - under_way), np.int32)
        restore(step, {**self.arrays, **plans, optimizer.global_step.name: count})


def load_state(recipe: Recipe, images_per_step: int, group: ProcessGroup, logger: logging.Logger) -> SavedState:
    """The newest whole state of the run, read by rank 0. Raises UserError when its recipe is another than this."""
    arrays: Mapping[str, np.ndarray] = {}
    text = b""
    if group.is_main:
        folder = Path(recipe.run.ckpt_save_dir)
        arrays, content = load_newest_state(folder, recipe.model.model_name, logger)
        _check_recipe(recipe, content, images_per_step)
        text = json.dumps(content).encode()
    return SavedState(arrays, json.loads(group.broadcast(text)), images_per_step)


def _check_recipe(recipe: Recipe, content: Mapping[str, Any], images_per_step: int) -> None:
    now = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(recipe).items()}
    for key, value in content["recipe"].items():
        if key not in now:
            raise UserError(
                f"resume: this version has no key {key!r}, which the run has; go on with the version before"
            )
        if key in FREE_KEYS or now[key] == value:
            continue
        if key == "batch_size" and content["images_per_step"] == images_per_step:
            continue  # on another number of ranks
        raise UserError(
            f"resume: {key} was {value!r} and is {now[key]!r} now; resume with the run's own recipe.yaml, or start "
            "anew in another ckpt_save_dir"
        )
