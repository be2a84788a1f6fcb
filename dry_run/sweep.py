"""Compile everything for Ascend and GPU without either: python -m dry_run.sweep. `make dry-run` calls it.

Ends with a table, writes docs/compiled.md, and with status 1 where anything was refused that must compile, or taken
that must not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

from .cases import Case, list_cases
from .devices import DEVICES, ROOT, make_environment
from .kept_results import KeptResults
from .page import write_page
from .peers import PEER, compile_peers
from .programs import Program, list_programs, make_images, run_program
from .result import PROGRAM, Result
from .stub_libraries import make_libraries, say_why_not

PAGE = ROOT / "docs" / "compiled.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--only", default="", help="a regular expression that a case's key must hold; no page then")
    parser.add_argument("--peer_python", help="an interpreter that has MindCV; without it nothing is compared")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="cases at a time")
    options = parser.parse_args()
    reason = say_why_not()
    if reason:
        print(f"dry run: {reason}", file=sys.stderr)
        return 2
    libraries = make_libraries()
    start = time.monotonic()
    cases = [case for case in list_cases() if re.search(options.only, case.key)]
    with tempfile.TemporaryDirectory() as folder:
        chains = _list_chains(Path(folder), libraries, options.only, options.peer_python)
        kept = KeptResults()
        if kept.found:
            print(f"goes on after {len(kept.found)} cases of a sweep that was interrupted", flush=True)

        def report(result: Result) -> None:
            print(result.describe(), flush=True)
            if result.mode != PROGRAM and result.group != PEER:  # these begin anew
                kept.add(result)

        left = [case for case in cases if case.key not in kept.found]
        new = compile_cases(left, libraries, options.jobs, chains, report)
    found = kept.found | {result.key: result for result in new}
    results = [*(found[case.key] for case in cases), *new[len(left) :]]
    failed = [result for result in results if not result.is_right]
    print(f"\n{len(results)} cases in {time.monotonic() - start:.0f} s, {len(failed)} not as they should be")
    for result in failed:
        print(result.describe())
    if not options.only:
        write_page(PAGE, results)
        kept.forget()
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


def _list_chains(
    folder: Path, libraries: Path, only: str, peer_python: str | None
) -> list[Callable[[], Iterator[Result]]]:
    """What runs beside the cases, each in an order of its own."""

    def run_programs(programs: Sequence[Program]) -> Iterator[Result]:
        for program in programs:
            if re.search(only, program.key):
                yield run_program(program, libraries)

    chains = [partial(run_programs, programs) for programs in list_programs(make_images(folder / "images"), folder)]
    if peer_python:
        chains.append(partial(compile_peers, peer_python, libraries))
    return chains


def compile_cases(
    cases: Sequence[Case],
    libraries: Path,
    num_jobs: int,
    chains: Sequence[Callable[[], Iterator[Result]]] = (),
    report: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """What became of the cases, in their order, and of what else is to run; `num_jobs` processes at a time."""
    waiting, waiting_chains = list(cases), list(chains)
    lock = threading.Lock()
    found: dict[str, Result] = {}
    others: list[Result] = []

    def take(device: str) -> Case | None:
        with lock:
            mine = next((case for case in waiting if case.device == device), None)
            if mine is not None:
                waiting.remove(mine)
            return mine

    def take_chain() -> Callable[[], Iterator[Result]] | None:
        with lock:
            return waiting_chains.pop(0) if waiting_chains else None

    def work(_: int) -> None:
        while (chain := take_chain()) is not None:
            for result in chain():
                others.append(result)
                report(result)
        for device in DEVICES:
            if not any(case.device == device for case in waiting):
                continue
            with tempfile.TemporaryDirectory() as folder, _start(device, libraries, folder) as process:
                while (case := take(device)) is not None:
                    process.stdin.write(json.dumps(case.key) + "\n")
                    process.stdin.flush()
                    line = process.stdout.readline()
                    if not line:
                        raise RuntimeError(f"the process that compiles for {device} ended at {case.key}")
                    found[case.key] = Result.of_case(case, json.loads(line))
                    report(found[case.key])
                process.stdin.close()

    with ThreadPoolExecutor(num_jobs) as pool:
        list(pool.map(work, range(num_jobs)))
    return [*(found[case.key] for case in cases), *others]


def _start(device: str, libraries: Path, folder: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dry_run.compile_cases", device, folder],
        cwd=ROOT,
        env=make_environment(device, libraries),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main())
