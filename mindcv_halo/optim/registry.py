"""Which optimizers there are: each file of this package registers its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from types import MappingProxyType
from typing import TypeVar

from mindspore import nn

# The options of create_optimizer that not every optimizer has.
_OPTIONS = ("momentum", "nesterov", "schedule_decay", "eps", "beta1", "beta2")
_NONE: Mapping[str, object] = MappingProxyType({})

Optimizer = TypeVar("Optimizer", bound=type[nn.Optimizer])


@dataclass(frozen=True)
class RegisteredOptimizer:
    """A class by its name in a recipe.

    keywords: its keyword for each option of create_optimizer that it has.
    implied: keywords that the name stands for.
    """

    cell: type[nn.Optimizer]
    keywords: Mapping[str, str]
    implied: Mapping[str, object]


OPTIMIZERS: dict[str, RegisteredOptimizer] = {}


def register_optimizer(
    name: str, keywords: Mapping[str, str] | None = None, implied: Mapping[str, object] = _NONE
) -> Callable[[Optimizer], Optimizer]:
    """Above a class: `name` is a value of the recipe's key `opt`.

    The constructor tells which options it has, unless `keywords` do: its own word for each option.
    """

    def register(cell: Optimizer) -> Optimizer:
        own = {option: option for option in _OPTIONS if option in signature(cell.__init__).parameters}
        OPTIMIZERS[name] = RegisteredOptimizer(cell, own if keywords is None else keywords, implied)
        return cell

    return register
