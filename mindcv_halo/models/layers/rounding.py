"""Channel counts that hardware likes."""

from __future__ import annotations

from .checks import check_positive, check_whole


def make_divisible(value: float, divisor: int = 8, min_value: int | None = None, *, keep: float = 0.9) -> int:
    """The multiple of `divisor` nearest to `value`, at least `min_value`, and at least `keep` times `value`.

    `min_value` is by default `divisor`. Raises UserError for what is no positive number.
    """
    check_positive("make_divisible", "value", value)
    check_whole("make_divisible", "divisor", divisor)
    rounded = max(min_value or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < keep * value else rounded
