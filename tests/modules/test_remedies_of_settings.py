"""What errors about recipes, flags and commands say to do, tried."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.remedies import Case, files_of, list_sites, names_a_way_out, try_all

from mindcv_halo import cli, create_model
from mindcv_halo.cli import COMMANDS, main
from mindcv_halo.config import make_recipe, parse_recipe, read_recipe
from mindcv_halo.models.weights import save_network

ELSEWHERE = {
    "its state is saved, --resume True goes on": "of a signal: tests/tasks/test_resume.py",
    "choose a place that can be written": "of a disk that fails: tests/tasks/test_infer.py",
}


class Bench:
    """A folder with weights, an image, and recipes as they are asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.weights = str(folder / "x.ckpt")

    def recipe(self, text: str, name: str = "recipe.yaml") -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run(self, name: str, *words: str) -> None:
        COMMANDS[name](["--model", "halonet_test", "--mode", "1", *words])

    def infer(self, *words: str) -> None:
        self.run("infer", str(self.folder / "x.png"), "--ckpt_path", self.weights, "--image_resize", "32", *words)

    def infer_after_training(self, *words: str) -> None:
        """From the recipe of a run that began with the weights."""
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        shutil.copy(self.weights, run / "halonet_test_last.ckpt")
        (run / "recipe.yaml").write_text(f"ckpt_path: {self.weights}\n")
        image = str(self.folder / "x.png")
        self.run("infer", "-c", str(run / "recipe.yaml"), image, "--image_resize", "32", *words)

    def export(self, *words: str) -> None:
        self.run("export", "--ckpt_path", self.weights, "--format", "mindir", *words)


