"""Leaf helpers and the trainer. Nothing here imports a sibling package, nor MindSpore before `runtime` has acted.

What MindCV's users import from `mindcv.utils` can be had from here, too; it is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .amp import auto_mixed_precision
    from .archives import detect_file_type
    from .callbacks import StateMonitor, ValCallback
    from .checkpoint_list import CheckpointManager
    from .download import DownLoad, get_default_download_root, set_default_download_root
    from .logger import set_logger
    from .loss_train_step import TrainStep
    from .reduce_manager import AllReduceSum
    from .seeds import set_seed
    from .trainer_factory import add_loss_network, create_trainer, get_metrics, require_customized_train_step

_MODULES = {
    "AllReduceSum": "reduce_manager",
    "CheckpointManager": "checkpoint_list",
    "DownLoad": "download",
    "StateMonitor": "callbacks",
    "TrainStep": "loss_train_step",
    "ValCallback": "callbacks",
    "add_loss_network": "trainer_factory",
    "auto_mixed_precision": "amp",
    "create_trainer": "trainer_factory",
    "detect_file_type": "archives",
    "get_default_download_root": "download",
    "get_metrics": "trainer_factory",
    "require_customized_train_step": "trainer_factory",
    "set_default_download_root": "download",
    "set_logger": "logger",
    "set_seed": "seeds",
}

__all__ = [
    "AllReduceSum",
    "CheckpointManager",
    "DownLoad",
    "StateMonitor",
    "TrainStep",
    "ValCallback",
    "add_loss_network",
    "auto_mixed_precision",
    "create_trainer",
    "detect_file_type",
    "get_default_download_root",
    "get_metrics",
    "require_customized_train_step",
    "set_default_download_root",
    "set_logger",
    "set_seed",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
