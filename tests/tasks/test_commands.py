"""Every command: its help, words that it does not know, values that cannot be, and what comes before the work."""

from __future__ import annotations

import re
import socket

import pytest

from mindcv_halo import cli, engine
from mindcv_halo.cli import COMMANDS, main
from mindcv_halo.config.options import list_options

# What each needs to get as far as looking at another flag.
ENOUGH = {"infer": ["absent.png"], "convert": ["absent.ckpt", "out.ckpt"], "info": ["halonet_test"]}
TAKE_ANY_WORD = {"infer"}  # it is an image
# Texts that may be anything: names of files and folders, and these.
FREE = {"config", "class_names", "report", "output", "explain", "explain_layer", "image_path"}


def refuse(capsys, argv: list[str]) -> str:
    """The one line that a command ends with."""
    assert main(argv) == 2, argv
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: "), argv
    return error


def help_of(capsys, name: str) -> str:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def no_work(monkeypatch, tmp_path):
    """What is wrong is found before a model is built, a file is read, or a library is missed."""

    def work(*_, **__):
        raise AssertionError("work was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "require_server_library", lambda: None)
    for name in ("train", "validate", "predict", "predict_and_explain", "export", "convert"):
        monkeypatch.setattr(engine, name, work)
    monkeypatch.setattr(engine.Predictor, "from_recipe", work)
    monkeypatch.setattr(cli, "create_model", work)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys, name):
    text = help_of(capsys, name)
    assert " ".join(COMMANDS[name].__doc__.split()[:3]) in " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_words_that_no_command_knows(capsys, name):
    enough = ENOUGH.get(name, [])
    if name not in TAKE_ANY_WORD:
        assert "stray" in refuse(capsys, [name, *(enough or ["halonet_*"] * (name == "list")), "stray"])
    assert "stray" in refuse(capsys, [name, *enough, "--stray", "1"])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("value", ["", "?", "-1", "9" * 5000, "\udce9"], ids=["empty", "?", "-1", "9...", "no UTF-8"])
def test_values_that_cannot_be(capsys, name, value):
    """Of the flags that a command has besides a recipe's keys: one line that names the flag."""
    own = set(re.findall(r"^  --(\w+)", help_of(capsys, name), re.MULTILINE)) - (set(list_options()) - {"batch_size"})
    for flag in sorted(own - FREE):
        values = [value, value] if flag == "explain_query" else [value]
        beside = {"explain_query": ["--explain", "x"], "dynamic_batch": []}.get(flag, [])
        given = [f"--{flag}={value}"] if len(values) == 1 else [f"--{flag}", *values]
        if name in ("train", "validate", "infer", "serve") and flag == "batch_size":
            continue  # the recipe's, as any other key
        if flag in ("model", "dialect", "to", "num_samples", "host", "ema", "format"):
            continue  # below, or in engine.convert
        error = refuse(capsys, [name, *ENOUGH.get(name, []), *beside, *given])
        assert flag in error, (flag, error)


@pytest.mark.parametrize("host", ["", "a..b", "a\0b", "x" * 300])
def test_serving_looks_at_the_address_before_it_loads_a_model(capsys, host):
    assert "host" in refuse(capsys, ["serve", "--ckpt_path", "absent.ckpt", "--host", host, "--port", "0"])


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--port", "70000"], "port 70000 must be"),
        (["--max_pixels", "9" * 15], "max_pixels"),
        (["--max_bytes", "0"], "--max_bytes"),
        (["--timeout", "inf"], "--timeout"),
        (["--top_k", "0"], "--top_k"),
    ],
)
def test_serving_looks_at_its_numbers_before_it_loads_a_model(capsys, flags, said):
    assert said in refuse(capsys, ["serve", "--ckpt_path", "absent.ckpt", "--port", "0", *flags])


def test_a_taken_port_is_found_before_the_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}: Address already in use" in refuse(capsys, ["serve", "--ckpt_path", "x", "--port", port])


def test_a_wildcard_that_matches_nothing(capsys):
    assert "no model matches 'a'; wildcards are * and ?, as in 'halonet_*'" in refuse(capsys, ["list", "a"])
    assert main(["list", "halonet_*"]) == 0
