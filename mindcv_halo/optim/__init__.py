"""Optimizers, and how parameters are grouped for them."""

from __future__ import annotations

from .adamw import AdamW
from .adan import Adan
from .lamb import Lamb
from .lion import Lion
from .nadam import NAdam
from .optim_factory import create_optimizer
from .rate_window import RateWindow, move_rates
from .rmsprop import RMSProp
from .state import is_setting, load_optimizer_state, optimizer_state

__all__ = [
    "AdamW",
    "Adan",
    "Lamb",
    "Lion",
    "NAdam",
    "RMSProp",
    "RateWindow",
    "create_optimizer",
    "is_setting",
    "load_optimizer_state",
    "move_rates",
    "optimizer_state",
]
