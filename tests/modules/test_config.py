"""Recipes: the same values from YAML and the command line, and an error for everything else."""

from __future__ import annotations

import pytest

from mindcv_halo import list_models
from mindcv_halo.config import make_recipe, parse_command, parse_recipe, read_recipe, save_recipe
from mindcv_halo.errors import UnknownNameError, UserError
from mindcv_halo.options import Recipe, flatten


@pytest.mark.parametrize(
    "flags, yaml, expected",
    [
        (["--lr", "1e-3"], "lr: 1e-3", {"lr": 0.001}),
        (["--lr", "1"], "lr: 1", {"lr": 1.0}),
        (["--distribute", "False"], "distribute: False", {"distribute": False}),
        (["--val_while_train", "true"], "val_while_train: true", {"val_while_train": True}),
        (["--scale", "0.1", "0.9"], "scale: [0.1, 0.9]", {"scale": (0.1, 0.9)}),
        (["--scale", "(0.1, 0.9)"], "scale: (0.1, 0.9)", {"scale": (0.1, 0.9)}),
        (["--num_samples", "None"], "num_samples: null", {"num_samples": None}),
        (["--conv_stages", "1", "2"], "conv_stages: [1, 2]", {"conv_stages": (1, 2)}),
        (["--conv_stages"], "conv_stages: []", {"conv_stages": ()}),
        (["--batch_size=7"], "batch_size: 7", {"batch_size": 7}),
        (["--ckpt_path", "a.ckpt"], "ckpt_path: a.ckpt", {"ckpt_path": "a.ckpt"}),
        (["--mode", "1"], "mode: 1", {"mode": 1}),
        (["--color_jitter", "None"], "color_jitter: null", {"color_jitter": None}),
        (["--color_jitter", "null"], "color_jitter: None", {"color_jitter": None}),
        (["--color_jitter", "0.3"], "color_jitter: 0.3", {"color_jitter": 0.3}),
        (["--color_jitter", "0.1", "0.2", "0.3"], "color_jitter: [0.1, 0.2, 0.3]", {"color_jitter": (0.1, 0.2, 0.3)}),
    ],
)
def test_flags_and_yaml_parse_the_same(tmp_path, flags, yaml, expected):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml)
    defaults = flatten(Recipe())
    assert flatten(parse_recipe(flags)) == {**defaults, **expected}
    assert flatten(parse_recipe(["-c", str(file)])) == {**defaults, **expected}


def test_a_base_may_be_a_recipe_that_comes_with_us(tmp_path):
    (tmp_path / "recipe.yaml").write_text("base: halonet/halonet_test_digits.yaml\nlr: 0.2")
    shipped = read_recipe("configs/halonet/halonet_test_digits.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == {**shipped, "lr": 0.2}


def test_flags_win_over_yaml_and_yaml_over_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text("lr: 0.1\nmomentum: 0.1\nbatch_size: 1")
    (tmp_path / "recipe.yaml").write_text("base: base.yaml\nlr: 0.2\nmomentum: 0.2")
    recipe = parse_recipe(["--lr", "0.3", "--config", str(tmp_path / "recipe.yaml")])
    assert (recipe.scheduler.lr, recipe.optim.momentum, recipe.loader.batch_size) == (0.3, 0.2, 1)


def test_a_saved_recipe_reads_back_the_same(tmp_path):
    recipe = make_recipe({"scale": [0.5, 1.0], "model": "halonet_h4", "conv_stages": [1], "mean": [1, 2, 3]})
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert make_recipe(read_recipe(tmp_path / "recipe.yaml")) == recipe


def test_a_script_has_flags_of_its_own():
    recipe, extras = parse_command(["--image_path", "x.png", "--lr", "2"], "", {"image_path": "", "top_k": ""})
    assert extras == {"image_path": "x.png", "top_k": None}
    assert recipe.scheduler.lr == 2


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--batchsize", "3"], r"^unknown flag 'batchsize'; nearest: batch_size"),
        (["--batch_size", "3.5"], r"^--batch_size: '3.5' is not a whole number$"),
        (["--batch_size", "many"], r"^--batch_size: 'many' is not a whole number$"),
        (["--lr", "nan"], r"^--lr: 'nan' is not a number$"),
        (["--distribute", "maybe"], r"^--distribute: 'maybe' is not True or False$"),
        (["--scale", "0.08"], r"^--scale: \['0.08'\] is not 2 numbers$"),
        (["--mode", "2"], r"^--mode: '2' is none of 0, 1$"),
        (["--device_target", "TPU"], r"^--device_target: 'TPU' is none of Ascend, GPU, CPU$"),
        (["--lr"], r"--lr"),
        (["stray"], r"^argument 'stray' belongs to no flag"),
        (["-c", "absent.yaml"], r"^recipe absent.yaml cannot be read: No such file"),
    ],
)
def test_bad_flags(flags, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(flags)


@pytest.mark.parametrize(
    "yaml, message",
    [
        ("lr: 0.1\nlr: 0.2", r"the key 'lr' stands there twice"),
        ("epoch_size: 1.5", r"epoch_size: 1.5 is not a whole number"),
        ("epoch_size: True", r"epoch_size: True is not a whole number"),
        ("epochsize: 1", r"unknown key in .*: 'epochsize'; nearest: epoch_size"),
        ("device_target: TPU", r"'TPU' is none of Ascend, GPU, CPU"),
        ("- a\n- b", r"must be lines of `key: value`, not a list"),
        ("a: [b", r"is no YAML"),
        ("base: absent.yaml", r"absent.yaml cannot be read"),
        ("base: recipe.yaml", r"is its own base"),
        ("base: 5", r"base: 5 is not the path of a recipe"),
        ("5: 0.1", r"unknown key in .*: '5'"),
        ("null: 1", r"unknown key in .*: 'None'"),
        ("lr: " + "9" * 400, r"is not a number"),
        ("seed: " + "9" * 5000, r"is no YAML"),
    ],
)
def test_bad_yaml(tmp_path, yaml, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml)
    with pytest.raises(UserError, match=message):
        parse_recipe(["-c", str(file)])


def test_empty_yaml_is_all_defaults(tmp_path):
    (tmp_path / "recipe.yaml").write_text("")
    assert parse_recipe(["-c", str(tmp_path / "recipe.yaml")]) == Recipe()


def test_an_unknown_key_is_a_key_error_as_in_mindcv():
    with pytest.raises(KeyError):
        make_recipe({"learning_rate": 1})
    with pytest.raises(UnknownNameError, match=r"^unknown recipe key 'learning_rate'"):
        make_recipe({"learning_rate": 1})


def test_every_shipped_recipe_parses_and_names_a_model(pytestconfig):
    files = sorted((pytestconfig.rootpath / "configs").rglob("*.yaml"))
    assert files
    for file in files:
        assert make_recipe(read_recipe(file)).model.model_name in list_models()
