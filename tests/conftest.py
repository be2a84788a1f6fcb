"""Fixtures for every test, and the table of golden comparisons that closes a run."""

from __future__ import annotations

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore as ms
import numpy as np
import pytest
from support.ways import MODES, has_kernels

# PyNative mode hands every operator to another thread and spins until it has run it: several times the work, on a busy
# machine above all, for the same numbers. Programs that tests start are left alone.
ms.runtime.launch_blocking()


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


@pytest.fixture(params=[*MODES, "native"])
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


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what the golden tests recorded: how far each quantity was from the peer's, and how far it may be."""
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
