"""Kill a run again and again, and compare its end with that of a run that was left alone.

python tests/drills/kill_drill.py [--kills 20] [--seed 0]

It takes minutes and is no part of the test suite; tests/tasks/test_resume.py is. The run uses everything that has a
state: averaged weights, accumulation, dynamic loss scale, clipping, drop rates, mixup, cutmix, RandAugment and erasing.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
EPOCHS = 60
FLAGS = (
    f"-c {ROOT}/configs/halonet/halonet_test_digits.yaml --epoch_size {EPOCHS} --hflip 0 --log_interval 10 "
    "--ema True --gradient_accumulation_steps 2 --loss_scale_type dynamic --loss_scale 1024 --clip_grad True "
    "--drop_rate 0.1 --drop_path_rate 0.1 --mixup 0.2 --cutmix 0.5 --auto_augment randaug-m5-n1-mstd0.5-inc1 "
    "--re_prob 0.2 --num_parallel_workers 2 --val_interval 2"
).split()


def command(data: Path, folder: Path, *extra: str) -> list[str]:
    paths = ["--data_dir", str(data), "--ckpt_save_dir", str(folder)]
    return [sys.executable, str(ROOT / "train.py"), *FLAGS, *paths, *extra]


def final_state(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / f"halonet_test_state-{EPOCHS}_0.safetensors")


def newest_state(folder: Path) -> str:
    states = sorted(folder.glob("*_state-*"), key=lambda path: path.stat().st_mtime)
    return states[-1].stem.partition("state-")[2] if states else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        data, alone, killed = (Path(temporary) / name for name in ("data", "alone", "killed"))
        start = time.monotonic()
        process = subprocess.Popen(command(data, alone), stdout=subprocess.DEVNULL)
        while newest_state(alone) == "none" and process.poll() is None:
            time.sleep(0.1)
        first_epoch = time.monotonic() - start
        if process.wait():
            raise SystemExit(f"the run that was left alone ended with status {process.returncode}")
        print(f"left alone: {time.monotonic() - start:.0f} s, its first epoch {first_epoch:.0f} s", flush=True)
        for number in range(1, args.kills + 1):
            going_on = ("--resume", "True") if newest_state(killed) != "none" else ()
            process = subprocess.Popen(command(data, killed, *going_on), stdout=subprocess.DEVNULL)
            # Every fourth before a first step, the others a few epochs after it.
            patience = first_epoch * (moments.uniform(0.8, 1.8) if number % 4 else moments.uniform(0, 0.8))
            try:
                process.wait(patience)
                print(f"kill {number}: the run had ended by itself with status {process.returncode}")
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print(f"kill {number}: after {patience:.1f} s, newest state {newest_state(killed)}", flush=True)
        going_on = ("--resume", "True") if newest_state(killed) != "none" else ()
        subprocess.run(command(data, killed, *going_on), check=True, stdout=subprocess.DEVNULL)
        expected, found = final_state(alone), final_state(killed)
    different = [name for name in expected if not np.array_equal(expected[name], found[name])]
    if different or expected.keys() != found.keys():
        raise SystemExit(f"{len(different)} of {len(expected)} arrays differ, such as {different[:3]}")
    print(f"all {len(expected)} arrays of the final state are equal, bit for bit")


if __name__ == "__main__":
    main()
