"""Imports go one way, as CONTRIBUTING.md draws it, and siblings never import each other."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mindcv_halo"
# From the top: what stands on a floor may import from those below, and from nothing beside it but what BESIDE says.
FLOORS = (
    {"cli"},
    {"serving"},
    {"__init__"},
    {"engine"},
    {"config", "deploy", "native", "report", "utils"},
    {"data", "models", "loss", "optim", "scheduler", "training", "runs", "distributed"},
    {"runtime"},
    {"files", "idle_settings", "registration"},
    {"errors", "version"},
)
BESIDE = {("training", "distributed")}  # the step averages over ranks
STANDARD_LIBRARY_ONLY = [
    *("errors.py", "version.py", "models/specs.py", "models/default_cfg.py", "models/registry.py"),
    *("models/layers/checks.py", "models/layers/rounding.py"),
    *("distributed/launchers.py", "distributed/rendezvous.py", "distributed/scheduler_process.py"),
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
    level = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert rooms - {"__pycache__"} == level.keys()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imported(path):
            other = name.split(".")[1] if name.startswith("mindcv_halo.") else room
            assert other == room or level[other] > level[room] or (room, other) in BESIDE, f"{path} imports {name}"


def test_data_about_models_needs_no_framework():
    for name in STANDARD_LIBRARY_ONLY:
        foreign = {module.split(".")[0] for module in imported(PACKAGE / name)} - {"mindcv_halo", "__future__"}
        assert foreign <= sys.stdlib_module_names, f"{name}: {foreign}"


def test_layers_know_no_models():
    for path in (PACKAGE / "models" / "layers").glob("*.py"):
        ours = {name for name in imported(path) if name.startswith("mindcv_halo.")}
        assert all(name.startswith(("mindcv_halo.models.layers", "mindcv_halo.errors")) for name in ours), path


def test_the_environment_is_read_in_one_place():
    """Or handed to distributed/launchers.py as it is."""
    handed_over = re.compile(r"find_(topology|rank)\(os\.environ\b")
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "os.environ" in handed_over.sub("", path.read_text())
    }
    assert readers <= {"runtime.py", "distributed/join.py", "files/path.py", "__init__.py"}
