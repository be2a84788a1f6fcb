"""A list of kernels that runs as one operator: what lies between two kernels of a frozen network is then nothing.

A Plan is written for images of one shape, kernel by kernel, on Maps that stand for what will be computed. Its numbers,
which the kernel `run_plan` reads, say for each step which kernel runs on what; maps on the way share one arena.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn

from .operators import FLOAT, number_kernel

_PARAMETER, _ARENA, _CONSTANT, _RESULT = range(4)  # where an argument lies, as in src/plan.cpp
_TYPES = {mindspore.float32: (0, 4), mindspore.bfloat16: (1, 2), mindspore.int64: (2, 8)}  # numbers there, and bytes
_SLOT = 64  # bytes, a line of the cache


@dataclass(frozen=True)
class Map:
    """What will be computed: an array that some step writes; number 0 is the images."""

    number: int
    shape: tuple[int, ...]
    dtype: mindspore.Type = FLOAT

    def reshape(self, *shape: int) -> Map:
        return replace(self, shape=shape)


@dataclass(frozen=True)
class View:
    """A parameter under another shape, or what lies in it from the number `start` on."""

    parameter: Parameter
    shape: tuple[int, ...]
    start: int = 0

    dtype: mindspore.Type = FLOAT  # which kernels take; they refuse one whose type was changed

    def rows(self, begin: int, end: int) -> View:
        """Of those along its first axis."""
        size = prod(self.shape[1:])
        return replace(self, shape=(end - begin, *self.shape[1:]), start=self.start + begin * size)


@dataclass(frozen=True)
class _Step:
    kernel: int
    arguments: tuple[Map | View | Tensor, ...]
    results: tuple[Map, ...]
    onto: Map | None


class Plan:
    """The kernels of a network for images of `shape`, in the order in which they run."""

    def __init__(self, shape: tuple[int, ...]):
        self.images = Map(0, tuple(shape))
        self._count = 1  # of maps
        self._steps: list[_Step] = []
        self._parameters: dict[int, Parameter] = {}

    def add(self, operator: nn.Cell, *arguments: Map | View | Tensor, onto: Map | None = None) -> Map:
        """One more step, with an operator of operators.py; its first result.

        That takes the place of `onto`, an argument of its shape, where nothing needs it afterwards. Parameters are read
        whenever the plan runs; other tensors become part of it.
        """
        arguments = tuple(View(a, a.shape) if isinstance(a, Parameter) else a for a in arguments)
        arguments = (*arguments, *operator.constants)
        kernel = operator.forward_kernel
        shapes = kernel.find_shapes(*(argument.shape for argument in arguments))
        shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
        types = kernel.find_types(*(argument.dtype for argument in arguments))
        types = types if isinstance(types, tuple) else (types,)
        results = tuple(
            Map(self._count + i, shape, dtype) for i, (shape, dtype) in enumerate(zip(shapes, types, strict=True))
        )
        self._count += len(results)
        self._steps.append(_Step(number_kernel(kernel.symbol), arguments, results, onto))
        for argument in arguments:
            if isinstance(argument, View):
                self._parameters.setdefault(id(argument.parameter), argument.parameter)
        return results[0]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What `run_plan` gets besides images and numbers, in this order."""
        return tuple(self._parameters.values())

    def write(self, result: Map) -> np.ndarray:
        """The plan as numbers: slots of the arena, steps, then for each its kernel and its arguments.

        An argument is a place, an index in it, the number with which it starts there, a type, and a shape with its
        length before it; constants follow at the end.
        """
        offsets, size = self._place(result)
        order = {key: index for index, key in enumerate(self._parameters)}
        constants: list[int] = []
        numbers = [size, len(self._steps)]
        for step in self._steps:
            numbers += [step.kernel, len(step.arguments) + len(step.results)]
            for argument in (*step.arguments, *step.results):
                if isinstance(argument, View):
                    place = (_PARAMETER, 1 + order[id(argument.parameter)], argument.start)
                elif isinstance(argument, Tensor):
                    place = (_CONSTANT, len(constants), 0)
                    constants += _as_integers(argument.asnumpy())
                elif argument.number == 0:
                    place = (_PARAMETER, 0, 0)
                elif argument.number == result.number:
                    place = (_RESULT, 0, 0)
                else:
                    place = (_ARENA, offsets[argument.number], 0)
                numbers += [*place, _TYPES[argument.dtype][0], len(argument.shape), *argument.shape]
        return np.array([len(numbers) + 1, *numbers, *constants], np.int64)

    def _place(self, result: Map) -> tuple[dict[int, int], int]:
        """Where in the arena each map lies, first fit, and the arena's size, in slots."""
        last_use = {}
        for index, step in enumerate(self._steps):
            for argument in (*step.arguments, *step.results):
                if isinstance(argument, Map):
                    last_use[argument.number] = index
        offsets: dict[int, int] = {}
        taken: list[tuple[int, int, int]] = []  # (offset, end, last step that needs it), by offset
        size = 0
        for index, step in enumerate(self._steps):
            taken = [part for part in taken if part[2] >= index]
            for made in step.results:
                if made.number == result.number:
                    continue
                onto = step.onto if made is step.results[0] else None
                if onto is not None and onto.number in offsets and last_use[onto.number] == index:
                    offsets[made.number] = offset = offsets[onto.number]
                    taken = [
                        (start, end, last_use[made.number] if start == offset else last) for start, end, last in taken
                    ]
                    continue
                needed = -(-prod(made.shape) * _TYPES[made.dtype][1] // _SLOT)
                offset = 0
                for start, end, _ in taken:
                    if offset + needed <= start:
                        break
                    offset = end
                offsets[made.number] = offset
                taken = sorted([*taken, (offset, offset + needed, last_use[made.number])])
                size = max(size, offset + needed)
        return offsets, size


def _as_integers(constant: np.ndarray) -> list[int]:
    """An array's bytes as whole 64-bit numbers."""
    content = constant.tobytes()
    return np.frombuffer(content.ljust(-(-len(content) // 8) * 8, b"\0"), np.int64).tolist()
