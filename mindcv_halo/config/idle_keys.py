"""Keys of a recipe that nothing comes of beside its other keys: each key's option says when."""

from __future__ import annotations

from ..idle_settings import find_idle
from .options import Recipe, flatten, list_options


def find_idle_keys(recipe: Recipe) -> str:
    """One line about the keys that have no effect, "" where there are none."""
    values, options = flatten(recipe), list_options()
    return find_idle({key: (values[key], option.default, option.idle(recipe)) for key, option in options.items()})
