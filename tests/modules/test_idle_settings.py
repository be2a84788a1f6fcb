"""A setting that nothing would come of is refused, or said: for every key of a recipe, and every factory's argument."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from mindspore import Parameter, Tensor
from mindspore.dataset import NumpySlicesDataset
from mindspore.dataset.vision import HWC2CHW

from mindcv_halo import (
    create_dataset,
    create_loader,
    create_loss,
    create_optimizer,
    create_scheduler,
    create_transforms,
)
from mindcv_halo.config import make_recipe, read_recipe
from mindcv_halo.config.idle_keys import find_idle_keys
from mindcv_halo.config.options import Recipe, list_options
from mindcv_halo.data import dataset_factory
from mindcv_halo.data.image_arrays import ImageArrays
from mindcv_halo.engine.setup import resolve_transform
from mindcv_halo.errors import UserError
from mindcv_halo.idle_settings import IdleSettingWarning, collect_idle

ROOT = Path(__file__).parents[2]

# key: a value, keys beside which nothing comes of it, and keys beside which it counts
IDLE = {
    "jit_level": ("O1", {"mode": 1}, {}),
    "skip_bad_images": (True, {"dataset": "cifar10"}, {}),
    "exif": (True, {"dataset": "cifar10"}, {}),
    "cutmix_prob": (0.5, {}, {"cutmix": 1.0}),
    "scale": ((0.5, 1.0), {"dataset": "cifar10"}, {}),
    "ratio": ((0.5, 1.0), {"dataset": "cifar10"}, {}),
    "color_jitter": (0.3, {"auto_augment": "randaug"}, {}),
    "re_scale": ((0.1, 0.2), {}, {"re_prob": 0.1}),
    "re_ratio": ((0.1, 0.2), {}, {"re_prob": 0.1}),
    "re_value": (1.0, {}, {"re_prob": 0.1}),
    "re_max_attempts": (3, {}, {"re_prob": 0.1}),
    "pretrained": (True, {"ckpt_path": "x.ckpt"}, {}),
    "momentum": (0.8, {}, {"opt": "sgd"}),
    "weight_decay_filter": ("norm_and_bias", {"weight_decay": 0.0}, {}),
    "min_lr": (1e-5, {"scheduler": "constant"}, {}),
    "warmup_factor": (0.1, {"warmup_epochs": 0}, {"warmup_epochs": 1}),
    "decay_epochs": (3, {"scheduler": "constant"}, {}),
    "decay_rate": (0.5, {}, {"scheduler": "exponential_decay"}),
    "multi_step_decay_milestones": ((2,), {}, {"scheduler": "multi_step_decay"}),
    "num_cycles": (2, {"scheduler": "one_cycle"}, {}),
    "cycle_decay": (0.5, {}, {"num_cycles": 2}),
    "reset_head": (True, {}, {"ckpt_path": "x.ckpt"}),
    "aux_factor": (0.5, {}, None),  # HaloNets have no auxiliary head
    "amp_level": ("O2", {"amp_cast_list": ("Dense",)}, {}),
    "amp_dtype": ("bfloat16", {}, {"amp_level": "O2"}),
    "drop_overflow_update": (True, {"loss_scale_type": "dynamic"}, {}),
    "clip_value": (5.0, {}, {"clip_grad": True}),
    "clip_mode": ("value", {}, {"clip_grad": True}),
    "ema_decay": (0.9, {}, {"ema": True}),
    "lr_base_size": (512, {}, {"lr_scaling": "linear"}),
    "val_interval": (5, {}, {"val_while_train": True}),
    "eval_shuffle": (True, {}, None),
    "keep_checkpoint_max": (3, {"ckpt_save_policy": None}, {}),
}
# Refused where nothing would come of it: by create_model (tests/modules/models/test_create_model.py), by the factory of
# the optimizer or of the loss, or by the engine (tests/modules/test_error_keys.py).
REFUSED = {
    *("resize_pos", "conv_stages", "block_size", "halo_size", "mask_padding"),
    *("use_nesterov", "eps", "label_smoothing", "layer_decay", "weight_decay"),
    *("dataset_download", "num_samples", "aug_repeats", "aug_splits", "resume_opt", "fuse_bn", "native_kernels"),
    "precision",
    *("ckpt_save_policy", "distribute", "val_amp_level"),
}
# Something comes of it always; or with several ranks, on another device, or in validate.py, which has the same recipe.
USED = {
    *("mode", "device_target", "seed", "dataset", "data_dir", "train_split", "val_split", "shuffle"),
    *("num_parallel_workers", "batch_size", "drop_remainder", "mixup", "cutmix", "image_resize", "hflip", "vflip"),
    *("auto_augment", "re_prob", "interpolation", "crop_pct", "mean", "std", "model", "num_classes", "in_channels"),
    *("drop_rate", "drop_path_rate", "ckpt_path", "dialect", "opt", "scheduler", "lr", "warmup_epochs"),
    *("lr_epoch_stair", "loss", "reduction", "amp_cast_list", "loss_scale_type", "loss_scale"),
    *("gradient_accumulation_steps", "clip_grad", "ema", "recompute", "sync_bn", "lr_scaling", "dataset_sink_mode"),
    *("epoch_size", "resume", "val_while_train", "data_timeout", "log_interval", "ckpt_save_dir"),
    *("ckpt_save_interval", "tensorboard", "frozen_stages"),
}


def make_images() -> NumpySlicesDataset:
    return NumpySlicesDataset((np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)), ["image", "label"])


@pytest.fixture
def say(monkeypatch):
    """say(recipe): the lines of a training run about keys without an effect, without the run."""
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    arrays = ImageArrays(pixels, np.zeros(4, np.int32), ["a"])
    monkeypatch.setattr(dataset_factory, "open_split", lambda *_: arrays)

    def lines(recipe: Recipe) -> list[str]:
        options = recipe.dataset
        with collect_idle() as found:
            if options.name == "cifar10":
                create_dataset(options.name, exif=options.exif, skip_bad_images=options.skip_bad_images)
            create_transforms(options.name, is_training=True, **resolve_transform(recipe))
            create_loader(make_images(), is_training=True, transform=HWC2CHW(), **asdict(recipe.loader))
            create_scheduler(2, num_epochs=recipe.run.epoch_size, **asdict(recipe.scheduler))
            create_optimizer([Parameter(Tensor([1.0]), name="x")], **asdict(recipe.optim))
        return [*filter(None, [find_idle_keys(recipe)]), *found]

    return lines


def recipe_of(values: dict) -> Recipe:
    return make_recipe({"model": "halonet_test", "batch_size": 2, **values})


def test_every_key_is_known_here():
    assert IDLE.keys() | REFUSED | USED == set(list_options())
    assert len(IDLE) + len(REFUSED) + len(USED) == len(list_options())


@pytest.mark.parametrize("key", IDLE)
def test_a_key_without_an_effect_is_said(say, key):
    value, beside, elsewhere = IDLE[key]
    said = " ".join(say(recipe_of({**beside, key: value})))
    assert f"{key} " in said.partition("no effect: ")[2], said
    assert key not in " ".join(say(recipe_of(beside)))  # it has its default
    if elsewhere is not None:
        assert f"{key} " not in " ".join(say(recipe_of({**elsewhere, key: value})))


def test_defaults_say_nothing(say):
    assert say(recipe_of({})) == []


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("[!_]*.yaml")), ids=lambda file: file.stem)
def test_no_shipped_recipe_has_such_a_key(say, file):
    values = {**read_recipe(file), "batch_size": 2}
    if values.get("reset_head"):
        values["ckpt_path"] = "x.ckpt"  # as the recipe's first line tells people to
    recipe = make_recipe(values)
    assert say(recipe) == [], recipe.model.model_name


FACTORY_ALONE = {
    create_optimizer: {
        "schedule_decay": ({"opt": "adam", "schedule_decay": 0.1}, {"opt": "nadam", "schedule_decay": 0.1}),
        "beta1": ({"opt": "sgd", "beta1": 0.5}, {"opt": "adam", "beta1": 0.5}),
        "beta2": ({"opt": "sgd", "beta2": 0.5}, {"opt": "adam", "beta2": 0.5}),
    },
    create_loader: {
        "mixup": ({"mixup": 0.2}, {"mixup": 0.2, "is_training": True}),
        "cutmix": ({"cutmix": 0.2}, {"cutmix": 0.2, "is_training": True}),
        "separate": ({"separate": True}, None),
    },
    create_loss: {
        "weight": ({"name": "asl_single_label", "weight": Tensor([1.0])}, {"name": "CE", "weight": Tensor([1.0])}),
        "label_smoothing": (
            {"name": "asl_multi_label", "label_smoothing": 0.1},
            {"name": "CE", "label_smoothing": 0.1},
        ),
    },
}


def first_of(factory) -> list:
    """What a factory needs before its options."""
    if factory is create_optimizer:
        return [[Parameter(Tensor([1.0]), name="x")]]
    return [make_images()] if factory is create_loader else []


@pytest.mark.parametrize("factory", FACTORY_ALONE, ids=lambda factory: factory.__name__)
def test_an_argument_without_an_effect(factory):
    """It is refused, or warned of with the caller's line."""
    more = {"batch_size": 2, "transform": HWC2CHW()} if factory is create_loader else {}
    for option, (idle, used) in FACTORY_ALONE[factory].items():
        assert option in signature(factory).parameters
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                factory(*first_of(factory), **idle, **more)
            except UserError as error:
                said = str(error)
            else:
                said = str(caught[0].message)
                assert (caught[0].category, caught[0].filename) == (IdleSettingWarning, __file__)
        assert option in said
        if used is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                factory(*first_of(factory), **used, **more)
