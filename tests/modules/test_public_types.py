"""A type checker sees what the public functions take and give."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.limits import LAST_RESORT

import mindcv_halo
from mindcv_halo import engine
from mindcv_halo.config import parse as config
from mindcv_halo.models import weights

ROOT = Path(__file__).parents[2]
TYPING = ROOT / "tests" / "typing"
MODULES = (mindcv_halo, engine, config, weights)


def public_callables() -> list[tuple[str, object]]:
    found = []
    for module in MODULES:
        names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        for name in names:
            value = getattr(module, name)
            if inspect.isfunction(value) and value.__module__.startswith("mindcv_halo"):
                found.append((f"{module.__name__}.{name}", value))
    return found


def test_every_argument_has_a_type():
    bare = []
    for name, function in public_callables():
        signature = inspect.signature(function)
        named = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        bare += [f"{name}({item.name})" for item in named if item.annotation is item.empty]
        bare += [f"{name} ->"] * (signature.return_annotation is signature.empty)
    assert bare == []


def check(file: Path) -> list[str]:
    """mypy's errors, without those inside the library."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--follow-imports=silent", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LAST_RESORT)
    return [line for line in done.stdout.splitlines() if file.name in line and ": error:" in line]


def test_right_use():
    assert check(TYPING / "use_of_the_library.py") == []


def test_wrong_use():
    file = TYPING / "misuse_of_the_library.py"
    lines = {int(re.search(r":(\d+): ", error)[1]) for error in check(file)}
    text = file.read_text().splitlines()
    wrong = {number for number, line in enumerate(text, 1) if re.match(r"\w+\(", line)}
    assert len(wrong) == 6 and lines == wrong
