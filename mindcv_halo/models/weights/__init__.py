"""Weights from files: ours, timm's, MindCV's and Keras's, each a table of names."""

from .load import load_weights, read_weights, recognise

__all__ = ["load_weights", "read_weights", "recognise"]
