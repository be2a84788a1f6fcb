"""Fixtures for every test, the choice between most tests and all, and what closes a run.

That is a table of golden comparisons, and a line that says what was not tested, and how to get it tested.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore as ms
import numpy as np
import pytest
from support.lean import ask_less
from support.ways import MODES, WAYS, has_kernels

# PyNative mode hands every operator to another thread and spins until it has run it: several times the work, on a busy
# machine above all, for the same numbers. Programs that tests start are left alone, but for the ranks of a job.
ms.runtime.launch_blocking()

ask_less()


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers for a test, whatever ran before it."""
    np.random.seed(0)
    ms.set_seed(0)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest):
    """Run the test in both of MindSpore's modes; the value is "graph" or "pynative"."""
    before = ms.get_context("mode")
    ms.set_context(mode=MODES[request.param])
    yield request.param
    ms.set_context(mode=before)


@pytest.fixture
def pynative():
    """Run the test in PyNative mode: a cell that runs once is not worth compiling."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


@pytest.fixture
def graph():
    """Run the test in graph mode alone: what it looks for goes wrong there, or PyNative has a test of its own."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=before)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest):
    """As `mode`, and on native kernels, which ways.take brings a cell to.

    In PyNative mode: kernels are the same, and compiling takes most of the time. tests/modules/native have both modes.
    """
    if request.param == "native" and not has_kernels():
        pytest.skip("no native kernels: no C++ compiler here, or not the MindSpore that they fit")
    before = ms.get_context("mode")
    ms.set_context(mode=MODES.get(request.param, ms.PYNATIVE_MODE))
    yield request.param
    ms.set_context(mode=before)


# What provides a module or a program; for any other module, pip by its own name.
PROVIDERS = {
    "sklearn": "pip install scikit-learn",
    "mkdocs": "pip install mindcv_halo[docs]",
    "griffe": "pip install mindcv_halo[docs]",
    "selenium.webdriver": "pip install selenium",
    "chromium": "apt-get install chromium chromium-driver",
    "C++ compiler": "apt-get install g++",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "run what is marked thorough too, such as every golden in every way"
    parser.addoption("--thorough", action="store_true", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    words = "thorough: repeats in another way what a test of every run checks; runs with --thorough only"
    config.addinivalue_line("markers", words)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--thorough"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter) -> Iterator[None]:
    """Print how far each quantity of a golden was from the peer's, and how far it may be; and what was not tested."""
    rows = [
        row
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, row in getattr(report, "user_properties", ())
        if name == "golden"
    ]
    if rows:
        terminalreporter.section("distance from the peers")
        terminalreporter.write_line(f"{'model':34} {'mode':9} {'quantity':22} {'difference':>10} {'allowed':>10}")
        for model, mode_name, quantity, difference, allowed in sorted(rows):
            terminalreporter.write_line(f"{model:34} {mode_name:9} {quantity:22} {difference:10.1e} {allowed:10.1e}")
    result = yield
    line = name_what_was_not_tested(terminalreporter)
    if line:
        terminalreporter.write_line(line)
    return result


def name_what_was_not_tested(terminalreporter) -> str:
    reasons = Counter(how_to_test(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    parts = [f"{number} for want of {reason}" for reason, number in sorted(reasons.items())]
    if not terminalreporter.config.getoption("--thorough"):
        parts.append("what is marked thorough (make test-all)")
    return f"not tested here: {'; '.join(parts)}" if parts else ""


def how_to_test(skipped: str) -> str:
    """What is missing and where it comes from, in place of the words of one skip."""
    reason = skipped.removeprefix("Skipped: ")
    if match := re.search(r"could not import '([\w.]+)'", reason):
        return f"{match[1]} ({PROVIDERS.get(match[1], f'pip install {match[1]}')})"
    found = [f"{name} ({provider})" for name, provider in PROVIDERS.items() if name in reason]
    return found[0] if found else reason.removeprefix("there is no ")
