"""Networks of few blocks, for what goes by kinds of layers and not by their number: each block takes its time."""

from __future__ import annotations

from dataclasses import replace

from mindcv_halo.models.specs import Halo, Spec, Stage, Stem

SMALL = Spec(
    "small",
    Stem((8,), (2,)),
    (Stage("CC", 16, 8, stride=1), Stage("A", 16, 8, num_heads=2)),
    halo=Halo(2, 1),
)


def shorten(spec: Spec) -> Spec:
    """The model with two blocks a stage, and one more for each further kind of block in it."""

    def first_of_each(pattern: str) -> str:
        return "".join(letter for place, letter in enumerate(pattern) if place < 2 or letter not in pattern[:place])

    return replace(spec, stages=tuple(replace(stage, pattern=first_of_each(stage.pattern)) for stage in spec.stages))


def narrow(spec: Spec) -> Spec:
    """The model with a quarter of the channels in its stages: to draw weights takes longer than to use them.

    One of groups of a certain width stays as it is.
    """
    if spec.group_width:
        return spec

    def narrower(stage: Stage) -> Stage:
        inner = max(16, stage.inner // 4 // 16 * 16) if stage.inner else 0  # which heads divide
        return replace(stage, width=stage.width // 4, inner=inner)

    return replace(spec, stages=tuple(map(narrower, spec.stages)))
