from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from mindspore.nn.utils import no_init_parameters

from mindcv_halo.config import make_recipe, parse_recipe, read_recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ablations(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "ablations")
    module = importlib.import_module("ablations")
    monkeypatch.setattr(module, "count_macs", lambda network, size: 0)  # which runs the network
    with no_init_parameters():
        yield module


def test_variants_differ_in_what_they_are_called(ablations):
    found = {variant.name: ablations.describe(variant) for variant in ablations.VARIANTS}
    places = {name: (fact["attention"], fact["halo_size"]) for name, fact in found.items()}
    assert places == {
        **{f"halo {size}": ([3, 4], size) for size in range(4)},
        "attention in stage 4": ([4], 2),
        "convolutions": ([], 2),
    }
    for variant in ablations.VARIANTS:  # train.py's flags say the same
        recipe = parse_recipe(variant.flags)
        assert {name: getattr(recipe.model, name) for name in variant.options} == variant.options
    own = make_recipe(read_recipe(ablations.ROOT / ablations.RECIPE)).model
    assert (own.conv_stages, own.block_size, own.halo_size) == ((), None, None)


def test_a_run_that_was_stopped_does_not_count(ablations, monkeypatch):
    """train.py ends with status 0 then."""

    def stopped(command, **_):
        folder = Path(command[command.index("--ckpt_save_dir") + 1])
        assert command[-2:] == ["--halo_size", "0"] and command[command.index("--seed") + 1] == "5"
        (folder / "metrics.csv").write_text("epoch,top1,images_per_second\n1,50.0,100.0\n")

    monkeypatch.setattr(ablations.subprocess, "run", stopped)
    args = SimpleNamespace(num_samples=200, epochs=2, data_dir=None)
    with pytest.raises(SystemExit, match="halo 0, seed 5, ended after 1 epochs"):
        ablations.train(ablations.VARIANTS[0], 5, args)
    args.epochs = 1
    found = ablations.train(ablations.VARIANTS[0], 5, args)
    assert (found["top1"], found["seconds"], found["halo_size"]) == (50.0, [2.0], 0)


def test_the_report_says_what_seeds_allow(ablations, tmp_path, monkeypatch):
    report = importlib.import_module("ablation_report")
    monkeypatch.setattr(report, "has_matplotlib", lambda: False)
    facts = {"parameters": 1000, "macs": 2_000_000, "seconds": [3.0, 2.5]}
    runs = {
        "halo 0": {str(n): {**facts, "attention": [3, 4], "halo_size": 0, "top1": 80.0 + n} for n in range(3)},
        "convolutions": {str(n): {**facts, "attention": [], "halo_size": 2, "top1": 82.0 + n} for n in range(2)},
    }
    machine = dict.fromkeys(("cores", "processor", "versions", "date"), "")
    settings = {"recipe": "r.yaml", "epochs": 2, "num_samples": 1000}
    text = report.write_report({"settings": settings, "machine": machine, "runs": runs}, tmp_path)
    assert "| 3, 4 | 0 | 80.00 | 81.00 | **80.50** | 1,000 | 2.0 | 2.5 |" in text
    assert "| none | - | 82.00 | 83.00 | **82.50** |" in text
    assert "below 1.41 " in text  # a variance of 1/2, of a difference of two means of two
