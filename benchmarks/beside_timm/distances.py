"""How far losses of one training are from those of another, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CHAOS = 0.01  # of the loss: from where on rounding has grown into another training
_ENDS = (1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # of the spans of steps that a table shows


def distances(losses: Sequence[float], truth: Sequence[float]) -> list[float]:
    """|loss - truth| / truth of each step."""
    return [abs(loss - true) / true for loss, true in zip(losses, truth, strict=True)]


def find_chaos(relative: Sequence[float]) -> int | None:
    """The first step, from 1, that is further off than CHAOS, or has no number; None where there is none."""
    return next((step for step, distance in enumerate(relative, 1) if not distance <= CHAOS), None)


def list_spans(num_steps: int) -> list[tuple[int, int]]:
    """First and last step, from 1, of the spans into which `num_steps` are cut: 1, 2 to 10, 11 to 20, ..."""
    ends = [*(end for end in _ENDS if end < num_steps), num_steps]
    return list(zip([1, *(end + 1 for end in ends)], ends, strict=False))


def compare_losses(losses: Mapping[str, Sequence[float]], truth: str) -> dict[str, Any]:
    """Of every side but `truth`: the largest distance in each span and while calm, and the step of chaos.

    While calm compares the sides over the same steps: those before the first side's chaos in full precision.
    """
    relative = {side: distances(values, losses[truth]) for side, values in losses.items() if side != truth}
    chaos = {side: find_chaos(values) for side, values in relative.items()}
    starts = [step for side, step in chaos.items() if step is not None and side.endswith("float32")]
    num_steps = len(losses[truth])
    calm = min(starts, default=num_steps + 1) - 1
    spans = list_spans(num_steps)
    return {
        "calm_steps": calm,
        "spans": spans,
        "sides": {
            side: {
                "largest": [_find_largest(values[first - 1 : last]) for first, last in spans],
                "chaos_at_step": chaos[side],
                "largest_while_calm": _find_largest(values[:calm]),
            }
            for side, values in relative.items()
        },
    }


def _find_largest(values: Sequence[float]) -> float:
    """The largest, 0 of none; what is no number is larger than all others."""
    return max((math.inf if math.isnan(value) else value for value in values), default=0.0)
