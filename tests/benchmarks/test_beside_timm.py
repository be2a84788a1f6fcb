from __future__ import annotations

import importlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "beside_timm"


@pytest.fixture
def parts(monkeypatch):
    """Modules of the comparison, by name."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_chaos_begins_where_a_loss_is_a_hundredth_off(parts):
    losses = {
        "truth": [4.0, 2.0, 1.0, 1.0],
        "ours, float32": [4.0, 2.002, 1.005, 0.5],
        "timm, float32": [4.0, 2.0, 1.02, 1.0],
        "ours, bfloat16": [4.4, 2.0, 1.0, 1.0],
    }
    found = parts("distances").compare_losses(losses, "truth")
    assert found["calm_steps"] == 2  # bfloat16 has no say in it
    ours, theirs = found["sides"]["ours, float32"], found["sides"]["timm, float32"]
    assert (ours["chaos_at_step"], theirs["chaos_at_step"]) == (4, 3)
    assert found["spans"] == [(1, 1), (2, 4)] and ours["largest"] == [0, pytest.approx(0.5)]
    assert ours["largest_while_calm"] == pytest.approx(0.001) and theirs["largest_while_calm"] == 0
    assert found["sides"]["ours, bfloat16"]["chaos_at_step"] == 1


def test_a_loss_that_is_no_number_is_chaos(parts):
    losses = {"truth": [1.0, 1.0, 1.0], "ours, float32": [1.0, float("nan"), 1.0]}
    found = parts("distances").compare_losses(losses, "truth")["sides"]["ours, float32"]
    assert found["chaos_at_step"] == 2 and max(found["largest"]) == float("inf")


def test_runs_share_the_processors(parts, monkeypatch):
    """One at a time on each; of a run that fails the error comes after what the others found, and none begins."""
    share = parts("beside_timm").share_processors
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    places = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, processors: places.append(processors))
    together = threading.Barrier(2, timeout=60)
    assert dict(share({"one": lambda: together.wait() >= 0, "other": lambda: together.wait() >= 0})) == {
        "one": True,
        "other": True,
    }
    assert sorted(map(list, places)) == [[3], [5]]
    failed = threading.Event()

    def fail():
        failed.set()
        raise RuntimeError("no memory")

    started = []
    calls = {"failing": fail, "long": lambda: failed.wait(60) and time.sleep(0.2) or "found"}
    calls |= {f"later {number}": lambda: time.sleep(0.4) or started.append(1) for number in range(40)}
    found = {}
    with pytest.raises(RuntimeError, match="no memory"):
        for name, result in share(calls):
            found[name] = result
    assert found["long"] == "found" and len(started) < 5


def test_without_chaos_all_steps_count(parts):
    found = parts("distances").compare_losses({"truth": [1.0, 1.0], "ours, float32": [1.0, 1.001]}, "truth")
    assert found["calm_steps"] == 2 and found["sides"]["ours, float32"]["chaos_at_step"] is None


def test_batches_are_the_same_in_every_process(parts):
    """From seed and epoch alone; each image once, moved by two pixels at most, and flipped by chance."""
    batches = parts("batches")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    images, labels = batches.fit(pixels, 32), np.arange(9)
    assert images.shape == (9, 32, 32) and not images[:, :2].any() and not images[..., -2:].any()
    np.testing.assert_array_equal(images[:, 2:-2, 2:-2], pixels)
    job = {"rates": [0.1] * 5, "batch_size": 4, "seed": 3}
    data = {"train_images": images, "train_labels": labels}
    first, second = (list(batches.steps(job, data)) for _ in range(2))
    assert len(first) == 5 and first[0][0].shape == (4, 1, 32, 32) and first[0][0].dtype == np.float32
    for (x, y), (same_x, same_y) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)
    of_epochs = [sorted(np.concatenate([y for _, y in first[start : start + 2]])) for start in (0, 2)]
    assert all(len(set(seen)) == 8 for seen in of_epochs)  # an incomplete batch is left out
    assert list(first[0][1]) != list(first[2][1])
    for x, label in zip(*first[0], strict=True):
        shown = np.rint(x[0] * batches.STD + batches.MEAN).astype(np.uint8)
        around = np.pad(images[label], 2)
        moved = [around[top : top + 32, left : left + 32] for top in range(5) for left in range(5)]
        assert any(np.array_equal(shown, each) or np.array_equal(shown, each[:, ::-1]) for each in moved)


def test_the_report_grows_with_the_parts(parts, tmp_path, monkeypatch):
    """Nothing of a part whose sides have not all run, and means over the seeds that all sides have."""
    tables = parts("tables")
    monkeypatch.setattr(tables, "has_matplotlib", lambda: False)
    settings = dict.fromkeys(("model", "image_size", "lr"), 1) | {"batch_size": 64, "steps": 3, "epochs": 2}
    settings |= {"num_samples": 1000, "pairs": 1}
    losses = {"ours, float32": [2.0, 1.001, 1.5], "ours, bfloat16": [2.0, 1.0, 1.1], "timm, float32": [2.0, 1.0, 1.0]}
    runs = {side: {"0": {"losses": values}} for side, values in losses.items()}
    results = {"losses": {"settings": settings, "runs": runs}}
    assert "step" not in tables.write_report(results, tmp_path) and not (tmp_path / "SUMMARY.md").exists()
    runs["timm, float64"] = {"0": {"losses": [2.0, 1.0, 1.0]}}
    text = tables.write_report(results, tmp_path)
    assert "| steps | 1 | 2 to 3 | above 1% from |" in text
    assert "| ours, float32 | 0.0e+00 | 5.0e-01 | step 3 |" in text and "| timm, float32 | 0.0e+00 | 0.0e+00 | never |"
    right = {"ours, float32": (80, 90), "ours, bfloat16": (70,), "timm, float32": (60, 90)}
    of_seeds = {side: {str(n): {"right": k, "images": 100} for n, k in enumerate(ks)} for side, ks in right.items()}
    results["accuracy"] = {"settings": settings, "runs": of_seeds}
    assert "| ours, float32 | 80.00 | 80.00 | - |" in tables.write_report(results, tmp_path)
    summary = (tmp_path / "SUMMARY.md").read_text()
    assert "| 80.00 % | 70.00 % | 60.00 % |" in summary
    assert "the first 2 of 3 steps | within 0.10% | within 0.00% | within 0.00% |" in summary
