"""An error about a recipe names the key that the user gave: factories' arguments have other names than some keys."""

from __future__ import annotations

import re
from importlib import import_module

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from mindcv_halo.config import make_recipe
from mindcv_halo.config.options import Recipe, list_options
from mindcv_halo.errors import UserError
from mindcv_halo.files.path import make_folder

training = import_module("mindcv_halo.engine.train")  # the attribute of that name is the function

# key: a value of the right type that cannot be, and the other keys without which it would not matter
BAD = {
    "seed": (-1, {}),
    "distribute": (True, {}),
    "data_dir": ("absent", {}),
    "train_split": ("absent", {}),
    "val_split": ("absent", {}),
    "num_samples": (0, {}),
    "dataset_download": (True, {}),
    "aug_repeats": (-1, {}),
    "batch_size": (0, {}),
    "mixup": (-1.0, {}),
    "cutmix": (-1.0, {}),
    "cutmix_prob": (2.0, {}),
    "image_resize": (0, {}),
    "scale": ((1.0, 0.5), {}),
    "ratio": ((0.0, 0.5), {}),
    "hflip": (2.0, {}),
    "vflip": (-1.0, {}),
    "color_jitter": ((0.1, 0.2), {}),
    "auto_augment": ("randog-m9", {}),
    "re_prob": (2.0, {}),
    "re_scale": ((0.5, 0.1), {}),
    "re_ratio": ((0.0, 0.1), {}),
    "re_value": ("grey", {"re_prob": 0.5}),
    "re_max_attempts": (0, {"re_prob": 0.5}),
    "interpolation": ("bicubik", {}),
    "crop_pct": (2.0, {}),
    "mean": ((1.0, 2.0), {}),
    "std": ((0.0, 1.0, 1.0), {}),
    "model": ("halonet", {}),
    "num_classes": (1, {}),
    "in_channels": (0, {}),
    "drop_rate": (2.0, {}),
    "drop_path_rate": (-1.0, {}),
    "ckpt_path": ("absent.ckpt", {}),
    "dialect": ("lisp", {}),
    "conv_stages": ((9,), {}),
    "block_size": (0, {}),
    "halo_size": (-1, {}),
    "opt": ("adm", {}),
    "momentum": (2.0, {"opt": "sgd"}),
    "use_nesterov": (True, {"opt": "adamw"}),
    "weight_decay": (-1.0, {}),
    "eps": (-1.0, {}),
    "layer_decay": (-1.0, {}),
    "scheduler": ("cosine", {}),
    "lr": (-1.0, {}),
    "min_lr": (-1.0, {}),
    "warmup_epochs": (-1, {}),
    "warmup_factor": (-1.0, {"warmup_epochs": 1}),
    "decay_epochs": (0, {}),
    "decay_rate": (-1.0, {"scheduler": "exponential_decay"}),
    "multi_step_decay_milestones": ((0,), {"scheduler": "multi_step_decay"}),
    "num_cycles": (0, {}),
    "cycle_decay": (-1.0, {}),
    "loss": ("CEE", {}),
    "label_smoothing": (2.0, {}),
    "aux_factor": (-1.0, {}),
    "amp_cast_list": (("Absent",), {}),
    "loss_scale": (0.0, {}),
    "gradient_accumulation_steps": (0, {}),
    "frozen_stages": (5, {}),
    "clip_value": (0.0, {"clip_grad": True}),
    "ema_decay": (2.0, {}),
    "lr_base_size": (0, {}),
    "epoch_size": (0, {}),
    "val_interval": (0, {}),
    "data_timeout": (0.0, {}),
    "log_interval": (0, {}),
    "ckpt_save_dir": ("taken", {}),
    "ckpt_save_interval": (0, {}),
    "keep_checkpoint_max": (0, {}),
    "fuse_bn": (True, {}),
    "resume_opt": (True, {}),
}
# Further errors about some of them.
MORE = [
    ("seed", 2**31, {}),
    ("num_samples", 1, {"aug_repeats": 3}),
    ("aug_repeats", 3, {"num_samples": 1}),
    ("batch_size", 99, {}),
    ("batch_size", -1, {}),
    ("train_split", "absent", {"dataset": "mnist", "color_jitter": 0.0}),
    ("data_dir", "train", {"dataset": "cifar10"}),
    ("color_jitter", -1.0, {}),
    ("color_jitter", (0.1, 0.1, 0.1, 0.9), {}),
    ("hflip", -0.1, {}),
    ("mean", (1.0, 2.0, 3.0, 4.0), {}),
    ("re_prob", -0.5, {}),
    ("re_value", (1.0, 2.0), {"re_prob": 0.5}),
    ("num_classes", 0, {}),
    ("num_classes", -5, {}),
    ("in_channels", 1, {}),
    ("in_channels", 4, {}),
    ("drop_rate", -0.1, {}),
    ("drop_path_rate", 1.5, {}),
    ("conv_stages", (1,), {}),
    ("block_size", -3, {}),
    ("momentum", -1.0, {"opt": "momentum"}),
    ("eps", 0.1, {"opt": "sgd"}),
    ("layer_decay", 2.0, {}),
    ("warmup_factor", 2.0, {"warmup_epochs": 1}),
    ("decay_epochs", None, {"scheduler": "step_decay"}),
    ("decay_epochs", -4, {}),
    ("multi_step_decay_milestones", None, {"scheduler": "multi_step_decay"}),
    ("multi_step_decay_milestones", (2, 1), {"scheduler": "multi_step_decay"}),
    ("cycle_decay", 0.0, {"num_cycles": 2}),
    ("aug_splits", 3, {}),
    ("aug_splits", 3, {"loss": "JSD", "mixup": 0.2}),
    ("loss", "JSD", {}),
    ("label_smoothing", -0.1, {}),
    ("ema_decay", 1.0, {}),
    ("loss_scale", 0.5, {}),
    ("frozen_stages", -1, {}),
    ("ckpt_save_policy", "top_k", {"val_while_train": False}),
    ("epoch_size", -1, {}),
]
# What an error calls a key, where it says the thing itself and not the option.
NAMES = {"ckpt_path": "checkpoint absent.ckpt"}
# Any value of these is possible, in some surroundings at least.
ANY = {
    *("native_kernels", "dataset", "shuffle", "skip_bad_images", "exif", "num_parallel_workers", "drop_remainder"),
    *("pretrained", "reset_head", "resize_pos", "mask_padding", "lr_epoch_stair", "drop_overflow_update", "clip_grad"),
    *("ema", "recompute", "sync_bn", "dataset_sink_mode", "resume", "val_while_train", "eval_shuffle", "tensorboard"),
}
CHOICES = {key for key, option in list_options().items() if option.choices}


