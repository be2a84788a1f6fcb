"""Kernels are compiled once for each machine, and whatever is in the way is named."""

from __future__ import annotations

import stat

import pytest
from support.ways import has_kernels

from mindcv_halo.native import NativeUnavailableError
from mindcv_halo.native.build import LIBRARY, ONEDNN, SOURCES, build_kernels

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

COMPILER = """#!/bin/sh
test "$1" = --version && echo fake && exit
echo run >> {log}
{action}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache folder; what has been built before is forgotten for the time of the test."""
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path / "home"))
    build_kernels.cache_clear()
    yield tmp_path / "home"
    build_kernels.cache_clear()


@pytest.fixture
def fake_compiler(tmp_path, monkeypatch):
    """A compiler that does `action`, and its log with a line for each run."""

    def install(action: str):
        log, path = tmp_path / "log", tmp_path / "c++"
        path.write_text(COMPILER.format(log=log, action=action))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CXX", str(path))
        return log

    return install


def test_is_built_once(home, fake_compiler):
    log = fake_compiler('while [ "$1" != -o ]; do shift; done; echo library > "$2"')
    folder = build_kernels()
    runs = log.read_text()
    assert runs == "run\n" * (1 + len([*SOURCES.glob("*.cpp")]))  # one for each source, and one to link them
    build_kernels.cache_clear()
    assert build_kernels() == folder
    assert log.read_text() == runs
    assert sorted(path.name for path in folder.iterdir()) == sorted((LIBRARY, ONEDNN))
    assert [path.name for path in (home / "native").iterdir()] == [folder.name]


@pytest.mark.parametrize("missing", [LIBRARY, ONEDNN])
def test_what_was_removed_is_built_anew(home, fake_compiler, missing):
    fake_compiler('while [ "$1" != -o ]; do shift; done; echo library > "$2"')
    (build_kernels() / missing).unlink()
    build_kernels.cache_clear()
    assert sorted(path.name for path in build_kernels().iterdir()) == sorted((LIBRARY, ONEDNN))


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(home, fake_compiler):
    fake_compiler("echo 'no such instruction' >&2; exit 1")
    with pytest.raises(NativeUnavailableError, match="no such instruction"):
        build_kernels()
    assert not list((home / "native").iterdir())


def test_without_a_compiler(home, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NativeUnavailableError, match="no-such-compiler.*install one, or run without"):
        build_kernels()


def test_a_cache_folder_that_cannot_be_made(home, fake_compiler, tmp_path):
    fake_compiler("exit 0")
    (tmp_path / "home").write_text("a file is in the way")
    with pytest.raises(NativeUnavailableError, match="MINDCV_HALO_HOME"):
        build_kernels()
