"""Break data-parallel jobs in every way we know, and see how they end and how they go on.

python tests/drills/rank_drill.py [--mpirun PATH] [--ranks 2]

For each fault: the seconds from the fault to the end of the job, its exit status, the line that says why, and what
processes of it are left 15 s later; then, for the killed rank, whether the resumed run ends with the arrays of a run
that was left alone. It takes minutes and is no part of the test suite; tests/tasks/test_ranks.py is. The full
disk needs root, for a small file system of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
EPOCHS = 5
LIMIT = 60.0  # seconds in which a job must be over
FLAGS = (
    f"-c {ROOT}/configs/halonet/halonet_test_digits.yaml --distribute True --epoch_size {EPOCHS} --batch_size 16 "
    "--ema True --gradient_accumulation_steps 2 --clip_grad True --drop_path_rate 0.1 --mixup 0.2 --data_timeout 40"
).split()


def launch(args: argparse.Namespace, fault: str, rank: int, step: int, data: Path, folder: Path, *extra: str):
    """Run one job; (exit status, seconds since the fault or None, all that it printed)."""
    command = [args.mpirun, "--oversubscribe", "-n", str(args.ranks)]
    command += ["--allow-run-as-root"] if os.geteuid() == 0 else []
    command += [sys.executable, str(ROOT / "tests/drills/faulty_train.py"), fault, str(rank), str(step), *FLAGS]
    command += ["--data_dir", str(data), "--ckpt_save_dir", str(folder), *extra]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        status, text = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, text = -1, (error.stdout or b"").decode()
    end = time.time()
    moments = [float(line.split()[1]) for line in text.splitlines() if line.startswith("fault ")]
    return status, end - moments[0] if moments else None, text


def reason(text: str) -> str:
    """The line that says which rank and why."""
    lines = [line for line in text.splitlines() if "error: rank" in line or "exited on signal" in line]
    return lines[0] if lines else "no line"


def leftovers() -> list[str]:
    """Ranks and schedulers' guards of a job from this checkout that are still there."""
    marks = (str(ROOT / "tests/drills/faulty_train.py"), str(ROOT / "mindcv_halo/distributed/scheduler_process.py"))
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if any(mark in words for mark in marks):
            found.append(words[:60])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--faults", nargs="*", help="only these, such as kill1 hang1 full_disk0")
    args = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data = root / "data"
        os.environ["MS_CPU_COMM_OP_TIMEOUT"] = "40"  # the drill does not wait 180 s for a frozen rank
        status, _, text = launch(args, "none", 0, 1, data, root / "alone")
        if status:
            raise SystemExit(f"the job that was left alone ended with status {status}:\n{text[-2000:]}")
        print(f"left alone: status {status}", flush=True)
        last = args.ranks - 1
        cases = [
            ("kill", last),
            ("kill", 0),
            ("hang", last),
            ("freeze", last),
            ("raise", last),
            ("scheduler", 0),
            ("launcher", 0),
        ]
        for fault, rank in [*cases, ("terminate", 0), ("full_disk", 0)]:
            folder = root / f"{fault}{rank}"
            if args.faults and folder.name not in args.faults:
                continue
            if fault == "full_disk":
                folder.mkdir()
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)], check=True)
                status, _, text = launch(args, "none", 0, 45, data, folder / "run")
                seconds = time.time() - max(path.stat().st_mtime for path in (folder / "run").iterdir())
                subprocess.run(["umount", str(folder)], check=True)
            else:
                status, seconds, text = launch(args, fault, rank, 150, data, folder)
            time.sleep(15)
            left = leftovers()
            good = status not in (0, -1) and seconds is not None and seconds < LIMIT and not left
            failures += not good
            print(
                f"{fault} on rank {rank}: {'ok' if good else 'FAILED'}; over {seconds or -1:.0f} s after the fault, "
                f"status {status}, left {left or 'nothing'}; {reason(text)}",
                flush=True,
            )
        killed = root / f"kill{last}"
        if not killed.exists():
            return
        states = sorted(path.name for path in killed.glob("*_state-*"))
        status, _, text = launch(args, "none", 0, 1, data, killed, "--resume", "True")
        expected, found = (
            load_file(folder / f"halonet_test_state-{EPOCHS}_0.safetensors") for folder in (root / "alone", killed)
        )
        different = [name for name in expected if not np.array_equal(expected[name], found[name])]
        print(f"resumed from {states}: status {status}; {len(different)} of {len(expected)} arrays differ")
    if failures or different or status:
        raise SystemExit(f"{failures} jobs did not end as they should; {different[:3]}")


if __name__ == "__main__":
    main()
