"""Many cells in one graph: compiling is what takes long, and much of it is the same for one as for many."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mindspore import Tensor, nn


class Together(nn.Cell):
    """(x, y, ...) -> (first(x), second(y), ...). The cells' parameters get longer names, which keep them apart."""

    def __init__(self, members: list[nn.Cell]):
        super().__init__()
        self.members = nn.CellList(members)

    def construct(self, *inputs: Tensor):
        outputs = ()
        for place, cell in enumerate(self.members):
            outputs += (cell(inputs[place]),)
        return outputs


def run_together(cells: Mapping[str, nn.Cell], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every cell makes of its own input, by its name."""
    outputs = Together([*cells.values()])(*(Tensor(inputs[name]) for name in cells))
    return {name: output.asnumpy() for name, output in zip(cells, outputs, strict=True)}
