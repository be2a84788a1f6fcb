"""How far losses of one training are from those of another, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHAOS = 0.01  # of the loss: from where on rounding has grown into another training


def distances(losses: Sequence[float], truth: Sequence[float]) -> list[float]:
    """|loss - truth| / truth of each step."""
    return [abs(loss - true) / true for loss, true in zip(losses, truth, strict=True)]


def find_chaos(relative: Sequence[float]) -> int | None:
    """The first step, from 0, that is further off than CHAOS; None where there is none."""
    return next((step for step, distance in enumerate(relative) if distance > CHAOS), None)


def compare_losses(losses: Mapping[str, Sequence[float]], truth: str) -> dict[str, Any]:
    """Of every side but `truth`: the largest distance, its step, the step of chaos, and the largest before any chaos.

    The last compares the sides over the same steps: those before the first side's chaos in full precision.
    """
    relative = {side: distances(values, losses[truth]) for side, values in losses.items() if side != truth}
    chaos = {side: find_chaos(values) for side, values in relative.items()}
    steps = [step for side, step in chaos.items() if step is not None and side.endswith("float32")]
    calm = min(steps, default=len(losses[truth]))
    return {
        "calm_steps": calm,
        "sides": {
            side: {
                "largest": max(values),
                "at_step": values.index(max(values)),
                "chaos_at_step": chaos[side],
                "largest_while_calm": max(values[:calm], default=0.0),
            }
            for side, values in relative.items()
        },
    }
