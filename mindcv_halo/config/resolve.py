"""A frozen recipe, and what a command finds out about it: the one place where a recipe's values change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .options import Recipe, list_options

# Facts about a recipe, by key.
FITTING_WEIGHTS: Mapping[str, Any] = MappingProxyType({"reset_head": False})
"""For inference: the recipe may be that of a training run whose head was new; its weights fit as they are."""
WEIGHTS_FROM_STATE: Mapping[str, Any] = MappingProxyType({"ckpt_path": "", "pretrained": False, "resume_opt": False})
"""For a run that goes on: its weights, and its optimizer, come from its state."""
NO_WEIGHTS_TO_FIT: Mapping[str, Any] = MappingProxyType({"reset_head": None, "resize_pos": False})
"""For a network that gets its weights later: nothing of them is to be changed."""
PLAIN: Mapping[str, Any] = MappingProxyType({"native_kernels": False, "precision": "float32", "fuse_bn": False})
"""For a network that others are made from, or compared with."""


def resolve(recipe: Recipe, facts: Mapping[str, Any]) -> Recipe:
    """The recipe with `facts`, by key, in place of what it says: `resolve(recipe, {"dialect": "timm"})`."""
    options = list_options()
    changes: dict[str, dict[str, Any]] = {}
    for key, value in facts.items():
        changes.setdefault(options[key].group, {})[options[key].name] = value
    return replace(recipe, **{name: replace(getattr(recipe, name), **values) for name, values in changes.items()})
