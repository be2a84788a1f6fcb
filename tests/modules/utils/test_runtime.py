"""The environment that MindSpore loads in: the user's own values win."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mindcv_halo.errors import UserError
from mindcv_halo.utils.runtime import find_device

PRINT = "import mindcv_halo, os; print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"
DESCRIBE = "from mindcv_halo.utils.runtime import describe_environment as describe; print(describe())"


def run(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("ONEDNN_MAX_CPU_ISA", "GLOG_v")}
    return subprocess.check_output([sys.executable, "-c", code], env={**clean, **environment}, text=True).strip()


def test_the_default_is_set():
    assert run(PRINT) == "AVX2"


def test_the_users_value_wins_and_is_said():
    assert run(PRINT, ONEDNN_MAX_CPU_ISA="AVX") == "AVX"
    assert "ONEDNN_MAX_CPU_ISA=AVX (yours)" in run(DESCRIBE, ONEDNN_MAX_CPU_ISA="AVX")


def test_an_import_that_came_first_is_said():
    assert "ONEDNN_MAX_CPU_ISA unset (MindSpore was imported before" in run(f"import mindspore; {DESCRIBE}")


def test_devices():
    assert find_device() in ("Ascend", "GPU", "CPU")
    assert find_device("CPU") == "CPU"
    with pytest.raises(UserError, match=r"device_target 'GPU' is not available here: this MindSpore has"):
        find_device("GPU")
