"""A run that is cut off and gone on with ends with the weights of a run that was not, bit for bit.

In PyNative mode, which takes a fraction of the time; one run goes on in graph mode, and with --thorough all of this
does, bit for bit. tests/drills/kill_drill.py kills runs at many more places.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.made_once import make_once

from mindcv_halo import engine
from mindcv_halo.config import make_recipe, read_recipe
from mindcv_halo.engine.setup import plan_rates
from mindcv_halo.engine.train import TrainingRun
from mindcv_halo.errors import TrainingStoppedError, UserError

# Everything that has a state or draws random numbers; the batches of an epoch do not fill its updates.
EVERYTHING = {
    "epoch_size": "3",
    "val_interval": "3",
    "ema": "True",
    "ema_decay": "0.9",
    "gradient_accumulation_steps": "2",
    "loss_scale_type": "dynamic",
    "loss_scale": "1024",
    "clip_grad": "True",
    "clip_value": "1",
    "drop_rate": "0.1",
    "drop_path_rate": "0.1",
    "mixup": "0.8",
    "cutmix": "1.0",
    "auto_augment": "randaug-m9-n2-mstd0.5-inc1",
    "re_prob": "0.5",
    "num_parallel_workers": "2",
}


def final_state(folder: str | Path) -> dict[str, np.ndarray]:
    return load_file(Path(folder) / "halonet_test_state-3_0.safetensors")


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module", params=["1", pytest.param("0", marks=pytest.mark.thorough)], ids=["pynative", "graph"])
def whole(request, image_folder, tmp_path_factory) -> tuple[dict[str, str], dict[str, np.ndarray], str]:
    """Flags of a run with everything, its final state, and its metrics.csv."""
    flags = {
        "model": "halonet_test", "data_dir": str(image_folder), "image_resize": "32", "batch_size": "8",
        "warmup_epochs": "1", "lr": "0.004", "val_while_train": "True", "device_target": "CPU",
        "mode": request.param, **EVERYTHING,
    }  # fmt: skip

    def train(folder: Path) -> None:
        engine.train(make_recipe({**flags, "ckpt_save_dir": str(folder / "run")}))

    folder = make_once(tmp_path_factory, f"whole{request.param}", train) / "run"
    flags["ckpt_save_dir"] = str(folder)
    return flags, final_state(folder), (folder / "metrics.csv").read_text()


def copy_run(flags: dict[str, str], target: Path) -> Path:
    return Path(shutil.copytree(flags["ckpt_save_dir"], target / "run"))


def interrupt_after(monkeypatch, steps: int, number: signal.Signals) -> None:
    """Send this process a signal when so many steps have run."""
    run_steps = TrainingRun._run_steps
    left = [steps]

    def counted(self, loader, since):
        for loss in run_steps(self, loader, since):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            yield loss

    monkeypatch.setattr(TrainingRun, "_run_steps", counted)


def without_speed(table: str) -> list[str]:
    return [line.rpartition(",")[0] for line in table.splitlines()]


@pytest.mark.parametrize("steps, number, resume", [(5, signal.SIGTERM, "True"), (6, signal.SIGHUP, "auto")])
def test_a_signal_then_resume(whole, tmp_path, monkeypatch, steps, number, resume):
    """5 steps end in the middle of an epoch and of an update, 6 at the end of an epoch."""
    flags, expected, table = whole
    flags = {**flags, "ckpt_save_dir": str(tmp_path), "resume": "auto" if resume == "auto" else "False"}
    before = signal.signal(number, signal.SIG_DFL)  # nohup and a shell's `&` ignore some, and a run respects that
    try:
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps, number)
            assert engine.train(make_recipe(flags)).interrupted
    finally:
        signal.signal(number, before)
    log = (tmp_path / "rank0.log").read_text()
    assert (
        f"interrupted by {number.name}: stopped" in log and f"train.py -c {tmp_path}/recipe.yaml --resume True" in log
    )
    result = engine.train(make_recipe({**flags, "resume": resume}))
    assert not result.interrupted and not list(tmp_path.glob("earlier-*"))
    assert same(final_state(tmp_path), expected)
    assert without_speed((tmp_path / "metrics.csv").read_text()) == without_speed(table)


def test_a_run_in_graph_mode_goes_on(plain_run, graph_run):
    """From the end of its first epoch; what it computes is that of PyNative mode, but for the order of float32 sums."""
    assert "going on after epoch 1" in (graph_run / "rank0.log").read_text()
    name = "halonet_test_state-2_0.safetensors"
    expected, found = (load_file(folder / name) for folder in (plain_run.last_checkpoint.parent, graph_run))
    assert expected.keys() == found.keys() and found["global_step"] == 6
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_damaged_newest_state(whole, tmp_path):
    """The one before it serves."""
    flags, expected, _ = whole
    folder = copy_run(flags, tmp_path)
    newest = folder / "halonet_test_state-3_0.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    engine.train(make_recipe({**flags, "ckpt_save_dir": str(folder), "resume": "True"}))
    assert "going on after epoch 2" in (folder / "rank0.log").read_text()
    assert same(final_state(folder), expected)


def test_resuming_what_is_done_changes_nothing(whole, tmp_path):
    flags, _, _ = whole
    folder = copy_run(flags, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.glob("*.ckpt")}
    engine.train(make_recipe({**flags, "ckpt_save_dir": str(folder), "resume": "True"}))
    assert {path.name: path.read_bytes() for path in folder.glob("*.ckpt")} == before


def test_a_longer_run(whole, tmp_path):
    """A finished run goes on along a longer schedule, from the step at which it stands."""
    flags, expected, table = whole
    folder = copy_run(flags, tmp_path)
    longer = {**flags, "ckpt_save_dir": str(folder), "resume": "True", "epoch_size": "4"}
    engine.train(make_recipe(longer))
    log = (folder / "rank0.log").read_text()
    assert "epoch_size was 3 and is 4 now: from here on the rates are those of the new schedule" in log
    lines = without_speed((folder / "metrics.csv").read_text())
    assert lines[:4] == without_speed(table) and len(lines) == 5
    steps_per_epoch = 3
    rates, _ = plan_rates(make_recipe(longer), steps_per_epoch, num_ranks=1)
    assert float(lines[4].split(",")[2]) == rates[-1]
    state = load_file(folder / "halonet_test_state-4_0.safetensors")
    assert state.keys() == expected.keys() and not any(name.startswith("learning_rate") for name in state)
    assert state["global_step"] == expected["global_step"] + 2  # two batches an update, and one was left of nine


def test_a_new_run_with_the_weights_and_the_averages_of_another(whole, tmp_path):
    """resume_opt, in the folder of that run, whose files are moved aside; then cut off and gone on with."""
    flags, expected, table = whole
    folder = copy_run(flags, tmp_path)
    weights = {"ckpt_path": str(folder / "halonet_test_last.ckpt"), "resume_opt": "True", "ckpt_save_dir": str(folder)}
    engine.train(make_recipe({**flags, **weights, "epoch_size": "2"}))
    log = (folder / "rank0.log").read_text()
    assert f"{folder} held an earlier run; its files are in {folder / 'earlier-1'} now" in log
    assert without_speed((folder / "earlier-1" / "metrics.csv").read_text()) == without_speed(table)
    assert same(load_file(folder / "earlier-1" / "halonet_test_state-3_0.safetensors"), expected)
    assert read_recipe(folder / "recipe.yaml")["ckpt_path"] == str(folder / "earlier-1" / "halonet_test_last.ckpt")
    whole_state = load_file(folder / "halonet_test_state-2_0.safetensors")
    assert whole_state["global_step"] == expected["global_step"] + 3  # 6 batches, 2 in an update

    (folder / "halonet_test_state-2_0.safetensors").unlink()
    engine.train(make_recipe({**flags, "epoch_size": "2", "ckpt_save_dir": str(folder), "resume": "True"}))
    assert same(load_file(folder / "halonet_test_state-2_0.safetensors"), whole_state)


def test_another_name_of_a_class_is_refused(whole, tmp_path):
    """It would be another label. The images are links, so that nothing else differs."""
    flags, _, _ = whole
    data = tmp_path / "data"
    for split in ("train", "val"):
        for folder in Path(flags["data_dir"], split).iterdir():
            name = "zebra" if folder.name == "blue" else folder.name
            (data / split).mkdir(parents=True, exist_ok=True)
            (data / split / name).symlink_to(folder)
    changes = {"ckpt_save_dir": str(copy_run(flags, tmp_path)), "resume": "True", "data_dir": str(data)}
    with pytest.raises(UserError, match=r"resume: the classes are not those of the run \(gone: blue; new: zebra\)"):
        engine.train(make_recipe({**flags, **changes}))


def test_another_recipe_is_refused(whole, tmp_path):
    flags, _, _ = whole
    changes = {"ckpt_save_dir": str(copy_run(flags, tmp_path)), "resume": "True", "lr": "0.1"}
    with pytest.raises(UserError, match=r"resume: lr was 0.004 and is 0.1 now"):
        engine.train(make_recipe({**flags, **changes}))


def test_a_loss_that_is_not_finite_stops_the_run(flags):
    with pytest.raises(TrainingStoppedError, match=r"the loss is not finite in epoch \d, step \d; the last good"):
        engine.train(make_recipe({**flags, "lr": "1e30", "warmup_epochs": "0", "val_while_train": "False"}))
    assert "ERROR rank 0: the loss is not finite in epoch" in Path(flags["ckpt_save_dir"], "rank0.log").read_text()
