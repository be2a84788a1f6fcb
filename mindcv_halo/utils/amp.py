"""Mixed precision, where MindCV has it."""

from ..training.amp import auto_mixed_precision

__all__ = ["auto_mixed_precision"]
