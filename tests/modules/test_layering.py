"""Imports go one way, as CONTRIBUTING.md draws it, and siblings never import each other."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mindcv_halo"
SIBLINGS = {"data", "loss", "models", "optim", "scheduler"}
LEAVES = {"errors", "version"}
# What each part of the package may import from the rest of it.
ALLOWED = {
    **{sibling: {"utils"} | LEAVES for sibling in SIBLINGS},
    "deploy": {"models", "utils"} | LEAVES,
    "native": {"models", "optim", "utils"} | LEAVES,
    "utils": LEAVES,
    "errors": set(),
    "version": set(),
    "options": LEAVES,
    "option_types": {"options"} | LEAVES,
    "config": {"options", "option_types"} | LEAVES,
    "engine": SIBLINGS | {"deploy", "native", "utils", "config", "options"} | LEAVES,
    "serving": {"engine", "utils"} | LEAVES,
    "cli": {"engine", "serving", "config", "models", "utils"} | LEAVES,
    "__init__": SIBLINGS | {"engine", "native", "utils"} | LEAVES,
}
STANDARD_LIBRARY_ONLY = [
    *("errors.py", "version.py", "models/specs.py", "models/default_cfgs.py", "models/registry.py"),
    *("models/layers/checks.py", "models/layers/rounding.py"),
    *("utils/topology.py", "utils/rendezvous.py", "utils/scheduler_process.py"),
]


def imported(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports; ours start with mindcv_halo."""
    package = ("mindcv_halo", *path.relative_to(PACKAGE).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            names.add(module)
            if module == "mindcv_halo":
                names |= {f"mindcv_halo.{alias.name}" for alias in node.names}
    return names


def test_imports_go_one_way():
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("mindcv_halo.")}
        assert ours <= ALLOWED[part] | {part}, f"{path}: {ours - ALLOWED[part] - {part}}"


def test_data_about_models_needs_no_framework():
    for name in STANDARD_LIBRARY_ONLY:
        foreign = {module.split(".")[0] for module in imported(PACKAGE / name)} - {"mindcv_halo", "__future__"}
        assert foreign <= sys.stdlib_module_names, f"{name}: {foreign}"


def test_layers_know_no_models():
    for path in (PACKAGE / "models" / "layers").glob("*.py"):
        ours = {name for name in imported(path) if name.startswith("mindcv_halo.")}
        assert all(name.startswith(("mindcv_halo.models.layers", "mindcv_halo.errors")) for name in ours), path


def test_the_environment_is_read_in_one_place():
    """Or handed to utils/topology.py as it is."""
    handed_over = re.compile(r"find_(topology|rank)\(os\.environ\b")
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "os.environ" in handed_over.sub("", path.read_text())
    }
    assert readers <= {"utils/runtime.py", "utils/distributed.py", "utils/path.py", "__init__.py"}
