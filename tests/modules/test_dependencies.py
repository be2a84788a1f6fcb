"""Whatever is imported is declared in pyproject.toml: as a requirement, or as an extra that an error names."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mindspore
import numpy as np
import pytest

from mindcv_halo.config import make_recipe
from mindcv_halo.deploy import read_metadata
from mindcv_halo.engine.train import train
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import read_weights, write_weights
from mindcv_halo.runs.state import load_state

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mindcv_halo"
# What a distribution's module is called, where it is another word.
MODULES = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "protobuf": "google"}
GUARDED_FOLDERS = {"serving": "serve"}  # the command asks require_server_library before it imports any of them
UNGUARDED = {"serving/server.py", "serving/limits.py"}  # which the command imports before that


def declared() -> dict[str, set[str]]:
    """The modules of the requirements, under "", and of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = {"": project["dependencies"], **project["optional-dependencies"]}
    names = {extra: [re.match(r"[\w-]+", text)[0] for text in texts] for extra, texts in told.items()}
    return {extra: {MODULES.get(name, name) for name in some} for extra, some in names.items()}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The first part of each foreign module that a file imports, and whether that happens when it is loaded itself."""

    def walk(node: ast.AST, at_once: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name.partition(".")[0], at_once) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and not child.level:
                yield child.module.partition(".")[0], at_once
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_once and not is_function)

    ours = {"mindcv_halo", *sys.stdlib_module_names}
    yield from ((name, at_once) for name, at_once in walk(ast.parse(path.read_text()), True) if name not in ours)


def test_every_import_is_declared():
    known = declared()
    requirements = known.pop("")
    assert requirements == {"mindspore", "numpy", "yaml", "PIL", "tqdm"}
    extras = set().union(*(modules for extra, modules in known.items() if extra not in ("dev", "docs")))
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        guarded = known[GUARDED_FOLDERS[name.partition("/")[0]]] if name.partition("/")[0] in GUARDED_FOLDERS else set()
        at_once = requirements | (set() if name in UNGUARDED else guarded)
        for module, is_at_once in imports(path):
            assert module in (at_once if is_at_once else requirements | extras), f"{name}: {module}"


def test_every_extra_that_a_text_names_is_declared():
    known = declared()
    texts = [path.read_text() for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]]
    named = {extra for text in texts for extra in re.findall(r"mindcv_halo\[(\w+)\]", text)}
    assert named and named <= known.keys()
    table = set(re.findall(r"^\| `(\w+)` \| ", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert known.keys() - {"", "docs", "dev"} <= table


def test_what_mindspore_brings_is_missed_in_words(monkeypatch, tmp_path):
    """And the extra that the words name brings it."""
    (tmp_path / "x.mindir").write_bytes(b"x")
    for name in ("x.safetensors", "x.pth", "x.h5"):
        (tmp_path / name).write_bytes(b"\x09" + bytes(7) + b"{")
    assert {"safetensors", "google"} <= declared()["files"]
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for purpose, use in {
        "checkpoint .*x.safetensors: reading it": lambda: read_weights(str(tmp_path / "x.safetensors")),
        "checkpoint .*x.pth: reading it": lambda: read_weights(str(tmp_path / "x.pth")),
        "writing .*y.safetensors": lambda: write_weights({"a": np.ones(1)}, tmp_path / "y.safetensors", {}),
        "reading .*x.safetensors": lambda: load_state(tmp_path / "x.safetensors"),
        "the state of a run": lambda: train(make_recipe({"device_target": "CPU", "data_dir": "absent"})),
    }.items():
        with pytest.raises(UserError, match=rf"^{purpose} needs safetensors; pip install mindcv_halo\[files\]$"):
            use()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5", "x.mindir", "x.pth", "x.safetensors"]
    monkeypatch.setitem(sys.modules, "mindspore.train.mind_ir_pb2", None)
    monkeypatch.delattr(mindspore.train, "mind_ir_pb2", raising=False)
    with pytest.raises(UserError, match=r"^reading .*x.mindir needs protobuf; pip install mindcv_halo\[files\]$"):
        read_metadata(tmp_path / "x.mindir")
