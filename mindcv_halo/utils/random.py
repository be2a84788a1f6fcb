"""Seeds, where MindCV has them."""

from ..runtime import set_seed

__all__ = ["set_seed"]
