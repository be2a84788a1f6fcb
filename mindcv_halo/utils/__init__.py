"""What MindCV's users import from `mindcv.utils`, by MindCV's names.

A name is loaded when it is asked for: MindSpore must not load before `runtime` has acted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..files.archives import detect_file_type
    from ..files.download import DownLoad, get_default_download_root, set_default_download_root
    from ..runs.log import set_logger
    from ..runtime import set_seed
    from ..training.amp import auto_mixed_precision
    from .callbacks import StateMonitor, ValCallback
    from .checkpoint_manager import CheckpointManager
    from .reduce_manager import AllReduceSum
    from .train_step import TrainStep
    from .trainer_factory import add_loss_network, create_trainer, get_metrics, require_customized_train_step

_MODULES = {
    "AllReduceSum": ".reduce_manager",
    "CheckpointManager": ".checkpoint_manager",
    "DownLoad": "..files.download",
    "StateMonitor": ".callbacks",
    "TrainStep": ".train_step",
    "ValCallback": ".callbacks",
    "add_loss_network": ".trainer_factory",
    "auto_mixed_precision": "..training.amp",
    "create_trainer": ".trainer_factory",
    "detect_file_type": "..files.archives",
    "get_default_download_root": "..files.download",
    "get_metrics": ".trainer_factory",
    "require_customized_train_step": ".trainer_factory",
    "set_default_download_root": "..files.download",
    "set_logger": "..runs.log",
    "set_seed": "..runtime",
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
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
