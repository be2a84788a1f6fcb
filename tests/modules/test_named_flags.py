"""What a text names exists: a flag is one of the command that says it, a word in an error is somebody's argument."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mindcv_halo.cli import COMMANDS, main
from mindcv_halo.config.options import list_options

PACKAGE = Path(__file__).parents[2] / "mindcv_halo"
WITH_RECIPE = ("train", "validate", "infer", "serve", "export")
# Which commands say what stands in a file: all of these must have the flags that it names.
SPEAKERS = {
    "config/parse.py": WITH_RECIPE,
    "deploy/air.py": ("export",),
    "engine/convert.py": ("convert",),
    "engine/validate.py": ("validate",),
    "engine/explain.py": ("infer",),
    "engine/export.py": ("export",),
    "engine/infer.py": ("infer", "serve"),
    "engine/labels.py": ("validate", "infer", "serve", "export"),
    "engine/setup.py": WITH_RECIPE,
    "engine/batches.py": ("train",),
    "engine/resume.py": ("train",),
    "engine/train.py": ("train",),
    "engine/used_keys.py": ("validate", "infer", "serve"),
    "models/weights/open.py": ("convert",),
    "native/build.py": WITH_RECIPE,
    "native/operators.py": WITH_RECIPE,
    "serving/server.py": ("serve",),
    "distributed/join.py": WITH_RECIPE,
}
ANY_COMMAND = {"help", "name", "config"}  # --name value stands for any flag
# Of the compiler, of mpirun and of msrun.
OTHER_PROGRAMS = {
    ("native/build.py", "version"),
    ("distributed/join.py", "map-by"),
    ("distributed/launchers.py", "master_port"),
}
OWN_FUNCTIONS = {"list_command": "list", "_write": "infer"}
# Words that no code of ours defines.
OF_OTHERS = {
    *("state_dict", "load_state_dict"),  # torch's
    "mindcv_halo",
}
_NAMES = re.compile(r"(?<![\w./{-])([a-z]+(?:_[a-z]+)+|[a-z]+(?==[\w'{]))(?![\w./\]-])")


def texts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def flags_of(capsys, command: str) -> set[str]:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return set(re.findall(r"--(\w+)", capsys.readouterr().out)) | {"config"}


def test_every_flag_that_a_text_names(capsys):
    flags = {command: flags_of(capsys, command) for command in COMMANDS}
    speakers = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        for text, line in texts(tree):
            for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text):
                if flag in ANY_COMMAND or (name, flag) in OTHER_PROGRAMS:
                    continue
                speakers.add(name)
                if name == "cli.py":
                    inside = [node.name for node in functions if node.lineno <= line <= node.end_lineno]
                    own = [OWN_FUNCTIONS.get(function, function) for function in inside]
                    commands = [command for command in own if command in flags] or ["validate"]  # its table of flags
                else:
                    assert name in SPEAKERS, f"{name}:{line} names --{flag}: who says that?"
                    commands = SPEAKERS[name]
                lacking = [command for command in commands if flag not in flags[command]]
                assert not lacking, f"{name}:{line} names --{flag}, which {lacking} has not"
    assert speakers - {"cli.py"} == SPEAKERS.keys() - {"config/parse.py"} | (speakers & {"config/parse.py"})


def defined_names() -> set[str]:
    """Arguments, functions, classes, attributes and keys that the package has."""
    options = list_options()
    names = {*options, *(choice for option in options.values() for choice in option.choices if isinstance(choice, str))}
    for path in PACKAGE.rglob("*.py"):
        names.add(path.stem)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                names |= {item.value for item in node.args[1:2] if isinstance(item, ast.Constant)}
            elif isinstance(node, ast.Dict):
                names |= {item.value for item in node.keys if isinstance(item, ast.Constant)}
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.AnnAssign | ast.keyword):
                names.add(getattr(node, "arg", None) or getattr(getattr(node, "target", None), "id", ""))
    return names


def test_every_name_in_an_error_is_somebodys():
    known = defined_names() | OF_OTHERS
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_error = isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error")
            if not is_error:
                continue
            for argument in node.args:
                for text, line in texts(argument):
                    for name in _NAMES.findall(text):
                        assert name in known, f"{path.relative_to(PACKAGE)}:{line}: {name}"
