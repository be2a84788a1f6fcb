"""Recipes: the same values from YAML and the command line, and an error for everything else."""

from __future__ import annotations

import runpy
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from mindcv_halo import list_models
from mindcv_halo.config import options
from mindcv_halo.config.options import Recipe, RunOptions, flatten, list_options, option
from mindcv_halo.config.parse import (
    Switch,
    create_parser,
    make_recipe,
    parse_args,
    parse_command,
    parse_recipe,
    parse_words,
    read_recipe,
    save_recipe,
)
from mindcv_halo.config.types import may_stand_alone
from mindcv_halo.errors import UnknownNameError, UserError

BOOLEANS = [key for key, found in list_options().items() if may_stand_alone(found.annotation)]
SPELLINGS = {
    True: ("true", "yes", "y", "t", "on", "1", "True", "TRUE", "Yes", "YES", "Y", "T", "On", "ON", "oN"),
    False: ("false", "no", "n", "f", "off", "0", "False", "FALSE", "No", "NO", "N", "F", "Off", "OFF", "nO"),
}


@pytest.fixture
def recipe_file(tmp_path):
    """recipe_file("lr: 1") is the path of a file with that text."""

    def write(text: str) -> str:
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


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
    found = parse_command(["--image_path", "x.png", "--lr", "2"], "", {"image_path": "", "top_k": ""})
    assert found.extras == {"image_path": "x.png", "top_k": None}
    assert found.recipe.scheduler.lr == 2


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
        ("epoch_size: 1.5", r"epoch_size: '1.5' is not a whole number$"),
        ("epoch_size: True", r"epoch_size: 'True' is not a whole number$"),
        ("epochsize: 1", r"unknown key in .*: 'epochsize'; nearest: epoch_size"),
        ("device_target: TPU", r"'TPU' is none of Ascend, GPU, CPU"),
        ("- a\n- b", r"must be lines of `key: value`, not a list"),
        ("halonet_50t", r"must be lines of `key: value`, not text"),
        ("[a, b]: 1", r"is no YAML: .*unhashable key"),
        ("lr: " + "[" * 99 + "]" * 99, r"lr: \[{7}\.\.\.\]{7} is not a number"),
        ("lr: !speed 3", r"is no YAML: could not determine a constructor for the tag '!speed'"),
        ("lr: !!python/object/apply:os.getcwd []", r"is no YAML: could not determine a constructor"),
        ("scale: &again [*again]", r"scale: \[.*\] is not 2 numbers"),
        ("a: [b", r"is no YAML"),
        ("a: " + "[" * 5000, r"is no YAML of a recipe: it is nested too deeply"),
        ("base: absent.yaml", r"absent.yaml cannot be read"),
        ("base: recipe.yaml", r"is its own base"),
        ("base: [5, 6]", r"base: \['5', '6'\] is not text"),
        ("5: 0.1", r"unknown key in .*: '5'"),
        ("null: 1", r"unknown key in .*: 'null'"),
        ("no: 1", r"unknown key in .*: 'no'"),
        ("lr: " + "9" * 400, r"lr: '99.*\.\.\..*' is not a number"),
        ("seed: " + "9" * 5000, r"seed: '99.*\.\.\..*' is not a whole number"),
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


def test_there_are_booleans_to_test():
    named = {"val_while_train", "pretrained", "dataset_download", "distribute", "ema", "shuffle", "resume", "fuse_bn"}
    assert named <= set(BOOLEANS)
    assert all(key in BOOLEANS for key, value in flatten(Recipe()).items() if isinstance(value, bool))


@pytest.mark.parametrize("value, word", [(value, word) for value, words in SPELLINGS.items() for word in words])
def test_every_boolean_takes_every_spelling(recipe_file, value, word):
    """All of them at once, in every way to give them."""
    expected = dict.fromkeys(BOOLEANS, value)

    def booleans(recipe: Recipe) -> dict:
        return {key: found for key, found in flatten(recipe).items() if key in BOOLEANS}

    assert booleans(parse_recipe([part for key in BOOLEANS for part in (f"--{key}", word)])) == expected
    assert booleans(parse_recipe([f"--{key}={word}" for key in BOOLEANS])) == expected
    assert booleans(make_recipe(dict.fromkeys(BOOLEANS, word))) == expected
    assert booleans(make_recipe(dict.fromkeys(BOOLEANS, int(value)))) == expected
    for text in (word, f'"{word}"'):
        read = read_recipe(recipe_file("\n".join(f"{key}: {text}" for key in BOOLEANS)))
        assert read == expected and all(type(found) is bool for found in read.values())


