"""Runs from the command line on a small folder: what they write, and that they can be had again.

In PyNative mode; graph mode is that of `graph_run`, which is compared with them, and of the tests that say so.
"""

from __future__ import annotations

import csv
import json
import struct
from importlib import import_module
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from support.device_queue import DeviceQueue
from support.small_run import make_flags

from mindcv_halo import create_model, engine
from mindcv_halo.config import make_recipe, read_recipe
from mindcv_halo.data import MnistDownload
from mindcv_halo.errors import TrainingStoppedError
from mindcv_halo.models.weights import read_weights
from mindcv_halo.runs.metrics import MetricsCounter
from mindcv_halo.training import ema as ema

training = import_module("mindcv_halo.engine.train")  # the attribute of that name is the function


def run(flags: dict[str, str], **changes) -> tuple[engine.TrainingResult, dict[str, np.ndarray]]:
    """Train; the result, and the weights that the last checkpoint holds."""
    result = engine.train(make_recipe({**flags, **{key: str(value) for key, value in changes.items()}}))
    return result, read_weights(str(result.last_checkpoint))


def rows(folder: str | Path) -> list[dict[str, str]]:
    with (Path(folder) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_all_that_it_should(plain_run, image_folder):
    folder = plain_run.last_checkpoint.parent
    flags = {**make_flags(image_folder, folder), "mode": "1"}
    assert {path.name for path in folder.iterdir()} - {"curves.png"} == {
        "recipe.yaml", "class_names.txt", "metrics.csv", "rank0.log", "optim_halonet_test.ckpt",
        "halonet_test-1_3.ckpt", "halonet_test-2_3.ckpt", "halonet_test_last.ckpt", "halonet_test_best.ckpt",
        "halonet_test_state-1_0.safetensors", "halonet_test_state-2_0.safetensors",
    }  # fmt: skip
    assert (folder / "class_names.txt").read_text().split() == ["blue", "green", "red"]
    assert make_recipe(read_recipe(folder / "recipe.yaml")) == make_recipe({**flags, "dialect": "timm"})
    table = rows(folder)
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert [row["step"] for row in table] == ["3", "6"]
    assert float(table[-1]["top1"]) == plain_run.metrics.top1
    assert plain_run.best_top1 == max(float(row["top1"]) for row in table)
    log = (folder / "rank0.log").read_text()
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in log and "epoch 2/2: loss" in log


def test_the_same_recipe_gives_the_same_weights(flags, tmp_path, plain_run, graph_run):
    """In graph mode as in PyNative mode: float32 sums in another order, for three steps of at most 0.004."""
    first = read_weights(str(plain_run.last_checkpoint))
    _, again = run(flags)
    _, other = run(flags, ckpt_save_dir=tmp_path / "other", seed=7, val_while_train=False)
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert not np.array_equal(other["classifier.weight"], first["classifier.weight"])
    folders = (plain_run.last_checkpoint.parent, graph_run)
    losses = [[float(row[name]) for row in rows(folder) for name in ("train_loss", "val_loss")] for folder in folders]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    compiled = read_weights(str(graph_run / "halonet_test_last.ckpt"))
    np.testing.assert_allclose(compiled["classifier.weight"], first["classifier.weight"], atol=1e-3)


def test_it_learns_as_it_did(flags):
    """24 images of three colours are no task; a network that does not learn them is broken.

    The epochs' losses are those of tests/golden/colours.json, recorded when everything in it had been checked against
    peers and formulas: data, augmentation, initial weights, optimizer, rates. Rounding grows over the steps:
    MindSpore's kernels without AVX, on one thread, in place of native ones made 6e-6 of a loss in 24 steps.
    """
    golden = json.loads((Path(__file__).parents[1] / "golden" / "colours.json").read_text())
    result, _ = run(flags, **golden["flags"])
    assert result.metrics.top1 == 100
    found = [[float(row["train_loss"]), float(row["val_loss"])] for row in rows(flags["ckpt_save_dir"])]
    np.testing.assert_allclose(found, golden["losses"], rtol=golden["tolerance"])


@pytest.mark.parametrize("batch_size, mode", [(1, 1), (4, 0), (15, 1), (64, 1)])
def test_validation_counts_every_image_once(flags, plain_run, batch_size, mode):
    changes = {"batch_size": batch_size, "mode": mode, "ckpt_path": str(plain_run.last_checkpoint)}
    recipe = make_recipe({**flags, **changes})
    metrics = engine.validate(recipe)
    assert metrics.num_images == 15
    assert metrics.top1 == plain_run.metrics.top1
    assert metrics.loss == pytest.approx(plain_run.metrics.loss, rel=1e-5)


def test_a_runs_recipe_validates_its_averages(flags, monkeypatch):
    """As the run itself did."""
    monkeypatch.setattr(ema, "RAMP", 1)  # else so few updates hardly average
    result = engine.train(make_recipe({**flags, "ema": "True", "ema_decay": "0.9"}))
    recipe = read_recipe(result.last_checkpoint.parent / "recipe.yaml") | {"ckpt_path": str(result.last_checkpoint)}
    averages, live = (engine.validate(make_recipe({**recipe, "ema": ema})) for ema in (True, False))
    assert averages.loss == pytest.approx(result.metrics.loss, rel=1e-5)
    assert abs(live.loss - averages.loss) > 0.01


def test_validation_knows_the_classes_of_the_run(flags, tmp_path, plain_run):
    """A folder that lacks a class must not move the labels of the others."""
    checkpoint = plain_run.last_checkpoint
    some = tmp_path / "some" / "val"
    some.mkdir(parents=True)
    (some / "red").symlink_to(Path(flags["data_dir"]) / "val" / "red")
    metrics = engine.validate(make_recipe({**flags, "data_dir": str(some.parent), "ckpt_path": str(checkpoint)}))
    reds = [item for item in predictions(flags, checkpoint) if item.path.parent.name == "red"]
    assert metrics.num_images == len(reds) == 5
    assert metrics.top1 == 20 * sum(item.class_names[0] == "red" for item in reds)


def predictions(flags: dict[str, str], checkpoint: Path) -> list[engine.Prediction]:
    recipe = make_recipe({**flags, "mode": "0", "ckpt_path": str(checkpoint)})
    return list(engine.predict(recipe, str(Path(flags["data_dir"]) / "val"), top_k=2))


def test_predictions_are_those_of_the_network(flags, plain_run):
    found = predictions(flags, plain_run.last_checkpoint)
    assert len(found) == 15 and [item.path for item in found] == sorted(item.path for item in found)
    assert all(len(item.class_names) == 2 and item.probabilities[0] >= item.probabilities[1] for item in found)
    right = sum(item.class_names[0] == item.path.parent.name for item in found)
    assert 100 * right / 15 == pytest.approx(plain_run.metrics.top1)


def test_fine_tuning_starts_from_given_weights(flags, tmp_path):
    ms.set_seed(3)
    ms.save_checkpoint(create_model("halonet_test", num_classes=9), str(tmp_path / "start.ckpt"))
    start = read_weights(str(tmp_path / "start.ckpt"))
    changes = {"ckpt_path": tmp_path / "start.ckpt", "reset_head": True, "lr": 1e-7, "min_lr": 1e-8}
    changes |= {"val_while_train": False}
    _, weights = run(flags, **changes)
    name = "stages.3.0.reduce.conv.weight"
    np.testing.assert_allclose(weights[name], start[name], atol=1e-5)  # AdamW moves by about lr a step
    assert weights["classifier.weight"].shape == (3, 96)


@pytest.mark.parametrize(
    "changes",
    [{"layer_decay": 0.5, "ema": True}, {"native_kernels": False, "recompute": True}],
    ids=["native", "portable"],
)
def test_frozen_stages_stay_as_they_were(flags, tmp_path, plain_run, changes):
    """Running statistics too, over validations and a resumption; all else learns."""
    start = read_weights(str(plain_run.last_checkpoint))
    changes |= {"frozen_stages": 2, "num_parallel_workers": 1, "reset_head": True}
    result, _ = run(flags, ckpt_path=plain_run.last_checkpoint, epoch_size=1, **changes)
    _, weights = run(flags, ckpt_path=plain_run.last_checkpoint, epoch_size=2, resume=True, **changes)
    same = {name for name, value in start.items() if np.array_equal(weights[name], value)}
    learning = {name for name in start if name.endswith(("weight", "gamma", "beta", "moving_mean"))}
    frozen = {name for name in start if name.startswith(("stem.", "stages.0.", "stages.1."))}
    assert frozen <= same and not (learning - frozen) & same
    log = (result.last_checkpoint.parent / "rank0.log").read_text()
    assert "parameters that learn, the stem and 2 stages frozen, 3 classes" in log
    assert "no effect" not in log  # of what was done to the weights before: those of the resumption are its state's


def test_old_checkpoints_go_and_the_best_stays(flags):
    result, _ = run(flags, epoch_size=4, keep_checkpoint_max=2)
    names = sorted(path.name for path in Path(flags["ckpt_save_dir"]).glob("*.ckpt"))
    assert [name for name in names if "-" in name] == ["halonet_test-3_3.ckpt", "halonet_test-4_3.ckpt"]
    assert {"halonet_test_best.ckpt", "halonet_test_last.ckpt"} <= set(names)
    top1 = [float(row["top1"]) for row in rows(flags["ckpt_save_dir"])]
    assert result.best_top1 == max(top1) > min(top1)


@pytest.mark.parametrize("mode", [1, pytest.param(0, marks=pytest.mark.thorough)])
def test_steps_fed_from_a_queue_are_the_same(flags, plain_run, tmp_path, monkeypatch, mode):
    """Compiled they are in every run, for Ascend: test_dry_run.py."""
    expected = read_weights(str(plain_run.last_checkpoint)) if mode else run(flags, mode=0)[1]
    queue = DeviceQueue().put_in_place(monkeypatch)
    monkeypatch.setattr(training, "feeds_from_queue", lambda recipe: True)
    _, queued = run(flags, dataset_sink_mode=True, mode=mode, ckpt_save_dir=tmp_path / "queued")
    assert queue.num_open == 0
    for name, value in expected.items():
        np.testing.assert_array_equal(queued[name], value, err_msg=name)


@pytest.mark.parametrize("mode", [1, pytest.param(0, marks=pytest.mark.thorough)])
def test_recomputation_changes_no_weight(flags, tmp_path, mode):
    """The same kernels run twice; their sums may come in another order, for three steps of at most 0.004."""
    changes = {"mode": mode, "epoch_size": 1, "val_while_train": False, "native_kernels": False}  # which keep nothing
    _, plain = run(flags, **changes)
    _, again = run(flags, **changes, recompute=True, ckpt_save_dir=tmp_path / "again")
    for name, value in plain.items():
        np.testing.assert_allclose(again[name], value, atol=1e-5, err_msg=name)


def test_metrics_by_hand():
    counter = MetricsCounter()
    counter.update(np.log([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]), np.array([0, 0]))
    counter.update(np.log([[0.1, 0.1, 0.8]]), np.array([2]))
    metrics = counter.result()
    assert metrics.top1 == pytest.approx(200 / 3) and metrics.top5 is None and metrics.num_images == 3
    assert metrics.loss == pytest.approx(-(np.log(0.7) + np.log(0.3) + np.log(0.8)) / 3)


def test_no_share_is_more_than_all():
    for count in range(1, 200):  # 22 * (100 / 22) is more than 100
        counter = MetricsCounter()
        counter.update(np.eye(6)[np.zeros(count, int)], np.zeros(count, int))
        assert counter.result().top1 == counter.result().top5 == 100


def test_constant_logits_know_nothing():
    counter = MetricsCounter()
    counter.update(np.zeros((4, 10)), np.arange(4))
    assert counter.result().top1 == counter.result().top5 == 0


def test_logits_that_are_not_numbers_score_nothing():
    """Not even with so few classes that any order has the true one among the first five."""
    counter = MetricsCounter()
    counter.update(np.full((4, 6), np.nan), np.arange(4))
    assert counter.result().top1 == counter.result().top5 == 0


def test_losses_that_are_not_finite_are_counted_over_epochs(flags, monkeypatch):
    """With a scale that leaves such updates out, the eleventh in a row ends a run of three steps an epoch."""
    monkeypatch.setattr(
        training.TrainingRun, "_run_steps", lambda run, loader, since: iter([ms.Tensor(np.nan, ms.float32)] * 3)
    )
    changes = {"epoch_size": "5", "loss_scale_type": "dynamic", "val_while_train": "False"}
    with pytest.raises(TrainingStoppedError, match="the loss is not finite in epoch 4, step 2"):
        engine.train(make_recipe({**flags, **changes}))


def write_mnist(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 8, 28, 28) + bytes(8 * 28 * 28))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 8) + bytes(range(8)))


def test_a_run_and_a_validation_fetch_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(MnistDownload, "download", lambda data: write_mnist(Path(data.path)))
    common = {
        "model": "halonet_test", "dataset": "mnist", "dataset_download": True, "val_split": "test", "in_channels": 1,
        "color_jitter": None, "image_resize": 32, "batch_size": 4, "mode": 1,
    }  # fmt: skip
    run = {"epoch_size": 1, "warmup_epochs": 0, "val_while_train": True, "ckpt_save_dir": str(tmp_path / "run")}
    result = engine.train(make_recipe({**common, **run, "data_dir": str(tmp_path / "one")}))
    ckpt_path = str(result.last_checkpoint)
    assert engine.validate(make_recipe({**common, "data_dir": str(tmp_path / "two"), "ckpt_path": ckpt_path}))
