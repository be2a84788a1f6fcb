"""Optimizers, and how parameters are grouped for them."""

from __future__ import annotations

from .adamw import AdamW
from .adan import Adan
from .lamb import Lamb
from .lion import Lion
from .nadam import NAdam
from .optim_factory import create_optimizer
from .rmsprop import RMSProp
from .state import load_optimizer_state, optimizer_state

__all__ = [
    "AdamW",
    "Adan",
    "Lamb",
    "Lion",
    "NAdam",
    "RMSProp",
    "create_optimizer",
    "load_optimizer_state",
    "optimizer_state",
]