@pytest.mark.parametrize("key", BOOLEANS)
def test_other_words_are_no_booleans(key, recipe_file):
    for word in ("maybe", "2", "01", "1.0", "tr"):
        message = rf"{key}: '{word}' is (not|none of) (True|False)"
        with pytest.raises(UserError, match=f"^--{message}"):
            parse_recipe([f"--{key}", word])
        with pytest.raises(UserError, match=f"recipe.yaml: {message}"):
            read_recipe(recipe_file(f"{key}: {word}"))


def test_a_boolean_flag_may_stand_alone_anywhere():
    everywhere = ["--lr", "0.5", *(f"--{key}" for key in BOOLEANS), "--scale", "0.5", "1", "--num_samples=3"]
    expected = {**flatten(parse_recipe(["--lr", "0.5", "--scale", "0.5", "1", "--num_samples=3"]))}
    expected |= dict.fromkeys(BOOLEANS, True)
    assert flatten(parse_recipe(everywhere)) == expected
    assert flatten(parse_recipe([*everywhere[:2], *everywhere[-4:], *everywhere[2:-4]])) == expected
    assert parse_recipe(["--ema", "False", "--ema"]).step.ema is True
    assert parse_recipe(["--ema", "--ema", "False"]).step.ema is False


def test_a_boolean_flag_swallows_no_operand():
    for operand in ("cat.jpg", "folder/yes", "2", "true.png", "./no"):
        alone = [part for key in BOOLEANS for part in (f"--{key}", operand)]
        for argv in (alone, [operand, *alone[:-1]], ["--lr", "1", *alone, "--seed=3", operand]):
            found = parse_command(argv, "", {}, ("IMAGE", ""))
            assert found.extras["IMAGE"] == [operand] * argv.count(operand)
            assert all(flatten(found.recipe)[key] is True for key in BOOLEANS)


def test_a_boolean_word_before_an_operand_is_the_flags_value():
    for word, value in (("no", False), ("ON", True)):
        found = parse_command(["--pretrained", word, "a.jpg"], "", {}, ("IMAGE", ""))
        assert (found.recipe.model.pretrained, found.extras["IMAGE"]) == (value, ["a.jpg"])
    found = parse_command(["--pretrained", "--", "no", "--ema"], "", {}, ("IMAGE", ""))
    assert (found.recipe.model.pretrained, found.recipe.step.ema, found.extras["IMAGE"]) == (
        True,
        False,
        ["no", "--ema"],
    )


def test_switches_of_scripts_are_booleans_too():
    for argv, value in (
        ([], False),
        (["--fast"], True),
        (["--fast", "No"], False),
        (["--fast=1"], True),
        (["--fast", "--lr", "1"], True),
    ):
        assert parse_command(argv, "", {"fast": Switch("")}).extras == {"fast": value}
    for argv, value in ((["a", "--fast"], True), (["--fast", "a"], True), (["a", "--fast=off"], False), (["a"], False)):
        assert parse_words(argv, "", {"FILE": ""}, {"fast": Switch("")}) == {"FILE": "a", "fast": value}
    with pytest.raises(UserError, match=r"^--fast: 'maybe' is not True or False$"):
        parse_command(["--fast", "maybe"], "", {"fast": Switch("")})


@pytest.mark.parametrize("annotation, choices", [(bool | Literal["auto"], ()), (bool | str, ("auto",))])
def test_a_boolean_may_have_a_third_value(monkeypatch, recipe_file, annotation, choices):
    @dataclass(frozen=True, kw_only=True)
    class Third(RunOptions):
        pace: annotation = option(False, "", choices=choices)

    Third.__annotations__["pace"] = annotation
    monkeypatch.setattr(options, "Recipe", replace_default(Recipe, "run", Third()))
    monkeypatch.setattr("mindcv_halo.config.parse.Recipe", options.Recipe)
    for argv, value in (
        (["--pace"], True),
        (["--pace", "--lr", "1"], True),
        (["--pace", "yes"], True),
        (["--pace=OFF"], False),
        (["--pace", "auto"], "auto"),
    ):
        pace = parse_recipe(argv).run.pace
        assert pace == value and type(pace) is type(value)
    found = parse_command(["--pace", "auto", "--ema", "auto"], "", {}, ("IMAGE", ""))
    assert (found.recipe.run.pace, found.extras["IMAGE"]) == ("auto", ["auto"])
    assert read_recipe(recipe_file("pace: auto")) == {"pace": "auto"}
    with pytest.raises(UserError, match=r"^--pace: 'maybe' is .*True.*False.*auto"):
        parse_recipe(["--pace", "maybe"])


