"""The scripts of the project, run for a device as their users run them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .devices import ROOT, make_environment
from .processes import run_to_end
from .result import PROGRAM, Result

NUM_RANKS = 8


@dataclass(frozen=True)
class Program:
    """`python SCRIPT ARGUMENTS` on a device; with a `rank` as that one of NUM_RANKS under Open MPI.

    leaves: a file that it must have written, if any.
    """

    name: str
    device: str
    command: tuple[str, ...]
    rank: int | None = None
    leaves: Path | None = None

    @property
    def key(self) -> str:
        return f"{self.device} | program | {self.name}"


def make_images(folder: Path) -> Path:
    """A folder of two classes, as many training images as NUM_RANKS batches of 64 need: links to a few small files."""
    generator = np.random.default_rng(0)
    for split, number in (("train", NUM_RANKS * 64), ("val", 16)):
        for name in ("cat", "dog"):
            place = folder / split / name
            place.mkdir(parents=True)
            first = place / "0.jpg"
            Image.fromarray(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(first)
            for index in range(1, number // 2):
                os.link(first, place / f"{index}.jpg")
    return folder


def list_programs(images: Path, folder: Path) -> list[list[Program]]:
    """MindCV's commands with the recipes of halonet_50t, on a folder of small images; each list in its order."""
    ascend, gpu = (f"configs/halonet/halonet_50t_{kind}.yaml" for kind in ("ascend", "gpu"))
    return [
        list_commands("Ascend", ascend, images, folder / "Ascend"),
        list_commands("GPU", gpu, images, folder / "GPU"),
        # MindSpore's GPU plugin joins ranks only under a real mpirun.
        [train("Ascend", ascend, images, folder / f"rank{rank}", rank=rank) for rank in (0, 5)],
    ]


def list_commands(device: str, recipe: str, images: Path, folder: Path, *flags: str) -> list[Program]:
    """Training, validation, prediction and export, one after the other; `flags` go to all of them."""
    trained = folder / "sink"
    model = flags[flags.index("--model") + 1] if "--model" in flags else "halonet_50t"
    checkpoint = ("--ckpt_path", str(trained / f"{model}_last.ckpt"))
    exported = folder / "model.mindir"
    common = ("-c", recipe, *flags, "--distribute", "False")
    data = ("--data_dir", str(images))
    return [
        train(device, recipe, images, trained, *flags),
        train(device, recipe, images, folder / "fed", *flags, "--dataset_sink_mode", "False"),
        Program("validate.py", device, ("validate.py", *common, *data, *checkpoint)),
        Program(
            "infer.py",
            device,
            ("infer.py", *common, *checkpoint, "--image_path", str(images / "val" / "cat" / "0.jpg")),
        ),
        # What is exported is float32, and the recipe validates in half precision.
        Program(
            "export.py",
            device,
            ("export.py", *common, "--val_amp_level", "O0", *checkpoint, "--output", str(exported)),
            leaves=exported,
        ),
    ]


def train(device: str, recipe: str, images: Path, folder: Path, *flags: str, rank: int | None = None) -> Program:
    """train.py for two epochs, each with a validation at its end."""
    command = ("train.py", "-c", recipe, "--data_dir", str(images), "--ckpt_save_dir", str(folder), *flags)
    command += ("--epoch_size", "2", "--val_interval", "1")  # of which the second has a queue of its own
    if rank is None:
        command += ("--distribute", "False")
    words = "train.py" + (" without sink mode" if "--dataset_sink_mode" in flags else "")
    words += "" if rank is None else f", rank {rank} of {NUM_RANKS}"
    return Program(words, device, command, rank, folder / "metrics.csv" if rank in (None, 0) else None)


def run_program(program: Program, libraries: Path) -> Result:
    """Run it to its end."""
    environment = make_environment(program.device, libraries)
    if program.rank is not None:
        environment.update(_name_rank(program.rank))
    command = [sys.executable, "-m", "dry_run.run_program", *program.command]
    ended = run_to_end(command, ROOT, environment)
    error = ""
    if ended.status:
        error = ended.take_last_words()
    elif program.leaves is not None and not program.leaves.is_file():
        error = f"{program.leaves.name} was not written"
    return Result("programs", program.name, program.device, PROGRAM, error=error, seconds=ended.seconds)


def _name_rank(rank: int) -> dict[str, str]:
    """What Open MPI tells a rank of a job on one machine, and DryRun's own names for the same."""
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(NUM_RANKS),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(NUM_RANKS),
        "PMIX_NAMESPACE": "dry_run",
        "RANK_ID": str(rank),
        "RANK_SIZE": str(NUM_RANKS),
    }
