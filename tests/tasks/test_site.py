"""The site builds, strictly: no broken link, no page outside the navigation, no public name without a docstring."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.limits import LAST_RESORT

ROOT = Path(__file__).parents[2]


def build(config: Path, site: Path) -> subprocess.CompletedProcess:
    """As `make docs` does; with --quiet MkDocs would not count warnings either."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    return subprocess.run(command, cwd=config.parent, capture_output=True, text=True, timeout=LAST_RESORT)


@pytest.fixture(scope="module")
def mkdocs() -> None:
    pytest.importorskip("mkdocs", reason="pip install mindcv_halo[docs]")


def test_it_builds(mkdocs, tmp_path):
    done = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "api" / "models" / "index.html").read_text()
    assert 'id="mindcv_halo.models.create_model"' in page and "drop_path_rate" in page
    assert '<script src="http' not in page and "fonts.googleapis" not in page


@pytest.mark.parametrize(
    "text, warnings",
    [
        ("[nowhere](absent.md) [no](training.md#absent) [none](../README.md)", ("absent.md", "#absent", "README.md")),
        ("::: mindcv_halo.absent", ("mindcv_halo.absent",)),
    ],
)
def test_a_page_that_leads_nowhere_fails(mkdocs, tmp_path, text, warnings):
    """With the site's own settings, on two pages, which build without `text`."""
    (tmp_path / "mindcv_halo").symlink_to(ROOT / "mindcv_halo")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "training.md").write_text("# Training\n")
    page = tmp_path / "docs" / "index.md"
    page.write_text(f"# Page\n\n[there](training.md#training)\n\n{text}\n")
    settings = {"INHERIT": str(ROOT / "mkdocs.yml"), "nav": ["index.md", "training.md"], "hooks": []}
    (tmp_path / "mkdocs.yml").write_text(json.dumps(settings))
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    lines = [line for line in said.splitlines() if line.startswith(("WARNING", "ERROR"))]  # what stops it
    assert all(any(warning in line for line in lines) for warning in warnings), said
    assert sum(line.startswith("WARNING") for line in lines) <= len(warnings), said  # and nothing else


def test_an_undocumented_name_is_found(tmp_path, monkeypatch):
    pytest.importorskip("griffe")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "scripts"))
    import api_is_whole

    assert api_is_whole.find_problems() == []
    package = tmp_path / "mindcv_halo"
    for name in api_is_whole.PACKAGES:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text('__all__ = ["fold"]\n\ndef fold():\n    """Folds."""\n')
    (package / "__init__.py").write_text("")
    (package / "loss" / "__init__.py").write_text('__all__ = ["fold"]\n\ndef fold():\n    pass\n')
    (tmp_path / "docs" / "api").mkdir(parents=True)
    (tmp_path / "docs" / "api" / "all.md").write_text("::: mindcv_halo.loss\n")
    monkeypatch.setattr(api_is_whole, "ROOT", tmp_path)
    problems = api_is_whole.find_problems()
    assert "mindcv_halo.loss.fold is public and has no docstring" in problems
    assert "mindcv_halo.models is public and on no page of docs/api" in problems
