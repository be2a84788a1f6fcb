"""Damaged and hostile weight files against create_model, thousands of them: python tests/drills/fuzz_weights.py

Every file must be refused with a UserError, or be loaded where the damage cannot be told from weights. It must not run
code, crash the process, take more than a gigabyte of memory, or a minute of time. The end is a table and exit status 0,
or 1 with what went wrong. `--rounds` multiplies the random damage; kinds whose library is not installed are left out.

Files are read in processes of their own with limited memory, so that a crash ends one of them and not the drill. torch
and HDF5 files have such a process in the library too (foreign_worker.py). Starting it takes seconds, so that most of
these files meet its functions directly, where a crash, too much memory, or too much time is what the library's own
limits would end: the table counts them as `stopped`, and some go the whole way.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from child_cases import try_cases

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

MEMORY = 1 << 30  # bytes that a file may take on top of what the process has
SECONDS = 60  # of a whole way; HDF5 and torch on their own
ALONE_SECONDS = 10
KINDS = ("own.ckpt", "plain.ckpt", "own.safetensors", "timm.safetensors", "timm.pth", "legacy.pth", "keras.h5")
FOREIGN = {".pth": "torch", ".h5": "keras"}


def damaged(content: bytes, name: str, rounds: int) -> Iterator[tuple[str, bytes]]:
    """(what was done, content) of a good file; the same for the same name."""
    import numpy as np

    size = len(content)
    for percent in range(100):
        yield f"cut at {percent} %", content[: size * percent // 100]
    for places in (1, 2, 3, 17, 100, 1000):
        yield f"cut by {places} bytes", content[:-places]
    random = np.random.default_rng(sum(name.encode()))
    head = min(size, 4096)
    for number in range(150 * rounds):
        broken = bytearray(content)
        end = head if number % 2 else size
        for place in random.integers(0, end, 1 + number % 4):
            broken[place] ^= 1 << int(random.integers(8))
        yield f"bits flipped {number}", bytes(broken)
    for number in range(100 * rounds):
        broken = bytearray(content)
        length = int(2 ** random.uniform(0, 12))
        start = int(random.integers(0, (head if number % 2 else size) - min(length, head) + 1))
        kind = number % 4
        if kind == 0:
            broken[start : start + length] = random.bytes(length)
        elif kind == 1:
            broken[start : start + length] = bytes(length)
        elif kind == 2:
            broken[start : start + length] = b"\xff" * length
        else:
            del broken[start : start + length]
        yield f"piece changed {number}", bytes(broken)
    for number in range(50 * rounds):
        yield f"random bytes {number}", random.bytes(int(2 ** random.uniform(0, 14)))
        yield f"random bytes behind a good start {number}", content[: int(random.integers(4, 64))] + random.bytes(500)


def cases(group: str, folder: Path, rounds: int) -> Iterator[tuple[str, str, bytes]]:
    """(suffix, what, content) of a group: a kind of good file, or `hostile` and a suffix."""
    import hostile_files
    import weight_files

    if group.startswith("hostile"):
        suffix = group.partition(" ")[2]
        canary = folder / "canary"
        makers = {
            ".ckpt": hostile_files.hostile_ckpt,
            ".safetensors": hostile_files.hostile_safetensors,
            ".pth": lambda: hostile_files.hostile_torch(canary),
            ".h5": lambda: hostile_files.hostile_keras(folder),
        }
        for what, content in makers[suffix]():
            yield suffix, what, content
        return
    files = weight_files.write_all(folder, torch=group.endswith(".pth"), h5py=group.endswith(".h5"))
    content = files[group].read_bytes()
    yield Path(group).suffix, "as it was", content
    for what, broken in damaged(content, group, rounds):
        yield Path(group).suffix, what, broken


def work(group: str, first: int, rounds: int, direct: bool) -> None:
    """The cases of a group from number `first` on; a line of JSON before and after each. Runs in its own process."""
    import numpy as np
    from support.weight_files import arrays_of, make_network

    from mindcv_halo.errors import UserError
    from mindcv_halo.models.weights import load_weights, open_weights
    from mindcv_halo.models.weights.formats import foreign_worker

    warnings.simplefilter("ignore")
    network = make_network()
    good = arrays_of(network)
    suffix = Path(group).suffix if not group.startswith("hostile") else group.partition(" ")[2]
    if direct:
        module = foreign_worker.import_torch() if suffix == ".pth" else foreign_worker.import_h5py()
        read = foreign_worker.read_torch if suffix == ".pth" else foreign_worker.read_keras
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    all_cases = list(cases(group, folder, rounds))
    allow_memory()
    for number, (suffix, what, content) in enumerate(all_cases):
        if number < first:
            continue
        path = folder / f"case{suffix}"
        path.write_bytes(content)
        print(json.dumps({"start": number, "what": what}), flush=True)
        signal.alarm(ALONE_SECONDS if direct else SECONDS)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        detail = ""
        try:
            if direct:
                arrays = read(module, str(path))
                outcome = "read"
                del arrays
            else:
                file = open_weights(str(path))
                load_weights(network, file)
                same = all(np.array_equal(value, good[name]) for name, value in arrays_of(network).items())
                outcome = "loaded, unchanged" if same else "loaded, changed"
        except UserError as error:
            outcome, detail = "refused", str(error)
        except MemoryError:
            outcome = "stopped" if direct else "MEMORY"
        except Exception as error:  # in the worker any exception is a refusal
            outcome, detail = ("refused" if direct else "ESCAPED"), repr(error)
        signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > MEMORY:
            outcome, detail = "MEMORY", f"{grown / 1e6:.0f} MB"
        if list(folder.glob("canary*")):
            outcome = "CODE RAN"
        if "\n" in detail or not detail.isprintable() and not direct:
            outcome, detail = "UNREADABLE TEXT", repr(detail)
        seconds = time.monotonic() - began
        print(json.dumps({"end": number, "outcome": outcome, "detail": detail, "seconds": seconds}), flush=True)


def allow_memory() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(group: str, rounds: int, direct: bool) -> tuple[Counter, list[str]]:
    """Counts of outcomes of a group, and a line about each bad one."""
    counts: Counter = Counter()
    bad = []

    def command(first: int) -> list[str]:
        words = [sys.executable, __file__, "--work", group, "--first", str(first), "--rounds", str(rounds)]
        return [*words, "--direct"] if direct else words

    for case in try_cases(command):
        outcome = case.report["outcome"] if case.report else "stopped" if direct else "CRASHED"
        counts[outcome] += 1
        if outcome.isupper():
            words = f"{outcome} {case.report['detail']}" if case.report else f"the process ended with {case.status}"
            bad.append(f"{group}, {case.what}: {words}")
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="groups whose name contains this")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--direct", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.first, options.rounds, options.direct)
        return 0
    os.environ["PYTHONWARNINGS"] = "ignore"
    have = {".pth": importlib.util.find_spec("torch"), ".h5": importlib.util.find_spec("h5py")}
    groups = [*KINDS, *(f"hostile {suffix}" for suffix in (".ckpt", ".safetensors", ".pth", ".h5"))]
    total: Counter = Counter()
    failures = []
    for group in groups:
        suffix = group[group.index(".") :]
        if options.only not in group:
            continue
        if not have.get(suffix, True):
            print(f"{group:22} left out: {FOREIGN[suffix]} is not installed")
            continue
        began = time.monotonic()
        counts, bad = run(group, options.rounds, direct=suffix in FOREIGN and not group.startswith("hostile"))
        seconds = time.monotonic() - began
        print(f"{group:22} {sum(counts.values()):6} files {seconds:5.0f} s  {dict(counts)}", flush=True)
        total += counts
        failures += bad
    print(f"{'all':22} {sum(total.values()):6} files          {dict(total)}")
    print("\n".join(failures) or "nothing ran, crashed, or took too much")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
