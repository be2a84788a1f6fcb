"""Make the library wrong in one place at a time, and see that a test fails each time.

python tests/drills/mutants.py [--only NAME ...] [--jobs 1] [--limit 300]

It takes about twenty minutes of a processor and is no part of the test suite; tests/modules/test_mutants.py, which
keeps its table fit to run, is. faults.py has the table: what is wrong where, and the tests that are to say so. They run
in a copy of the working tree, never in the tree itself. A fault is caught when a test fails that passes without it: one
that only keeps a module from being imported, or a fixture from being made, is not. Faults of what this processor lacks
are named and not made. Exit status: 1 if one survives.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from faults import FAULTS, ROOT, Fault

LIMIT = 300  # seconds for the tests of one fault
_FAILED, _NO_TESTS = 1, 5  # exit statuses of pytest


@dataclass(frozen=True)
class Verdict:
    """What became of a fault."""

    fault: Fault
    caught_by: str = ""  # the test's node id; "" if none failed
    reason: str = ""  # why it is not caught

    def __str__(self) -> str:
        outcome = f"NOT CAUGHT: {self.reason}" if self.reason else self.caught_by
        return f"{self.fault.name:<52} {self.fault.file:<42} {outcome}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="faults whose names contain one of these")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time, each in a copy of the tree of its own")
    parser.add_argument("--limit", type=int, default=LIMIT, help="seconds for the tests of one fault")
    args = parser.parse_args()
    chosen = [fault for fault in FAULTS if not args.only or any(part in fault.name for part in args.only)]
    if not chosen:
        parser.error(f"no fault's name contains {' or '.join(args.only)}")
    for fault in chosen:
        fault.check()
    if "amx_bf16" not in Path("/proc/cpuinfo").read_text():
        for fault in chosen:
            if fault.is_for_tiles:
                print(f"not made, as this processor has no AMX: {fault.name}")
        chosen = [fault for fault in chosen if not fault.is_for_tiles]
    chosen.sort(key=lambda fault: fault.is_compiled)  # which take longest
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(args.jobs):
            copies.put(copy_tree(Path(folder) / f"tree-{number}"))

        def judge(fault: Fault) -> Verdict:
            tree = copies.get()
            try:
                verdict = try_fault(tree, fault, args.limit)
            finally:
                copies.put(tree)
            print(verdict, flush=True)
            return verdict

        with ThreadPoolExecutor(args.jobs) as pool:
            verdicts = list(pool.map(judge, chosen))
        verdicts = acquit(copies.get(), verdicts)
    survivors = [verdict for verdict in verdicts if verdict.reason]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{len(verdicts) - len(survivors)} of {len(verdicts)} faults caught", end="")
    print(f"; {(spent.ru_utime + spent.ru_stime) / 60:.1f} minutes of a processor")
    for verdict in survivors:
        print(verdict)
    return 1 if survivors else 0


def copy_tree(target: Path) -> Path:
    """The files of the working tree that git knows or does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def try_fault(tree: Path, fault: Fault, limit: float) -> Verdict:
    with made_wrong(tree, fault):
        if fault.is_compiled:
            with tempfile.TemporaryDirectory() as cache:  # kernels that nobody else is to find
                status, output = run_tests(tree, [*shlex.split(fault.tests), "-x"], limit, MINDCV_HALO_HOME=cache)
        else:
            status, output = run_tests(tree, [*shlex.split(fault.tests), "-x"], limit)
    failed = find_failures(output)
    if status == _FAILED and failed:
        return Verdict(fault, caught_by=failed[0])
    if status is None:
        return Verdict(fault, reason=f"its tests took more than {limit:g} s")
    reasons = {0: "all tests passed", _FAILED: "a fixture failed, and no test", _NO_TESTS: "no test was chosen"}
    return Verdict(fault, reason=reasons.get(status, f"pytest ended with status {status} before a test failed"))


@contextmanager
def made_wrong(tree: Path, fault: Fault) -> Iterator[None]:
    """The tree with the fault, and afterwards without it."""
    path = tree / fault.file
    right = path.read_text(encoding="utf-8")
    try:
        _replace(path, right.replace(fault.old, fault.new))
        yield
    finally:
        _replace(path, right)


def _replace(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    if path.suffix == ".py":  # Python would take what it compiled in the same second from a text of the same length
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def run_tests(tree: Path, arguments: list[str], limit: float, **environ: str) -> tuple[int | None, str]:
    """Pytest's exit status in the tree, None where it took too long, and what it printed."""
    plugins = ["-p", "no:cacheprovider", "-n", "0"] if importlib.util.find_spec("xdist") else ["-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-v", "--tb=no", *plugins, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "400", **environ}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session, which the tests' own processes are in
        process.wait()


def find_failures(output: str) -> list[str]:
    """The node ids of the tests that failed; those whose fixtures did are errors, not failures."""
    return re.findall(r"^(\S+::.+) FAILED +\[ *\d+%\]$", output, re.MULTILINE)


def acquit(tree: Path, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts, less those by tests that fail without any fault, too."""
    verdicts = list(verdicts)
    witnesses = sorted({verdict.caught_by for verdict in verdicts if verdict.caught_by})
    if not witnesses:
        return verdicts
    status, output = run_tests(tree, witnesses, LIMIT * 10)
    liars = set(find_failures(output)) if status in (0, _FAILED) else set(witnesses)
    return [
        Verdict(verdict.fault, reason=f"{verdict.caught_by} fails without it, too")
        if verdict.caught_by in liars
        else verdict
        for verdict in verdicts
    ]


if __name__ == "__main__":
    sys.exit(main())
