"""Turns a network's layers into those of layers.py and whole_network.py, in place."""

from __future__ import annotations

from collections.abc import Iterator

import mindspore
from mindspore import nn

from ..errors import UserError
from ..models.compiled_graphs import forget_graphs, is_compiled
from ..models.layers.conv_norm_act import ConvNormAct
from ..models.layers.halo_attention import HaloAttention
from ..models.network import HaloNet
from . import all_reduce, layers, optimizer, whole_network  # noqa: F401  (their classes tell what they stand for)
from .as_built import find_changes
from .guarded import guard
from .operators import load_kernels
from .precision import PRECISIONS, choose_precision
from .registry import NATIVE, has_kernels, is_called


def accelerate(network: nn.Cell, *, frozen: bool = False, precision: str = "float32") -> nn.Cell:
    """`network`, which from now on computes with native kernels on channels-last maps; returned for convenience.

    For a model of create_model, with or without a head or features_only, or a bare HaloAttention; on a CPU. What
    was called in graph mode is compiled anew; a cell around it must not have been called yet, as it would go on with
    its graph. Also for an AdamW optimizer, and for the mean over ranks in a TrainStep.
    Parameters, their names, what goes in and what comes out stay as they are; outputs and gradients differ by rounding.
    Attentions, gates and heads of one's own run as before.

    Kernels never call the cells whose work they do. A network with such a cell changed (a class, a setting, a hook, a
    precision of its own) is therefore refused, and so is every such change afterwards, and to copy or export it.
    Weights may change, norms be frozen (`set_train(False)`, `use_batch_statistics`), and the head be exchanged.

    Args:
        frozen: for inference: weights are packed at the first call for each shape, and again after others were loaded.
            Fold the batch norms first (fuse_batchnorm).
        precision: "float32", or "bfloat16" for maps between kernels: what goes in and comes out, parameters, gradients
            of parameters, sums and statistics stay float32. Logits differ by about 1 % of the largest. A processor
            without instructions for it gets float32, and a warning.

    Raises UserError for any other network, device or precision, NativeUnavailableError where the kernels cannot be
    built.
    """
    entry = NATIVE.get(type(network))
    if entry is None or not entry.alone:
        raise UserError(f"accelerate: {type(network).__name__} is no model of create_model, or already accelerated")
    device = mindspore.get_context("device_target")
    if device != "CPU":
        raise UserError(f"accelerate: the native kernels are for CPUs, and MindSpore runs on {device}")
    is_part = entry.check is None  # of a training step
    if not is_part:
        _refuse_changes(network, frozen)
    load_kernels()
    precision = choose_precision(precision)
    if is_part:
        network.__class__ = entry.kind
        network.prepare()
        return network
    if is_compiled(network):
        forget_graphs()
    accelerated = {name: cell for name, cell in network.cells_and_names() if has_kernels(cell)}
    inside = dict(_list_inside(network, frozen))
    for cell in accelerated.values():
        cell.__class__ = NATIVE[type(cell)].kind
    if isinstance(network, HaloAttention):
        network.alone = True
    else:
        network.precision = precision
        next(cell for cell in accelerated.values() if isinstance(cell, ConvNormAct)).enters = True
    for cell in accelerated.values():  # from the outside in: a block tells its last layer what to add
        cell.prepare(frozen, PRECISIONS[precision])
    for name, cell in inside.items():
        free = ("classifier", "dropout", "num_classes", "has_plan", "plans_head") if cell is network else ()
        guard(cell, name, network, frozen=frozen, free=free)
    if frozen and isinstance(network, HaloNet):
        network.freeze()
    return network


def _refuse_changes(network: nn.Cell, frozen: bool) -> None:
    changes = find_changes(network)
    if frozen:
        for name, cell in network.cells_and_names():
            if cell.training != network.training or getattr(cell, "use_batch_statistics", None):
                changes.append(f"{name} trains, and the network is to be frozen; call set_train(False) first")
    if changes:
        others = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        raise UserError(
            f"accelerate: {changes[0]}{others}; kernels compute layers as they are built: leave accelerate out, or "
            "build the network without the change"
        )


def _list_inside(network: nn.Cell, frozen: bool) -> Iterator[tuple[str, nn.Cell]]:
    """The cells whose work kernels do: all but heads, and attentions and gates that are none of ours."""
    called = [
        name
        for name, cell in network.cells_and_names()
        if name in ("classifier", "dropout")
        or (name.endswith((".attention", ".gate")) and is_called(cell))
        or (name.endswith(".drop_path.keep") and not frozen)  # stochastic depth draws as ever, and counts its draws
    ]
    for name, cell in network.cells_and_names():
        if not any(name == outer or name.startswith(f"{outer}.") for outer in called):
            yield name, cell
