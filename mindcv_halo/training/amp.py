"""Mixed precision: which cells compute in half precision. Parameters stay float32, and checkpoints as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

import mindspore
from mindspore import Tensor, nn
from mindspore import dtype as mstype

from ..errors import UserError, unknown_name
from .ascend import has_bfloat16, name_chip
from .sync_batch_norm import RankBatchNorm

LEVELS = {
    "O0": "float32 everywhere",
    "O1": "convolutions and linear layers in half precision, their outputs in float32",
    "O2": "all but batch norm in half precision",
    "O3": "everything in half precision; on a GPU all but batch norm, with bfloat16 all but batch norm and pools",
}
HALF_TYPES = {"float16": mstype.float16, "bfloat16": mstype.bfloat16}
_HEAVY = ("Conv2d", "Dense")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, RankBatchNorm)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


def auto_mixed_precision(
    network: nn.Cell,
    amp_level: str = "O0",
    amp_cast_list: str | Sequence[str | type[nn.Cell]] | None = None,
    amp_dtype: str = "float16",
) -> nn.Cell:
    """Set the precision of `network`'s cells, in place, and return it; its output is the caller's to cast.

    `amp_cast_list`, cell classes or their names such as Conv2d, or MindCV's text "[nn.Conv2d, nn.Dense]", takes the
    place of the level: these classes compute in half precision and return float32, all others stay. Cells for which
    MindSpore has no kernel in half precision stay in float32 wherever they are.
    Raises UserError for unknown names, for such cells in the list, and for bfloat16 where the device lacks it.
    """
    if amp_level not in LEVELS:
        raise unknown_name("amp_level", amp_level, LEVELS)
    if amp_dtype not in HALF_TYPES:
        raise unknown_name("amp_dtype", amp_dtype, HALF_TYPES)
    if amp_level == "O0" and not amp_cast_list:
        return network
    if amp_dtype == "bfloat16":
        _require_bfloat16("leave amp_cast_list out" if amp_cast_list else "amp_level O0")
    half = HALF_TYPES[amp_dtype]
    unable = _find_unable(half)
    if amp_cast_list:
        if isinstance(amp_cast_list, str):
            amp_cast_list = re.findall(r"\w+(?![\w.])", amp_cast_list)  # the last part of each dotted name
        names = [item if isinstance(item, str) else item.__name__ for item in amp_cast_list]
        _cast_classes(network, names, half, unable)
    elif amp_level == "O1":
        _cast_classes(network, _HEAVY, half, unable)
    else:
        network.to_float(half)
        _keep_float32(network, (*unable, *_NORMS) if amp_level == "O2" else unable)
    return network


def to_float32(logits: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """The output of a network, or each one of several, in float32."""
    if isinstance(logits, tuple):
        return tuple([head.astype(mstype.float32) for head in logits])
    return logits.astype(mstype.float32)


def _require_bfloat16(otherwise: str) -> None:
    """Raise UserError unless the device computes with it; `otherwise` is what else can be done."""
    device = mindspore.get_context("device_target")
    if device != "Ascend":
        raise UserError(f"amp_dtype bfloat16: MindSpore has no such kernels on a {device}; use float16, or {otherwise}")
    if not has_bfloat16():
        raise UserError(f"amp_dtype bfloat16: {name_chip()} does not compute with it; use float16, or {otherwise}")


def _find_unable(half: mstype.Type) -> tuple[type[nn.Cell], ...]:
    """The cell classes for which MindSpore has no kernel of this type on this device."""
    if half == mstype.bfloat16:
        return (*_NORMS, *_POOLS)
    # In training a GPU's batch norm takes float16; in evaluation it gets parameters of float16 too, and takes none.
    return _NORMS if mindspore.get_context("device_target") == "GPU" else ()


def _keep_float32(network: nn.Cell, classes: tuple[type[nn.Cell], ...]) -> None:
    for _, cell in network.cells_and_names():
        if isinstance(cell, classes):
            cell.to_float(mstype.float32)


class _Float32Output(nn.Cell):
    """A cell that computes in half precision, with its output in float32."""

    def __init__(self, cell: nn.Cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x: Tensor) -> Tensor:
        return self.cell(x).astype(mstype.float32)


def _cast_classes(network: nn.Cell, names: Sequence[str], half: mstype.Type, unable: tuple[type[nn.Cell], ...]) -> None:
    known = {type(cell).__name__ for _, cell in network.cells_and_names()}
    for name in names:
        if name not in known and name not in _HEAVY:
            raise unknown_name("cell class in amp_cast_list", name, known)
        if name in {each.__name__ for each in unable}:
            device = mindspore.get_context("device_target")
            raise UserError(f"amp_cast_list {name}: MindSpore has no such kernel for {half} on {device}; leave it out")
    for parent in [cell for _, cell in network.cells_and_names()]:
        for attribute, child in list(parent.name_cells().items()):
            if type(child).__name__ in names:
                child.to_float(half)
                _keep_float32(child, unable)
                parent._cells[attribute] = _Float32Output(child)
        if isinstance(parent, nn.SequentialCell):
            parent.cell_list = list(parent.cells())  # which is what it runs
