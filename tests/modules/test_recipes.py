"""The shipped recipes: each can be run as its header says, and MindCV's own is kept key by key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mindcv_halo import get_pretrained_cfg, list_models
from mindcv_halo.config import make_recipe, read_recipe
from mindcv_halo.config.options import Recipe
from mindcv_halo.engine.setup import make_transforms

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
BASES = [file for file in FILES if file.name.startswith("_")]
RECIPES = [file for file in FILES if file not in BASES]
CLAIMING = [file for file in RECIPES if file.name != "halonet_test_digits.yaml"]
FASHION = [file for file in CLAIMING if file.stem.endswith("_fashion")]
PUBLISHED = [file for file in CLAIMING if file not in FASHION]  # at the model's own size; these images have 28 pixels
FROM_SCRATCH = [file for file in PUBLISHED if not file.stem.endswith("_cpu")]
HARDWARE = {"ascend": "Ascend", "gpu": "GPU", "cpu": "CPU"}
T_MODELS = ("halonet_26t", "halonet_50t", "halonet_se33t", "halonet_eca26t")

# https://github.com/mindspore-lab/mindcv, configs/halonet/halonet_50t_ascend.yaml at version 0.5.0.
MINDCV_HALONET_50T = {
    "mode": 0,
    "distribute": True,
    "num_parallel_workers": 8,
    "val_while_train": True,
    "dataset": "imagenet",
    "data_dir": "/path/to/imagenet",
    "shuffle": True,
    "dataset_download": False,
    "batch_size": 64,
    "drop_remainder": True,
    "val_split": "val",
    "image_resize": 256,
    "scale": [0.08, 1.0],
    "ratio": [0.75, 1.333],
    "hflip": 0.5,
    "interpolation": "bilinear",
    "crop_pct": 0.95,
    "auto_augment": "randaug-m9-n2-mstd0.5-inc1",
    "re_prob": 0.25,
    "re_max_attempts": 1,
    "mixup": 0.8,
    "color_jitter": 0.4,
    "model": "halonet_50t",
    "num_classes": 1000,
    "pretrained": False,
    "ckpt_path": "",
    "keep_checkpoint_max": 20,
    "val_interval": 5,
    "ckpt_save_dir": "./ckpt",
    "epoch_size": 300,
    "dataset_sink_mode": True,
    "amp_level": "O3",
    "val_amp_level": "O2",
    "opt": "adamw",
    "weight_decay": 0.04,
    "loss_scale": 1024,
    "use_nesterov": False,
    "scheduler": "warmup_cosine_decay",
    "min_lr": 0.000006,
    "lr": 0.00125,
    "warmup_epochs": 3,
    "decay_epochs": 297,
    "loss": "CE",
    "label_smoothing": 0.1,
}


def name_of(file: Path) -> str:
    return file.stem


def read(file: Path) -> Recipe:
    return make_recipe(read_recipe(file))


def header_of(file: Path) -> list[str]:
    """The comment lines at the top."""
    lines = file.read_text().splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


def test_mindcvs_recipe_is_kept_key_by_key():
    assert yaml.safe_load((ROOT / "configs/halonet/halonet_50t_ascend.yaml").read_text()) == MINDCV_HALONET_50T


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_recipe_parses(file):
    read(file)


@pytest.mark.parametrize("file", RECIPES, ids=name_of)
def test_the_header_states_command_hardware_cost_and_result(file):
    command, *claims = header_of(file)
    assert f"python train.py -c {file.relative_to(ROOT)}" in command
    assert command.startswith("# mpirun -n 8 python") == read(file).system.distribute
    if file in CLAIMING:
        for word in ("Hardware: ", "Cost: ", "Result: ", "measured by us"):
            assert any(word in line for line in claims), word


@pytest.mark.parametrize("file", PUBLISHED, ids=name_of)
def test_a_recipe_is_what_its_name_says(file):
    recipe = read(file)
    model, _, hardware = file.stem.rpartition("_")
    assert recipe.model.model_name == model
    assert model in list_models()
    if file.stem != "halonet_50t_ascend":  # MindCV's has no device_target
        assert recipe.system.device_target == HARDWARE[hardware]
    assert recipe.system.distribute == (hardware != "cpu")
    assert (recipe.precision.amp_level == "O0") == (hardware == "cpu")
    assert recipe.transform.image_resize == get_pretrained_cfg(model)["input_size"][1]


@pytest.mark.parametrize("file", FASHION, ids=name_of)
def test_a_recipe_for_fashion_mnist_trains_the_model_of_its_name_on_a_cpu(file):
    recipe = read(file)
    assert recipe.model.model_name == file.stem.removesuffix("_fashion")
    assert (recipe.dataset.name, recipe.model.in_channels, recipe.system.device_target) == ("fashion_mnist", 1, "CPU")
    for is_training in (False, True):
        assert make_transforms(recipe, is_training=is_training)  # which refuse what grey images cannot have


@pytest.mark.parametrize("file", RECIPES, ids=name_of)
def test_the_schedule_fills_the_epochs(file):
    recipe = read(file)
    if recipe.scheduler.decay_epochs is not None:
        assert recipe.scheduler.warmup_epochs + recipe.scheduler.decay_epochs == recipe.run.epoch_size


@pytest.mark.parametrize("file", FROM_SCRATCH, ids=name_of)
def test_the_learning_rate_is_mindcvs_for_its_batch(file):
    """Linear scaling: as many times 1.25e-3 as the global batch is 512."""
    recipe = read(file)
    share = 8 * recipe.loader.batch_size / 512
    assert recipe.scheduler.lr == pytest.approx(1.25e-3 * share)
    assert recipe.scheduler.min_lr == pytest.approx(6e-6 * share)


@pytest.mark.parametrize("file", FROM_SCRATCH, ids=name_of)
def test_recipes_from_scratch_differ_from_mindcvs_only_where_they_must(file):
    own = {"model", "device_target", "image_resize", "batch_size", "lr", "min_lr", "amp_level", "recompute", "sync_bn"}
    own |= {"loss_scale", "loss_scale_type"} if file.stem.endswith("_gpu") else set()
    values, mindcv = read_recipe(file), MINDCV_HALONET_50T
    changed = {key for key in values if key not in own and key in mindcv and _plain(values[key]) != mindcv[key]}
    assert not changed
    assert values.keys() - mindcv.keys() <= own


def test_every_model_has_its_recipes():
    names = {file.stem for file in RECIPES}
    assert {f"{model}_{hardware}" for model in T_MODELS for hardware in HARDWARE} <= names
    assert "halonet_mini_fashion" in names
    for model in list_models(exclude_filters=["halonet_test", "halonet_mini"]):
        assert any(f"{model}_{hardware}" in names for hardware in HARDWARE), model


def test_the_table_of_recipes_has_each_of_them():
    table = (ROOT / "configs/README.md").read_text()
    for file in RECIPES:
        assert f"`{file.relative_to(ROOT / 'configs')}`" in table


def _plain(value):
    """As YAML has it: lists for tuples."""
    return list(value) if isinstance(value, tuple) else value
