"""Channel counts that hardware likes."""

from __future__ import annotations


def make_divisible(value: float, divisor: int = 8, *, keep: float = 0.9) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, and at least `keep` times `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < keep * value else rounded
