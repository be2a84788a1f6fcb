"""`import timm_without_torchvision as timm`: timm imports names from torchvision, and the models use none of them.

torchvision has no CPU build beside the torch that is used here.
"""

from __future__ import annotations

import sys
from types import ModuleType

_MODES = ("NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS")
_PARTS = ("ops", "ops.misc", "transforms", "transforms.functional", "datasets", "models", "utils")


class _Absent(ModuleType):
    """A module in which every name is an empty class; timm's table of interpolations wants its keys to differ."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {mode: number for number, mode in enumerate(_MODES)})


for _name in ("torchvision", *(f"torchvision.{part}" for part in (*_PARTS, "models.feature_extraction"))):
    _module = _Absent(_name)
    _module.__path__ = []
    sys.modules[_name] = _module
    _parent, _, _child = _name.rpartition(".")
    if _parent:
        setattr(sys.modules[_parent], _child, _module)

from timm import create_model  # noqa: E402

__all__ = ["create_model"]