class Started(Exception):
    """The checks of a training run are over."""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(recipe) goes as far as a training run can without training."""

    def stop(*_, **__):
        raise Started

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "_open_folder", stop)
    (tmp_path / "taken").write_text("a file")
    for split, label in ((split, label) for split in ("train", "val") for label in "ab"):
        (tmp_path / split / label).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / split / label / "0.png")

    def run(recipe: Recipe) -> None:
        with pytest.raises(Started):
            training.train(recipe)
        make_folder("ckpt_save_dir", recipe.run.ckpt_save_dir)

    before = ms.get_context("mode")
    yield run
    ms.set_context(mode=before)


def recipe_of(key: str, value, others: dict) -> Recipe:
    own = {"model": "halonet_test", "image_resize": 8, "batch_size": 2, "num_parallel_workers": 1, "mode": 1}
    shared = {"epoch_size": 2, "warmup_epochs": 0, "val_while_train": True, "native_kernels": False}
    return make_recipe({**own, **shared, **others, key: value})


def test_every_key_is_tried():
    assert {*BAD, *ANY, *CHOICES} == set(list_options())


@pytest.mark.parametrize("key, value, others", [*((key, *bad) for key, bad in BAD.items()), *MORE])
def test_an_error_names_the_key(start, key, value, others):
    with pytest.raises(UserError) as error:
        start(recipe_of(key, value, others))
    assert re.search(rf"\b{NAMES.get(key, key)}\b", str(error.value)), error.value


@pytest.mark.parametrize("key", sorted(CHOICES))
def test_an_error_about_choices_names_the_key(key):
    with pytest.raises(UserError, match=rf"^{key}: "):
        make_recipe({key: "?"})
