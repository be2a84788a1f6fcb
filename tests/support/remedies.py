"""What the tests of remedies share: an error that names a way out is provoked, and the way out is tried."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[2] / "mindcv_halo"
# Which test tries the errors of which files, and of all in which folders but for those that another test names.
ROOMS = {
    "settings": ("cli.py", "config", "errors.py"),
    "steps": ("loss", "optim", "scheduler"),
    "data": ("data",),
    "models": ("models", "native", "deploy"),
    "weights": ("models/weights", "models/model_factory.py", "models/helpers.py"),
    "runs": ("engine",),
    "tools": ("utils", "serving", "training", "runs", "report", "distributed", "files", "runtime.py"),
}
OURS = ("UserError", "NativeUnavailableError", "unknown_name")
# Where MindSpore takes none but Python's own, or a run ends.
OTHERS = ("ValueError", "TypeError", "RuntimeError", "TrainingStoppedError")
_WAYS_OUT = re.compile(
    r"^unknown|;|--\w|\b(give|take|leave|set|use|install|choose|pass|make|move|write|rename|put|correct|delete|create|"
    r"call|start|try|change|convert|turn|build|shrink|crop|enlarge|check|export|needs?)\b"
)


class Case(NamedTuple):
    said: str  # a pattern, with the remedy
    provoke: Callable[[Any], object]
    remedy: Callable[[Any], object]


class Site(NamedTuple):
    """A place in the sources where an error is made."""

    path: str
    first: int
    last: int
    text: str  # with {} for what it fills in
    kind: str  # the error's class


def files_of(room: str | None) -> list[Path]:
    """The files whose errors the test of a room tries; of None those that no test tries."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if _find_room(path.relative_to(PACKAGE)) == room]


def _find_room(path: Path) -> str | None:
    above = (path, *path.parents)  # from the file to the outermost folder
    return next((room for part in above for room, names in ROOMS.items() if part.as_posix() in names), None)


def text_of(call: ast.Call) -> str:
    is_name = call.func.id == "unknown_name"  # whose text is of the nearest names
    parts = ["unknown "] if is_name else []
    for node in call.args[:1] if is_name else call.args:
        for piece in node.values if isinstance(node, ast.JoinedStr) else [node]:
            parts.append(piece.value if isinstance(piece, ast.Constant) else "{}")
    return "".join(map(str, parts))


def list_sites(files: Iterable[Path]) -> list[Site]:
    """Every error that is raised, or made to be raised by a caller."""
    return [
        Site(str(path), node.lineno, node.end_lineno, text_of(node), node.func.id)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in OURS + OTHERS
    ]


def names_a_way_out(text: str) -> bool:
    return bool(_WAYS_OUT.search(text))


def site_of(error: Exception) -> tuple[str, int]:
    """The file and the line that raised it."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def is_met(site: Site, error: Exception) -> bool:
    """Whether an error is from there: by its line, or, of one that a function returned, by its text."""
    path, line = site_of(error)
    pattern = ".*".join(map(re.escape, site.text.split("{}")))
    if path == site.path and site.first <= line <= site.last:
        return True
    if (path == site.path or PACKAGE not in Path(path).parents) and re.fullmatch(pattern, str(error), re.DOTALL):
        return True
    return isinstance(error.__context__, ValueError) and is_met(site, error.__context__)  # which a caller completed


def try_all(
    cases: Sequence[Case],
    bench: Any,
    room: str,
    elsewhere: Mapping[str, str],
    counts: Callable[[str], bool] = names_a_way_out,
) -> None:
    """Provoke each error and try what it says; all of a room must be met, but those that stand `elsewhere`."""
    errors, wrong, tried = [], [], set()
    for case in cases:
        try:
            case.provoke(bench)
        except (ValueError, TypeError, RuntimeError) as error:
            errors.append(error)
            if not re.search(case.said, str(error)):
                wrong.append(f"{case.said} is not said: {error}")
        else:
            wrong.append(f"{case.said} is not said, nor anything else")
        if case.remedy in tried:
            continue
        tried.add(case.remedy)
        try:
            case.remedy(bench)
        except (ValueError, TypeError, RuntimeError) as error:
            wrong.append(f"{case.said}: its remedy does not work: {error}")
    assert not wrong, "\n".join(wrong)
    sites = [
        site for site in list_sites(files_of(room)) if (counts if site.kind in OURS else names_a_way_out)(site.text)
    ]
    untried = {
        f"{Path(site.path).name}:{site.first}: {site.text}"
        for site in sites
        if not any(is_met(site, error) for error in errors) and not any(part in site.text for part in elsewhere)
    }
    assert not untried, json.dumps(sorted(untried), indent=1)
    idle = [part for part in elsewhere if not any(part in site.text for site in sites)]
    assert not idle, f"no error says {idle}"
