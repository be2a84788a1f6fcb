"""The layer that does nothing, where MindCV has it."""

from mindspore.nn import Identity

__all__ = ["Identity"]
