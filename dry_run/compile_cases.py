"""Compile cases for one device: python -m dry_run.compile_cases DEVICE FOLDER < keys, a line of JSON for each.

Runs in the environment of devices.make_environment. MindSpore is imported once, and each case is a process that splits
off from that and works in FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore

from .cases import PYNATIVE, Case, list_cases, list_together
from .kernels import count_front_end, count_kernels, count_types, name_variables

TIME_LIMIT = 1800  # seconds; the longest case takes about four minutes


def main(device: str, folder: Path) -> None:
    cases = {case.key: case for case in (*list_cases(), *list_together()) if case.device == device}
    for line in sys.stdin:
        outcome = run_apart(cases[json.loads(line)], folder / "case")
        print(json.dumps(outcome), flush=True)


def run_apart(case: Case, folder: Path) -> dict:
    """What became of the case in a process of its own; an `error` where it was not compiled."""
    folder.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        _become(case, folder)
    deadline = time.monotonic() + TIME_LIMIT
    while time.monotonic() < deadline:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    file = folder / "outcome.json"
    outcome = json.loads(file.read_text()) if file.is_file() else {"error": f"the process ended with status {status}"}
    kernels = count_kernels(folder)
    outcome |= {
        "seconds": usage.ru_utime + usage.ru_stime,
        "kernels": kernels,
        "asked": count_front_end(folder, kernels),
        "types": count_types((folder / "log.txt").read_text(errors="replace")),
    }
    shutil.rmtree(folder)
    return outcome


def _become(case: Case, folder: Path) -> None:
    """Compile in this process, and end it."""
    os.chdir(folder)
    log = os.open("log.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(name_variables(folder / "graphs"))
    if case.num_ranks > 1:
        os.environ.update({"RANK_SIZE": str(case.num_ranks), "RANK_ID": "0"})
    outcome: dict = {}
    try:
        mindspore.set_device(case.device)
        if case.mode == PYNATIVE:
            mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
        else:
            mindspore.set_context(mode=mindspore.GRAPH_MODE, jit_config={"jit_level": case.mode})
        if case.num_ranks > 1:
            mindspore.communication.init()
        case.compile()
        outcome["peak_bytes"] = mindspore.runtime.max_memory_allocated()
    except Exception as error:
        traceback.print_exc()
        outcome["error"] = f"{type(error).__name__}: {_take_words(str(error))}"
    Path("outcome.json").write_text(json.dumps(outcome))
    sys.exit(0)  # not os._exit: MindSpore writes the order of execution when it ends


def _take_words(message: str) -> str:
    """An error's first sentences, without MindSpore's rulers, headings and the place in its sources."""
    lines = [line.strip() for line in message.partition("- C++ Call Stack")[0].splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("-"))[:400]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