def replace_default(group: type, name: str, default: object) -> type:
    """A copy of the dataclass in which one field has another default, and its type."""
    return dataclass(frozen=True, kw_only=True)(
        type(group.__name__, (group,), {"__annotations__": {name: type(default)}, name: default})
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("seed: 010", "seed: '010' is not a whole number; write 10 for 010"),
        ("seed: 1:30", "seed: '1:30' is not a whole number; write 1:30 in plain decimal digits, without colons"),
        ("seed: 0b11", "seed: '0b11' is not a whole number; write 3 for 0b11"),
        ("seed: 0x1F", "seed: '0x1F' is not a whole number; write 31 for 0x1F"),
        ("seed: 0o17", "seed: '0o17' is not a whole number; write 15 for 0o17"),
        ("seed: 1_000", "seed: '1_000' is not a whole number; write 1000 for 1_000"),
        ("seed: ٣", "seed: '٣' is not a whole number; write 3 for ٣"),
        ("seed: 3.0", "seed: '3.0' is not a whole number; write 3 for 3.0"),
        ("seed: 1e3", "seed: '1e3' is not a whole number; write 1000 for 1e3"),
        ("seed: 3.50", "seed: '3.50' is not a whole number"),
        ("seed: yes", "seed: 'yes' is not a whole number"),
        ('seed: "010"', "seed: '010' is not a whole number; write 10 for 010"),
        ('seed: !!int "010"', "seed: '010' is not a whole number; write 10 for 010"),
        ("lr: 010", "lr: '010' is not a number; write 10 for 010"),
        ("lr: 1_0.5", "lr: '1_0.5' is not a number; write 10.5 for 1_0.5"),
        ("lr: 1:30.5", "lr: '1:30.5' is not a number; write 1:30.5 in plain decimal digits, without colons"),
        ("lr: .inf", "lr: '.inf' is not a number"),
        ("lr: .NaN", "lr: '.NaN' is not a number"),
        ("lr: 1e999", "lr: '1e999' is not a number"),
        ("lr: 1,000", "lr: '1,000' is not a number"),
        ("lr: 2024-01-01", "lr: '2024-01-01' is not a number"),
        ("lr: =", "lr: '=' is not a number"),
        ("lr:", "lr: '' is not a number"),
        ("mode: 01", "mode: '01' is not a whole number; write 1 for 01"),
        ("num_classes: 012", "num_classes: '012' is not a whole number or None; write 12 for 012"),
        ("scale: [010, 1.0]", "scale: ['010', '1.0'] is not 2 numbers; write 10 for 010"),
        ("scale: (0.1, 1_0)", "scale: '(0.1, 1_0)' is not 2 numbers; write 10 for 1_0"),
        ("mean: [1:30, 1, 1]", "mean: ['1:30', '1', '1'] is not a list of numbers or None; write 1:30 in plain"),
        ("conv_stages: [01]", "conv_stages: ['01'] is not a list of whole numbers; write 1 for 01"),
        ("re_value: 010", "re_value: '010' is not a number or a list of numbers or text; write 10 for 010"),
    ],
)
def test_a_number_that_can_be_read_in_two_ways_is_an_error(recipe_file, text, message):
    """YAML 1.1 reads 010 as 8 and 1:30 as 90, Python 1_0 as 10 and digits of any script: neither here."""
    file = recipe_file(text)
    with pytest.raises(UserError) as error:
        read_recipe(file)
    assert str(error.value).startswith(f"{file}: {message}")
    key, _, value = text.partition(":")
    if not value.strip().startswith(("!", "[", '"')):
        with pytest.raises(UserError) as error:
            parse_recipe([f"--{key}={value.strip()}"])
        assert str(error.value).partition("; ")[2] == message.partition("; ")[2]


