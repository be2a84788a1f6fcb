"""Seeds, where MindCV has them."""

from .seeds import set_seed

__all__ = ["set_seed"]
