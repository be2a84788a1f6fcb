"""The nodes and weights of an ONNX graph while it is being written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FeatureMap:
    """A tensor (batch, channels, height, width) of the graph; the batch is not known."""

    name: str
    channels: int
    height: int
    width: int


class OnnxGraph:
    """Collects nodes in the order of their execution. Tensors are known by name; -1 in a shape takes the batch in."""

    def __init__(self):
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self._scope = ""
        self._counts: Counter[str] = Counter()

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Names made in this context begin with the path of the cell, such as `stages.0.1.`."""
        outer, self._scope = self._scope, f"{self._scope}{part}."
        yield
        self._scope = outer

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return that; both are called by the path and the operator."""
        return self._add(op_type, inputs, [self._new_name(op_type)], attributes)[0]

    def split(self, x: str, *sizes: int, axis: int) -> list[str]:
        """Add a node that cuts `x` into parts, and return these."""
        name = self._new_name("Split")
        parts = [f"{name}_part_{number}" for number in range(len(sizes))]
        return self._add("Split", (x, self.integers(*sizes)), parts, {"axis": axis})

    def output(self, name: str, x: str) -> str:
        """Give a tensor a name for the outside, and return it."""
        return self._add("Identity", (x,), [name], {})[0]

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add an array that is part of the graph; `name` is the parameter's within its cell."""
        name = self._scope + name
        assert name not in self.weights, name
        self.weights[name] = value
        return name

    def integers(self, *values: int) -> str:
        """Add a list of integers, as operators take shapes and axes; equal lists are stored once."""
        name = "integers_" + "_".join(str(value) for value in values)
        self.weights[name] = np.array(values, np.int64)
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.integers(*shape))

    def transpose(self, x: str, *axes: int) -> str:
        return self.node("Transpose", x, perm=axes)

    def _add(self, op_type: str, inputs: Sequence[str], outputs: list[str], attributes: dict[str, Any]) -> list[str]:
        from onnx import helper

        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def _new_name(self, op_type: str) -> str:
        name = self._scope + op_type
        self._counts[name] += 1
        return name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"
