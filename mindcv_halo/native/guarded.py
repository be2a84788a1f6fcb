"""Cells whose work kernels do, so that a change that would have no effect any more is refused when it is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn
from weakref import ref

from mindspore import nn

from ..errors import UserError

FROZEN = "this network is frozen, for inference: train one that accelerate was given without `frozen`"
HOOKS = (  # where MindSpore keeps a cell's
    *("_lazy_forward_pre_hook", "_lazy_forward_hook", "_lazy_backward_pre_hook", "_lazy_backward_hook"),
    *("_cell_backward_pre_hook", "_cell_backward_hook", "_saved_tensors_pack_hook", "_shard_fn"),
)
# What MindSpore itself writes into cells as they run, and what people set that changes no number.
MINDSPORES_OWN = {
    *("training", "requires_grad", "is_top_cell", "arguments_key", "cell_type", "grad_ops_label", "has_bprop"),
    *("mixed_precision_type", "parameter_layout_dict", "compile_cache", "seed"),
    *("sequence_modified", "current_phase"),  # once it was compiled
}
_FREE = {"use_batch_statistics"}  # which the norms' kernels ask for at every call


class Guarded:
    """What `guard` puts before a cell's class: everything but changes works as before.

    Set already: `_guard`, what messages and rules need to know.
    """

    _guard: _Guard

    def __setattr__(self, name: str, value: Any) -> None:
        guard = self._guard
        if name in guard.fixed or name == "construct":
            self._refuse(f".{name} cannot be set")
        if guard.frozen and name in _FREE and value:
            self._refuse(f".{name} cannot be set: the network is frozen")
        super().__setattr__(name, value)

    def insert_child_to_cell(self, child_name: str, child_cell: nn.Cell) -> None:
        if child_name in self._guard.fixed:
            self._refuse(f".{child_name} cannot be set")
        super().insert_child_to_cell(child_name, child_cell)

    def __delattr__(self, name: str) -> None:
        if name in self._guard.fixed:
            self._refuse(f".{name} cannot be taken out")
        super().__delattr__(name)

    def add_flags(self, **flags: Any) -> nn.Cell:
        guard = self._guard
        if flags.get("fp16") or flags.get("bf16"):
            self._refuse(" cannot get a precision of its own, as kernels are float32")
        if guard.frozen and not guard.is_root and flags.get("training") and not guard.root().training:
            raise UserError(f"{guard.path}: {FROZEN}")
        return super().add_flags(**flags)

    def __reduce_ex__(self, protocol: int) -> NoReturn:
        name = self._guard.root().__class__.__name__
        raise UserError(
            f"{name}: an accelerated network cannot be copied or pickled, as its kernels belong to this process; copy "
            "the network (or fuse_batchnorm it) first, and accelerate the copy"
        )

    def _refuse(self, words: str) -> NoReturn:
        raise UserError(
            f"{self._guard.path or 'the network'}{words}: native kernels do its work; change the network before "
            "accelerate, or leave accelerate out"
        )


def has_hooks(cell: nn.Cell) -> bool:
    return any(getattr(cell, hook, None) for hook in HOOKS)


class _Guard:
    """Of one cell: its path, what must stay, and the network that it is in."""

    def __init__(self, path: str, fixed: frozenset[str], frozen: bool, root: nn.Cell, is_root: bool):
        self.path = path
        self.fixed = fixed
        self.frozen = frozen
        self.root = ref(root)  # weak, as a cell that holds its network is never let go
        self.is_root = is_root


def guard(cell: nn.Cell, path: str, root: nn.Cell, *, frozen: bool, free: tuple[str, ...] = ()) -> None:
    """From now on refuse changes of a cell that has all it needs; `free` are cells and attributes that may change."""
    if isinstance(cell, Guarded):
        return
    fixed = {*cell._cells, *cell._params, *cell._primitives}
    fixed |= {name for name, value in vars(cell).items() if not name.startswith("_") and name not in MINDSPORES_OWN}
    fixed -= {*free, *_FREE}
    object.__setattr__(cell, "_guard", _Guard(path, frozenset(fixed), frozen, root, cell is root))
    cell.__class__ = _guarded(type(cell))


_REGISTERS = (
    "register_forward_pre_hook",
    "register_forward_hook",
    "register_backward_pre_hook",
    "register_backward_hook",
    "register_saved_tensors_hooks",
)
_CHANGES = ("__setitem__", "__delitem__", "append", "extend", "insert", "pop")


@cache
def _guarded(kind: type[nn.Cell]) -> type[nn.Cell]:
    """The class under its own name, by which MindSpore and lists of amp know cells."""
    members: dict[str, Any] = {name: _take_hook(kind, name) for name in _REGISTERS}
    members |= {name: _take_change(name) for name in _CHANGES if hasattr(kind, name)}
    return type(kind.__name__, (Guarded, kind), {**members, "__module__": kind.__module__, "__doc__": kind.__doc__})


def _take_hook(kind: type[nn.Cell], name: str) -> Callable[..., Any]:
    def register(self: Guarded, *args: Any, **options: Any) -> Any:
        if not self._guard.is_root:
            self._refuse(" cannot get hooks, as kernels do not call it")
        return getattr(kind, name)(self, *args, **options)

    return register


def _take_change(name: str) -> Callable[..., NoReturn]:
    def change(self: Guarded, *args: Any, **options: Any) -> NoReturn:
        self._refuse(" cannot get or lose cells")

    return change