@pytest.mark.parametrize(
    "text, value",
    [("+5", 5), ("0", 0), ("-0", 0), ("1e-3", 0.001), ("1E+2", 100.0), ("1e-05", 1e-5), (".5", 0.5), ("2.", 2.0)],
)
def test_plain_numbers_are_read(recipe_file, text, value):
    key = "seed" if isinstance(value, int) else "lr"
    assert read_recipe(recipe_file(f"{key}: {text}")) == {key: value}
    assert flatten(parse_recipe([f"--{key}={text}"]))[key] == value


@pytest.mark.parametrize(
    "text",
    ["2024", "1e3", "007", "2024-01-01", "no", "on", "Off", "yes", "=", "<<", "1:30", "0x10", ".inf", "1_0", "y"],
)
@pytest.mark.parametrize("key", ["data_dir", "model", "train_split", "ckpt_path", "ckpt_save_dir", "auto_augment"])
def test_a_text_is_what_stands_there(recipe_file, key, text):
    read = read_recipe(recipe_file(f"{key}: {text}"))
    assert read == {key: text} and type(read[key]) is str
    assert flatten(parse_recipe([f"--{key}", text]))[key] == text


def test_no_value_is_the_empty_text_where_that_is_a_keys_default(recipe_file):
    for text in ("", "null", "~", "None", '""'):
        assert read_recipe(recipe_file(f"ckpt_path: {text}")) == {"ckpt_path": ""}
        assert read_recipe(recipe_file(f"num_samples: {text}")) == {"num_samples": None}
    assert read_recipe(recipe_file("data_dir:")) == {"data_dir": ""}
    assert read_recipe(recipe_file('data_dir: "null"')) == {"data_dir": "null"}
    assert read_recipe(recipe_file("base: null")) == {}
    for text in ("null", "~", "None"):
        message = f"data_dir: {text} stands for no value, and this key needs one: leave it out; .* is ./{text}$"
        with pytest.raises(UserError, match=message):
            read_recipe(recipe_file(f"data_dir: {text}"))
        with pytest.raises(UserError, match=message):
            parse_recipe(["--data_dir", text])


@pytest.mark.parametrize(
    "text",
    ["010", "null", "None", "nONE", "no", "1:30", "~", "2024", "=", "a: b", "é\n", "a\udcff", "\u2028", " a ", ""],
)
def test_any_text_is_saved_and_read_back(tmp_path, text):
    recipe = replace(Recipe(), dataset=replace(Recipe().dataset, root=text))
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert make_recipe(read_recipe(tmp_path / "recipe.yaml")) == recipe


def test_whole_numbers_may_be_long(recipe_file):
    """Whether they are too large is said where they are used."""
    assert read_recipe(recipe_file("seed: " + "9" * 400)) == {"seed": 10**400 - 1}


def test_yaml_may_merge(recipe_file):
    assert read_recipe(recipe_file("<<: {lr: 0.1, seed: 3}\nseed: 4")) == {"lr": 0.1, "seed": 4}


def test_scripts_written_for_mindcv_read_a_namespace(recipe_file, monkeypatch):
    file = recipe_file("lr: 0.5\nmodel: halonet_26t")
    argv = ["--config", file, "--mode=1", "--dataset", "mnist", "--ema"]
    expected = {**flatten(Recipe()), "lr": 0.5, "model": "halonet_26t", "mode": 1, "dataset": "mnist", "ema": True}
    assert vars(parse_args(argv)) == expected
    monkeypatch.setattr("sys.argv", ["train.py", *argv])
    assert vars(parse_args()) == expected
    flags = {name for action in create_parser()[1]._actions for name in action.option_strings}
    assert {f"--{key}" for key in list_options()} <= flags


def test_the_module_beside_the_scripts(pytestconfig):
    """`from config import parse_args`, as MindCV's train.py has it."""
    names = runpy.run_path(str(pytestconfig.rootpath / "config.py"))
    assert names["parse_args"] is parse_args and names["create_parser"] is create_parser
    _, parser = create_parser()
    names["_check_cfgs_in_parser"]({"mode": 1, "dataset": "imagenet"}, parser)
    with pytest.raises(KeyError, match="valid"):
        names["_check_cfgs_in_parser"]({"mode": 1, "valid": False}, parser)
