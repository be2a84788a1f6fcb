"""Which losses there are: each file of this package registers its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import TypeVar

from mindspore import nn

from ..errors import unknown_name

# What the constructor of a loss calls each setting of create_loss.
_ARGUMENTS = {"weight": "weight", "reduction": "reduction", "label_smoothing": "smoothing", "aux_factor": "aux_factor"}

Loss = TypeVar("Loss", bound=type[nn.LossBase])


@dataclass(frozen=True)
class RegisteredLoss:
    """A class by its name in a recipe.

    arguments: what its constructor calls each setting of create_loss that it has.
    compares_copies: whether a batch must hold augmented copies of each image, which aug_splits makes.
    """

    name: str
    cell: type[nn.LossBase]
    arguments: dict[str, str]
    compares_copies: bool = False


LOSSES: dict[str, RegisteredLoss] = {}  # by their names in lower case


def register_loss(name: str, *, compares_copies: bool = False) -> Callable[[Loss], Loss]:
    """Above a class: `name` is a value of the recipe's key `loss`, and the constructor tells which settings it has."""

    def register(cell: Loss) -> Loss:
        own = signature(cell.__init__).parameters
        arguments = {setting: argument for setting, argument in _ARGUMENTS.items() if argument in own}
        LOSSES[name.lower()] = RegisteredLoss(name, cell, arguments, compares_copies)
        return cell

    return register


def find_loss(name: str) -> RegisteredLoss:
    """The loss of that name, in any case. Raises UserError where there is none."""
    if name.lower() not in LOSSES:
        raise unknown_name("loss", name.lower(), LOSSES)
    return LOSSES[name.lower()]