def run_main(*words: str) -> None:
    """As main, whose error is raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_fail", _raise)
        try:
            main(words)
        except SystemExit as end:  # after --help
            assert end.code == 0


def _raise(*_) -> None:
    raise sys.exc_info()[1]


CASES = [
    # ---- the recipe
    Case(
        r"argument 'lr' belongs to no flag; flags are written --name value",
        lambda b: parse_recipe(["lr", "1"]),
        lambda b: parse_recipe(["--lr", "1"]),
    ),
    Case(
        r"is its own base; take one of the `base` lines away",
        lambda b: read_recipe(b.recipe("base: recipe.yaml\nlr: 1\n")),
        lambda b: read_recipe(b.recipe("lr: 1\n")),
    ),
    Case(
        r"expected one argument; see --help",
        lambda b: parse_recipe(["--lr"]),
        lambda b: run_main("train", "--help"),
    ),
    Case(
        r"unknown flag 'epoch_sizes'; nearest: epoch_size",
        lambda b: parse_recipe(["--epoch_sizes", "1"]),
        lambda b: parse_recipe(["--epoch_size", "1"]),
    ),
    Case(
        r"unknown recipe key 'lrr'; nearest: .*\blr\b",
        lambda b: make_recipe({"lrr": 1}),
        lambda b: make_recipe({"lr": 1}),
    ),
    Case(
        r"unknown key in .*: 'lrr'; nearest: .*\blr\b",
        lambda b: read_recipe(b.recipe("lrr: 1\n")),
        lambda b: read_recipe(b.recipe("lr: 1\n")),
    ),
    Case(
        r"the key 'lr' stands there twice; keep one of them",
        lambda b: read_recipe(b.recipe("lr: 1\nlr: 2\n")),
        lambda b: [read_recipe(b.recipe(f"lr: {number}\n")) for number in (1, 2)],
    ),
    Case(
        r"opt: none stands for no value, .*: leave it out",
        lambda b: parse_recipe(["--opt", "none"]),
        lambda b: parse_recipe([]),
    ),
    Case(
        r"data_dir: null stands for no value, .*; a file or folder of that name is ./null$",
        lambda b: parse_recipe(["--data_dir", "null"]),
        lambda b: parse_recipe(["--data_dir", "./null"]),
    ),
    # ---- values, whose advice is part of another text
    *(
        Case(
            rf"; write {re.escape(plain)} for {re.escape(written)}$",
            lambda b, key=key, text=written: parse_recipe([f"--{key}", text]),
            lambda b, key=key, text=plain: parse_recipe([f"--{key}", text]),
        )
        for key, written, plain in (
            ("epoch_size", "010", "10"),
            ("epoch_size", "1e2", "100"),
            ("seed", "0x10", "16"),
            ("lr", "1_0.5", "10.5"),
            ("image_resize", "224.0", "224"),
            ("re_value", "010", "10"),
        )
    ),
    Case(
        r"write 1:30 in plain decimal digits, without colons",
        lambda b: parse_recipe(["--epoch_size", "1:30"]),
        lambda b: parse_recipe(["--epoch_size", "90"]),
    ),
    # ---- commands
    Case(r"unknown command 'trian'; nearest: train", lambda b: run_main("trian"), lambda b: run_main("train", "-h")),
    Case(
        r"--num_samples is for training: .*; leave it out",
        lambda b: b.run("validate", "--ckpt_path", b.weights, "--num_samples", "3"),
        lambda b: b.run("validate", "--ckpt_path", b.weights),
    ),
    Case(r"name files and folders, or give --image_path PATH", lambda b: b.run("infer"), lambda b: b.infer()),
    Case(
        r"or give --image_path PATH$",
        lambda b: b.run("infer"),
        lambda b: b.run("infer", "--image_path", str(b.folder / "x.png"), "--ckpt_path", b.weights),
    ),
    Case(
        r"unknown format 'jsom'; nearest: json",
        lambda b: b.infer("--format", "jsom"),
        lambda b: b.infer("--format", "json"),
    ),
    Case(
        r"--output .*: give the name of a file in a folder that exists",
        lambda b: b.infer("--output", str(b.folder / "absent/x.csv")),
        lambda b: b.infer("--output", str(b.folder / "x.csv")),
    ),
    Case(
        r"--explain_layer and --explain_query belong to --explain DIR; give it, or",
        lambda b: b.infer("--explain_layer", "0"),
        lambda b: b.infer("--explain_layer", "0", "--explain", str(b.folder / "pictures")),
    ),
    Case(r"or leave them out$", lambda b: b.infer("--explain_query", "0", "0"), lambda b: b.infer()),
    Case(
        r"what this run began with; for its own weights give --ckpt_path .*last.ckpt, for those before it --ckpt_path",
        lambda b: b.infer_after_training(),
        lambda b: [
            b.infer_after_training("--ckpt_path", path)
            for path in (f"{b.folder}/run/halonet_test_last.ckpt", b.weights)
        ],
    ),
    Case(
        r"--batch_size fixes the batch, and --dynamic_batch True leaves it open; give one of them",
        lambda b: b.export("--batch_size", "2", "--dynamic_batch", "True"),
        lambda b: [b.export("--batch_size", "2"), b.export("--dynamic_batch", "True")],
    ),
    Case(
        r"no model matches 'halonett'; wildcards are \* and \?, as in 'halonet_\*'",
        lambda b: run_main("list", "halonett"),
        lambda b: run_main("list", "halonet_*"),
    ),
    Case(
        r"info needs a model's name; `mindcv-halo list` shows them",
        lambda b: run_main("info"),
        lambda b: [run_main("list"), run_main("info", "halonet_test")],
    ),
]


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    """Prediction runs; validation and export, which take longer, are run elsewhere."""
    for name in ("validate", "export"):
        monkeypatch.setattr(cli.engine, name, lambda *_, **__: "")
    save_network(create_model("halonet_test", num_classes=3), tmp_path / "x.ckpt")
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    return Bench(tmp_path)


def test_every_remedy_about_settings_works(bench, pynative, capsys):
    try_all(CASES, bench, "settings", ELSEWHERE)


def test_every_file_is_somebodys():
    assert not [site for site in list_sites(files_of(None)) if names_a_way_out(site.text)]
