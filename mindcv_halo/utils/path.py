"""Kinds of files, where MindCV has them."""

from ..files.archives import detect_file_type

__all__ = ["detect_file_type"]
