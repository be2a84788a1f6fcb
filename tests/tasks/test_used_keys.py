"""Flags that a command has no use for are said: its table holds the keys that it really reads, and no others."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from support.small_run import CLASSES, command

from mindcv_halo import cli, create_model
from mindcv_halo.cli import main
from mindcv_halo.config import make_recipe, options
from mindcv_halo.config.options import Recipe, list_options
from mindcv_halo.engine import setup
from mindcv_halo.engine.export import ExportFormat
from mindcv_halo.engine.train import TrainingRun
from mindcv_halo.engine.used_keys import USED, find_idle_flags
from mindcv_halo.models.weights import save_network

# The attributes of these names are the functions.
exporting = import_module("mindcv_halo.engine.export")

COMMANDS = ("train", "validate", "infer", "serve", "export")
# Read though nothing comes of them: a seed that must be a number, and what create_model takes and training uses.
TAKEN = {"seed", "drop_rate", "drop_path_rate", "reset_head"}
READ_ONLY = {
    **dict.fromkeys(("validate", "infer", "serve"), TAKEN),
    "export": {*TAKEN, "native_kernels", "precision", "amp_dtype"},  # in place of which it has its own
}
UNREAD = {
    "validate": {"data_timeout"},  # which several ranks read
    "train": {"eval_shuffle", "val_amp_level"},  # which are said to have no effect, or are for validate.py
}
TRANSFORMS = {
    "image_resize": 64,
    "scale": (0.5, 1.0),
    "ratio": (0.9, 1.1),
    "hflip": 0.3,
    "vflip": 0.3,
    "color_jitter": 0.1,
    "auto_augment": "randaug-m9-n2",
    "re_prob": 0.3,
    "re_scale": (0.1, 0.2),
    "re_ratio": (0.9, 1.1),
    "re_value": 1.0,
    "re_max_attempts": 3,
    "interpolation": "bilinear",
    "crop_pct": 0.5,
    "mean": (1.0, 2.0, 3.0),
    "std": (1.0, 2.0, 3.0),
}
COPIES = (dataclasses.__file__, options.__file__)  # dataclasses.replace and flatten take all, for no use


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The keys that are read within, one by one or as a factory's arguments."""
    keys = {(option.group, option.name): option.key for option in list_options().values()}
    read: set[str] = set()
    groups = {group.default.__class__: group.name for group in fields(Recipe)}

    def watch(kind: type, group: str, patch: pytest.MonkeyPatch) -> None:
        plain = kind.__getattribute__

        def get(self, name):
            if (group, name) in keys and sys._getframe(1).f_code.co_filename not in COPIES:
                read.add(keys[group, name])
            return plain(self, name)

        patch.setattr(kind, "__getattribute__", get)

    def hand_over(settings) -> dict:
        read.update(key for (group, _), key in keys.items() if group == groups[type(settings)])
        return dataclasses.asdict(settings)

    with pytest.MonkeyPatch.context() as patch:
        for kind, group in groups.items():
            watch(kind, group, patch)
        patch.setattr(setup, "asdict", hand_over)
        yield read


