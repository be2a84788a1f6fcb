"""Settings that nothing comes of: somebody who gave one would wait for its effect in vain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature

Settings = Mapping[str, tuple[object, object, str]]  # value, default, and why the setting has no effect, or ""


class IdleSettingWarning(UserWarning):
    """A setting that has no effect beside the others."""


def find_idle(settings: Settings) -> str:
    """One line about the settings that have no effect, "" where there are none.

    One that has its default is not meant: nobody need have given it, and the recipe of a run holds all keys.
    """
    idle = [f"{name} {value} ({why})" for name, (value, default, why) in settings.items() if why and value != default]
    return f"no effect: {', '.join(idle)}" if idle else ""


def find_defaults(factory: Callable) -> dict[str, object]:
    """The default of each argument of a factory."""
    return {name: parameter.default for name, parameter in signature(factory).parameters.items()}


def warn_of_idle(origin: str, settings: Settings, stacklevel: int = 3) -> None:
    """Warn the caller of the factory that calls this of settings that have no effect."""
    text = find_idle(settings)
    if text:
        warnings.warn(f"{origin}: {text}", IdleSettingWarning, stacklevel=stacklevel)


@contextmanager
def collect_idle() -> Iterator[list[str]]:
    """Within, warnings of settings without an effect become lines of this list."""
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", IdleSettingWarning)
        show = warnings.showwarning

        def keep(message, category, *rest, **others) -> None:
            if issubclass(category, IdleSettingWarning):
                lines.append(str(message))
            else:
                show(message, category, *rest, **others)

        warnings.showwarning = keep
        yield lines
