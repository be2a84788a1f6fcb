"""Mixed precision: which cells compute in half precision. Parameters stay float32, and checkpoints as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

import mindspore
from mindspore import Tensor, nn
from mindspore import dtype as mstype

from ..errors import UserError, unknown_name

LEVELS = {
    "O0": "float32 everywhere",
    "O1": "convolutions and linear layers in half precision, their outputs in float32",
    "O2": "all but batch norm in half precision",
    "O3": "everything in half precision",
}
HALF_TYPES = {"float16": mstype.float16, "bfloat16": mstype.bfloat16}
_HEAVY = ("Conv2d", "Dense")


def auto_mixed_precision(
    network: nn.Cell,
    amp_level: str = "O0",
    amp_cast_list: str | Sequence[str | type[nn.Cell]] | None = None,
    amp_dtype: str = "float16",
) -> nn.Cell:
    """Set the precision of `network`'s cells, in place, and return it; its output is the caller's to cast.

    `amp_cast_list`, cell classes or their names such as Conv2d, or MindCV's text "[nn.Conv2d, nn.Dense]", takes the
    place of the level: these classes compute in half precision and return float32, all others stay. Raises UserError
    for unknown names, and for bfloat16 on a CPU, whose MindSpore kernels lack it.
    """
    if amp_level not in LEVELS:
        raise unknown_name("amp_level", amp_level, LEVELS)
    if amp_dtype not in HALF_TYPES:
        raise unknown_name("amp_dtype", amp_dtype, HALF_TYPES)
    if amp_level == "O0" and not amp_cast_list:
        return network
    if amp_dtype == "bfloat16" and mindspore.get_context("device_target") == "CPU":
        raise UserError("amp_dtype bfloat16: MindSpore has no such kernels on a CPU; use float16, or amp_level O0")
    half = HALF_TYPES[amp_dtype]
    if amp_cast_list:
        if isinstance(amp_cast_list, str):
            amp_cast_list = re.findall(r"\w+(?![\w.])", amp_cast_list)  # the last part of each dotted name
        names = [item if isinstance(item, str) else item.__name__ for item in amp_cast_list]
        _cast_classes(network, names, half)
    elif amp_level == "O1":
        _cast_classes(network, _HEAVY, half)
    else:
        network.to_float(half)
        if amp_level == "O2":
            for cell in network.cells_and_names():
                if isinstance(cell[1], nn.BatchNorm2d):
                    cell[1].to_float(mstype.float32)
    return network


class _Float32Output(nn.Cell):
    """A cell that computes in half precision, with its output in float32."""

    def __init__(self, cell: nn.Cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x: Tensor) -> Tensor:
        return self.cell(x).astype(mstype.float32)


def _cast_classes(network: nn.Cell, names: Sequence[str], half: mstype.Type) -> None:
    known = {type(cell).__name__ for _, cell in network.cells_and_names()}
    for name in names:
        if name not in known and name not in _HEAVY:
            raise unknown_name("cell class in amp_cast_list", name, known)
    for parent in [cell for _, cell in network.cells_and_names()]:
        for attribute, child in list(parent.name_cells().items()):
            if type(child).__name__ in names:
                child.to_float(half)
                parent._cells[attribute] = _Float32Output(child)
        if isinstance(parent, nn.SequentialCell):
            parent.cell_list = list(parent.cells())  # which is what it runs
