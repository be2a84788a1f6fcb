"""Tables into which the files of a package enter what they define, so that nothing else need know of a new file."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def import_modules(package: str) -> None:
    """Import every module of a package: what each of them registers is in the package's table then."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
