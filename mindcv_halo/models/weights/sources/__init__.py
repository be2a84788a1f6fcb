"""Whose file: the rules from a peer's names to ours. Each module here is a source, found by its SOURCE."""

from importlib import import_module
from pkgutil import iter_modules

SOURCES = tuple(import_module(f"{__name__}.{module.name}").SOURCE for module in iter_modules(__path__))
