"""Which schedules there are: each file of this package registers its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass

from ..errors import UserError

MILESTONES = "multi_step_decay_milestones (milestones)"  # the recipe's key, and the argument of create_scheduler


@dataclass(frozen=True)
class Plan:
    """What happens after the warm-up. `epochs` may be 0; `decay_epochs` is None when the decay fills them."""

    _: KW_ONLY
    lr: float
    min_lr: float
    steps_per_epoch: int
    epochs: int
    decay_epochs: int | None
    decay_rate: float
    milestones: tuple[int, ...]
    num_cycles: int
    cycle_decay: float

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def length(self) -> int:
        """Epochs that the whole decay takes; more than `epochs` when the end is to be cut off."""
        return self.decay_epochs or max(self.epochs, 1)

    def hold(self, rates: list[float], final: float) -> list[float]:
        """`rates` cut or, with `final`, filled to the steps there are."""
        return rates[: self.steps] + [final] * (self.steps - len(rates))

    def bound(self, rates: list[float]) -> list[float]:
        """`rates`, but none below min_lr."""
        return [max(rate, self.min_lr) for rate in rates]


@dataclass(frozen=True)
class Curve:
    """The rates after the warm-up.

    start: the rate at which the warm-up ends.
    rates: one for each of plan.steps.
    decay_epochs: those that the whole decay was asked to take; 0 where it takes what the warm-up leaves, or has no end.
    """

    start: float
    rates: list[float]
    decay_epochs: int = 0


Build = Callable[[Plan], Curve]


@dataclass(frozen=True)
class Schedule:
    """A schedule by its name in a recipe; `uses` are the settings that it has, of those that not every schedule has."""

    build: Build
    uses: frozenset[str]


SCHEDULES: dict[str, Schedule] = {}


def register_schedule(*names: str, uses: Collection[str] = ()) -> Callable[[Build], Build]:
    """Above a function from a Plan to a Curve: `names` are values of the recipe's key `scheduler`.

    `uses` are out of min_lr, decay_epochs, decay_rate, milestones, num_cycles and cycle_decay. The function's docstring
    is a line of the documents.
    """

    def register(build: Build) -> Build:
        for name in names:
            SCHEDULES[name] = Schedule(build, frozenset(uses))
        return build

    return register


def check_count(name: str, value: int, least: int) -> None:
    """Raises UserError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} {value!r} must be a whole number of at least {least}")
