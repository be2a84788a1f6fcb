"""The environment that MindSpore loads in: the user's own values win."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import mindspore as ms
import pytest

from mindcv_halo.errors import UserError
from mindcv_halo.runtime import FOLDERS, count_devices, find_device, share_processors, use_device

PRINT = "import mindcv_halo, os; print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"
DESCRIBE = "from mindcv_halo.runtime import describe_environment as describe; print(describe())"


def run(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("ONEDNN_MAX_CPU_ISA", "GLOG_v")}
    return subprocess.check_output([sys.executable, "-c", code], env={**clean, **environment}, text=True).strip()


def test_the_users_value_wins_and_is_said():
    value, described = run(f"{PRINT}; {DESCRIBE}", ONEDNN_MAX_CPU_ISA="AVX").split("\n", 1)
    assert value == "AVX" and "ONEDNN_MAX_CPU_ISA=AVX (yours)" in described


def count_heaps(**environment: str) -> int:
    """Of glibc's, in a process whose threads allocate at the same time."""
    code = """
import ctypes, re, threading
from mindcv_halo.runtime import share_heap
share_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
def allocate():
    together.wait()
    for _ in range(1000):
        libc.malloc(ctypes.c_size_t(5000))
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_stats()
"""
    plain = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return done.stderr.count("Arena ")


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc, whose heaps these are")


@needs_glibc
def test_threads_share_the_heap_unless_the_user_says_otherwise():
    assert count_heaps() == 1
    assert count_heaps(MALLOC_ARENA_MAX="4") > 1


@needs_glibc
def test_memory_below_what_is_in_use_is_given_back():
    """Of 64 MB in small pieces, of which every 16th stays, most is the system's again."""
    code = """
import os
from pathlib import Path
from mindcv_halo.runtime import give_back_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
pieces = [bytearray(b"x") * 4000 for _ in range(1 << 14)]
full = resident()
pieces = pieces[::16]
freed = resident()
give_back_memory()
print(full - freed, full - resident())
"""
    kept_by_glibc, kept_by_nobody = map(int, run(code).split())
    assert kept_by_glibc < 32 < kept_by_nobody


def test_an_import_that_came_first_is_said():
    assert "ONEDNN_MAX_CPU_ISA unset (MindSpore was imported before" in run(f"import mindspore; {DESCRIBE}")


def test_the_defaults_are_set(tmp_path):
    """MindSpore leaves nothing in the working directory: what it could not compile, it would write to rank_0/om there.

    And it is told how to compute, where the user says nothing.
    """
    code = (
        f"{PRINT}\nimport mindspore as ms\n"
        "class Wrong(ms.nn.Cell):\n    def construct(self, x): return x.absent\n"
        "ms.set_context(mode=0)\ntry: Wrong()(ms.Tensor(1.0))\nexcept AttributeError: print('refused')"
    )
    (tmp_path / "wrong.py").write_text(code)
    (tmp_path / "empty").mkdir()
    environ = {**os.environ, "MINDCV_HALO_HOME": str(tmp_path / "home"), "PYTHONPATH": os.getcwd()}
    for name in (*FOLDERS, "ONEDNN_MAX_CPU_ISA"):
        environ.pop(name, None)
    done = subprocess.run(
        [sys.executable, tmp_path / "wrong.py"], cwd=tmp_path / "empty", env=environ, capture_output=True, text=True
    )
    assert done.stdout == "AVX2\nrefused\n"
    assert list((tmp_path / "empty").iterdir()) == []
    assert (tmp_path / "home" / "mindspore" / "rank_0" / "om" / "analyze_fail.ir").exists()


def test_devices():
    assert find_device() in ("Ascend", "GPU", "CPU")
    assert find_device("CPU") == "CPU"
    with pytest.raises(UserError, match=r"device_target 'GPU' is not available here: this MindSpore has"):
        find_device("GPU")


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_a_device_among_several(monkeypatch, device):
    """As far as a machine without them goes: what MindSpore is asked for."""
    asked = []
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name in (device, "CPU"))
    monkeypatch.setattr(ms.hal, "device_count", lambda name: {device: 8}[name])
    monkeypatch.setattr(ms, "set_device", lambda *arguments: asked.append(arguments))
    assert find_device() == device and count_devices(device) == 8
    assert use_device(None, local_rank=3) == device
    assert asked == [(device, 3)]

    def refuse(*arguments):
        raise RuntimeError("The 'mindspore.set_device' can not be modified.")

    monkeypatch.setattr(ms, "set_device", refuse)
    with pytest.raises(UserError, match=rf"^device_target {device}: MindSpore already runs on CPU in this process"):
        use_device(device)
    assert use_device("CPU", local_rank=3) == "CPU"  # already so


@pytest.mark.parametrize(
    "allowed, local_size, expected",
    [
        (range(8), 2, [{0, 1, 2, 3}, {4, 5, 6, 7}]),
        (range(8), 3, [{0, 1}, {2, 3, 4}, {5, 6, 7}]),
        (range(2), 4, [{0}, {0}, {1}, {1}]),  # shared where there are too few
        (range(8), 1, [None]),
        (range(4, 8), 2, [None, None]),  # bound by the launcher or the user
    ],
)
def test_processes_of_a_machine_share_its_processors(monkeypatch, allowed, local_size, expected):
    bound: list[set[int] | None] = []
    monkeypatch.setattr(os, "cpu_count", lambda: max(allowed) + 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(allowed))
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, processors: bound.append(set(processors)))
    for local_rank in range(local_size):
        before = len(bound)
        share_processors(local_rank, local_size)
        if len(bound) == before:
            bound.append(None)
    assert bound == expected
    assert count_devices("CPU") == len(allowed)
