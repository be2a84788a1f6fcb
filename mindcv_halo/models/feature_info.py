"""What there is to know of a network's maps before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import UserError
from .layers.checks import is_whole, list_items
from .specs import Spec

ALL_MAPS = (0, 1, 2, 3, 4)


class FeatureInfo(list[dict[str, Any]]):
    """A list of {"chs", "reduction", "name"} as in MindCV, of each map, with timm's names for the same.

    "chs" or "num_chs" are its channels, "reduction" is how many pixels of the image one of its pixels stands for, and
    "name" or "module" the cell that it comes from.
    """

    def __init__(self, maps: Iterable[dict[str, Any]]):
        super().__init__(_both_names(item) for item in maps)

    @classmethod
    def of_spec(cls, spec: Spec) -> FeatureInfo:
        """Of the maps of a HaloNet: the stem's, then the stages'."""
        channels = (spec.stem.widths[-1], *(stage.width for stage in spec.stages))
        names = ("stem", *(f"stages.{index}" for index in range(len(spec.stages))))
        return cls(
            {"chs": chs, "reduction": reduction, "name": name}
            for chs, reduction, name in zip(channels, spec.strides, names, strict=True)
        )

    def only(self, indices: Iterable[int]) -> FeatureInfo:
        """Of these maps alone."""
        return FeatureInfo(self[index] for index in indices)

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [item["chs"] for item in self]

    def reduction(self) -> list[int | None]:
        """Pixels of the image per pixel of each map."""
        return [item.get("reduction") for item in self]

    def module_name(self) -> list[str | None]:
        """The cell that each map comes from."""
        return [item.get("name") for item in self]

    def get_dicts(self) -> list[dict[str, Any]]:
        """A copy as plain dictionaries."""
        return [dict(item) for item in self]


def _both_names(item: dict[str, Any]) -> dict[str, Any]:
    both = dict(item)
    for one, other in (("chs", "num_chs"), ("name", "module")):
        for ours, theirs in ((one, other), (other, one)):
            if ours in item:
                both.setdefault(theirs, item[ours])
    return both


def find_out_indices(thing: str, out_indices: Sequence[int], count: int) -> tuple[int, ...]:
    """Which of `count` maps are meant: a rising sequence, where negative numbers count from the end.

    ALL_MAPS are as many of the maps as there are. Raises UserError for any other, and for a number alone.
    """
    if is_whole(out_indices) and 0 < out_indices < count:
        raise UserError(
            f"{thing}: out_indices {out_indices!r} could be one map or so many last ones; give ({out_indices},) for "
            f"the one, or {tuple(range(count))[-2:]} for the last two"
        )
    given = list_items(out_indices)
    if given == ALL_MAPS:
        given = ALL_MAPS[:count]
    found = [int(index) % count if is_whole(index) and -count <= index < count else None for index in given]
    if not found or None in found or found != sorted(set(found)):
        raise UserError(
            f"{thing}: out_indices {given} must be a rising sequence out of {tuple(range(count))}, or of {-count} to "
            "-1 from the end"
        )
    return tuple(found)
