"""The log, where MindCV has it."""

from ..runs.log import set_logger

__all__ = ["set_logger"]
