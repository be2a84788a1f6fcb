"""What settings of transforms may be. Each raises UserError that names the setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import UserError


def check_probabilities(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} {value} must be a probability, from 0 to 1")


def check_ratios(**bounds: Sequence[float]) -> None:
    """Bounds of what is above 0."""
    for name, pair in bounds.items():
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] < math.inf:
            raise UserError(f"{name} {tuple(pair)} must be two numbers above 0, the smaller first")


def check_shares(**bounds: Sequence[float]) -> None:
    """Bounds of a share of an image's area."""
    check_ratios(**bounds)
    for name, pair in bounds.items():
        if pair[1] > 1:
            raise UserError(f"{name} {tuple(pair)} must be shares of the image's area, of at most 1")
