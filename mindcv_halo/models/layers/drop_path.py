"""Stochastic depth, where MindCV has it."""

from .random_drop import DropPath

__all__ = ["DropPath"]