def find_viewed() -> set[str]:
    """The keys of transforms of which something comes in evaluation."""
    plain = {"model": "halonet_test", "image_resize": 32}
    usual = pickle.dumps(setup.make_transforms(make_recipe(plain), is_training=False))
    return {
        key
        for key, value in TRANSFORMS.items()
        if pickle.dumps(setup.make_transforms(make_recipe({**plain, key: value}), is_training=False)) != usual
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    save_network(create_model("halonet_test", num_classes=len(CLASSES)), tmp_path / "x.ckpt")
    return tmp_path


def flags_of(name: str, folder: Path, images: Path) -> dict[str, str]:
    shared = {"model": "halonet_test", "ckpt_path": str(folder / "x.ckpt"), "data_dir": str(images)}
    shared |= {"image_resize": "32", "mode": "1", "device_target": "CPU", "native_kernels": "False"}
    own = {
        "train": {
            "warmup_epochs": "0",
            "batch_size": "8",
            "val_while_train": "1",
            "clip_grad": "True",
            "ckpt_save_dir": str(folder / "run"),
        },
        "validate": {"batch_size": "8"},
        "infer": {"image_path": str(images / "val/red/03.png")},
        "serve": {"port": "0"},
        "export": {"output": str(folder / "x.mindir")},
    }
    return shared | own[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_holds_what_a_command_reads(name, folder, image_folder, pynative, monkeypatch):
    monkeypatch.setattr(cli, "run_server", lambda predictor, *_: predictor(np.zeros((8, 8, 3), np.uint8)))
    # Exporting takes longest; all is read before.
    monkeypatch.setitem(exporting.EXPORT_FORMATS, "mindir", ExportFormat(write_nothing, None, lambda *_: None))
    monkeypatch.setattr(TrainingRun, "train", lambda self, *loaders: self.summarise())
    with recorded() as read:
        assert main(command(name, flags_of(name, folder, image_folder))) == 0
    read -= TRANSFORMS.keys() - find_viewed() if name != "train" else set()
    assert USED[name] - UNREAD.get(name, set()) <= read
    assert read - USED[name] == READ_ONLY.get(name, set())


def write_nothing(path: Path, *_) -> None:
    path.touch()


def test_every_transform_has_another_value():
    assert TRANSFORMS.keys() == {key for key, option in list_options().items() if option.group == "transform"}
    assert all(value != list_options()[key].default for key, value in TRANSFORMS.items())


@pytest.mark.parametrize(
    "name, flags, said",
    [
        ("infer", {"lr": "1"}, "--lr 1.0 (it is for training)"),
        ("infer", {"val_split": "val"}, "--val_split val (it is for validation)"),
        ("infer", {"reset_head": "True", "lr": "1"}, "--reset_head True (it is for training), --lr 1.0 (it is for tr"),
        ("infer", {"pretrained": "True"}, "--pretrained True (ckpt_path is given)"),
        ("infer", {"fuse_bn": "True", "ema": "False"}, ""),
        ("infer", {"amp_dtype": "bfloat16"}, "--amp_dtype bfloat16 (val_amp_level is O0)"),
        ("validate", {"hflip": "0.5"}, "--hflip 0.5 (it is for training)"),
        ("validate", {"amp_level": "O2"}, "--amp_level O2 (--val_amp_level is for it)"),
        ("serve", {"batch_size": "8", "epoch_size": "90"}, "--epoch_size 90 (it is for training)"),
        ("export", {"native_kernels": "True"}, "--native_kernels True (a file runs without them)"),
    ],
)
def test_flags_without_an_effect_are_said(capsys, monkeypatch, tmp_path, name, flags, said):
    """Before anything else, and on standard error, in one line; the keys of a recipe are not meant."""
    (tmp_path / "recipe.yaml").write_text("model: halonet_test\nlr: 0.5\nhflip: 0.1\nnum_samples: 3\n")
    own = {"config": str(tmp_path / "recipe.yaml"), "ckpt_path": str(tmp_path / "absent.ckpt")}
    own |= {"export": {"format": "mindir"}, "infer": {"image_path": str(tmp_path)}}.get(name, {})
    monkeypatch.setattr(cli, "check_job", lambda recipe: cli.Limits(max_pixels=0))
    assert main(command(name, own | flags)) == 2
    captured = capsys.readouterr()
    *lines, error = captured.err.splitlines()
    assert "no effect" not in captured.out and error.startswith("error: ")
    assert len(lines) == bool(said) and "".join(lines).startswith(f"no effect: {said}" if said else "")


def test_averages_of_published_weights_are_said():
    recipe = make_recipe({"pretrained": True, "ema": True})
    assert "--ema True (published weights hold no averages)" in find_idle_flags("validate", recipe, {"ema": True})
    assert find_idle_flags("train", recipe, {"ema": True, "lr": 1.0}) == ""


def test_one_rank_says_it(capsys, monkeypatch):
    monkeypatch.setattr(cli, "find_rank", lambda _: 1)
    cli._parse("infer", ["--lr", "1"], {})
    assert capsys.readouterr().err == ""
