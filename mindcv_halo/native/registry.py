"""Which layers have native kernels. Each native class says it where it is defined, with `@native(Layer)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mindspore import nn

# Phrases for what kernels would not do as the cell at this path does it.
Check = Callable[[str, Any], Iterator[str]]
_Kind = TypeVar("_Kind", bound=type)


@dataclass(frozen=True)
class Native:
    """What `accelerate` knows of one portable class."""

    kind: type[nn.Cell]
    check: Check | None  # of as_built.py; None for a part of a training step, of which nobody changes anything
    alone: bool


NATIVE: dict[type[nn.Cell], Native] = {}


def native(layer: type[nn.Cell], check: Check | None = None, *, alone: bool = False) -> Callable[[_Kind], _Kind]:
    """Decorator: the class below does with kernels what `layer` does, and `accelerate` puts it in its place.

    Args:
        check: finds what somebody changed in such a layer and all in it.
        alone: whether it can be accelerated by itself, outside of a network.
    """

    def register(kind: _Kind) -> _Kind:
        NATIVE[layer] = Native(kind, check, alone)
        return kind

    return register


def has_kernels(cell: nn.Cell) -> bool:
    """Whether kernels can do the work of this cell."""
    return type(cell) in NATIVE


def is_called(cell: nn.Cell) -> bool:
    """Whether an attention or a gate between kernels is called as it is, and so may be anything."""
    return not has_kernels(cell) and type(cell) is not nn.Identity
