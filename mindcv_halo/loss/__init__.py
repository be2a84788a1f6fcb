"""Losses for classification."""

from __future__ import annotations

from .asymmetric import AsymmetricLossMultilabel, AsymmetricLossSingleLabel
from .binary_cross_entropy_smooth import BinaryCrossEntropySmooth
from .cross_entropy_smooth import CrossEntropySmooth
from .jsd import JSDCrossEntropy
from .loss_factory import create_loss

__all__ = [
    "AsymmetricLossMultilabel",
    "AsymmetricLossSingleLabel",
    "BinaryCrossEntropySmooth",
    "CrossEntropySmooth",
    "JSDCrossEntropy",
    "create_loss",
]
