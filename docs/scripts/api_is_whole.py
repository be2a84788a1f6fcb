"""MkDocs calls this before it builds: every public name must be documented, and stand on a page of docs/api/."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from griffe import GriffeLoader, Object

LOG = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).parents[2]
# What documents tell people to import from.
PACKAGES = ("models", "data", "loss", "optim", "scheduler", "engine", "native", "deploy", "utils")


def on_pre_build(config: object) -> None:
    for problem in find_problems():
        LOG.warning(problem)  # which ends a strict build


def find_problems() -> list[str]:
    """A line for each public name that lacks a docstring, or that no page shows."""
    loader = GriffeLoader(search_paths=[str(ROOT)])
    package = loader.load("mindcv_halo", try_relative_path=False)
    loader.resolve_aliases(implicit=True)
    shown = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        shown |= set(re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    problems = [f"docs/api shows {name}, which does not exist" for name in shown if not _exists(package, name)]
    missing = [name for name in PACKAGES if f"mindcv_halo.{name}" not in shown]
    problems += [f"mindcv_halo.{name} is public and on no page of docs/api" for name in missing]
    for name in shown:
        if _exists(package, name):
            problems += _list_undocumented(package[name.partition(".")[2]])
    return problems


def _exists(package: Object, name: str) -> bool:
    try:
        package[name.partition(".")[2]]
    except KeyError:
        return False
    return True


def _list_undocumented(module: Object) -> list[str]:
    names = module.exports or [name for name, member in module.members.items() if member.is_public]
    found = []
    for name in map(str, names):
        member = module.members.get(name)
        if member is None or member.is_module or member.is_attribute:
            continue
        if not member.has_docstring:
            found.append(f"{module.path}.{name} is public and has no docstring")
    return found
