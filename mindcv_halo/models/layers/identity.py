"""The layer that does nothing, where MindCV has it."""

from __future__ import annotations

from mindspore import nn


class Identity(nn.Identity):
    """Its output is its input."""
