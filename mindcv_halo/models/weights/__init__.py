"""Weights from files: ours, timm's, MindCV's and Keras's, each a table of names."""

from .fit import fit_weights, load_weights
from .identify import count_classes, find_model, find_options
from .open import OURS, READERS, WeightFile, open_weights, read_class_names, read_weights, recognise, recognise_weights
from .own_network import fill_network, load_own_weights
from .pretrained import fetch_pretrained, find_packaged, weights_folder
from .save import describe_classes, describe_network, save_network, write_weights
from .sources.timm import to_timm
from .training_state import select_weights

__all__ = [
    "OURS",
    "READERS",
    "WeightFile",
    "count_classes",
    "describe_classes",
    "describe_network",
    "fetch_pretrained",
    "fill_network",
    "find_model",
    "find_options",
    "find_packaged",
    "fit_weights",
    "load_own_weights",
    "load_weights",
    "open_weights",
    "read_class_names",
    "read_weights",
    "recognise",
    "recognise_weights",
    "save_network",
    "select_weights",
    "to_timm",
    "weights_folder",
    "write_weights",
]
