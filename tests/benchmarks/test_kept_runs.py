from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kept_runs(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("kept_runs")


def test_what_a_file_has_is_not_run_again(kept_runs, tmp_path):
    file = tmp_path / "RESULTS.json"

    def opened(settings=None, **options):
        return kept_runs.KeptRuns(file, "part", settings or {"epochs": 2}, {"cores": "2"}, **options)

    assert opened().measure("ours", 0, lambda: {"top1": 1}) == {"top1": 1}
    assert opened().measure("ours", 0, lambda: pytest.fail("it has run")) == {"top1": 1}
    assert opened().measure("ours", 1, lambda: {"top1": 2}) == {"top1": 2}
    with pytest.raises(SystemExit, match=r"RESULTS.json has runs of part with epochs 2, not 3; .* --anew"):
        opened({"epochs": 3})
    kept_runs.KeptRuns(file, "other", {}, {}).measure("theirs", 0, lambda: {"top1": 3})
    opened({"epochs": 3}, anew=True).measure("ours", 0, lambda: {"top1": 4})
    found = json.loads(file.read_text())
    assert found["part"] == {"settings": {"epochs": 3}, "machine": {"cores": "2"}, "runs": {"ours": {"0": {"top1": 4}}}}
    assert found["other"]["runs"] == {"theirs": {"0": {"top1": 3}}}


def test_means_are_over_the_seeds_that_all_have(kept_runs):
    assert kept_runs.common_seeds({"a": {"0": 1, "2": 1, "10": 1}, "b": {"10": 1, "2": 1}}) == ["2", "10"]
    assert kept_runs.common_seeds({}) == []


def test_another_process_may_measure_another_part_meanwhile(kept_runs, tmp_path):
    file = tmp_path / "RESULTS.json"
    one, other = kept_runs.KeptRuns(file, "one", {}, {}), kept_runs.KeptRuns(file, "other", {}, {})
    other.measure("theirs", 0, lambda: {"top1": 2})
    assert not one.has("ours", 0)
    one.measure("ours", 0, lambda: {"top1": 1})
    assert one.has("ours", 0)
    assert set(json.loads(file.read_text())) == {"one", "other"}
