"""The errors that a user can cause: the scripts print them as one line and exit with status 2.

Everything else that is raised is a defect, of ours or MindSpore's: it keeps its traceback, or in a run and on ranks of
several is one line that names the file with all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 300  # characters of a summary


class UserError(ValueError):
    """Bad input. The text names the thing, the value, the rule and the way out."""


class UnknownNameError(UserError, KeyError):
    """A name that is in no table of ours; a KeyError too, as MindCV raises for an unknown recipe key."""

    __str__ = ValueError.__str__  # KeyError would print the repr of the text


class TrainingStoppedError(RuntimeError):
    """A run that cannot go on: its loss is not finite, its disk is full, or what it met was not expected.

    The scripts exit with status 1.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for `name`, which is no known `kind`; it suggests the nearest known names, or lists them all."""
    name, known = str(name), sorted(known)
    nearest = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(known)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def summarise_error(error: BaseException) -> str:
    """Type and cause in one line; MindSpore's texts go on with call stacks and the lines of the network."""
    lines = []
    for line in str(error).replace("#umsg#", "\n").splitlines():
        if "Call Stack" in line or "Traceback" in line:
            break
        lines.append(line.strip().removeprefix("- ") if line.strip("- ") else "")  # titles stand between rulers
    words = " ".join(" ".join(lines).split())
    return f"{type(error).__name__}: {words if len(words) <= _LONGEST else words[: _LONGEST - 4] + ' ...'}"
