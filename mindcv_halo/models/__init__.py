"""The models: registry, specifications, layers, weights."""

from . import halonet, layers
from .attention_maps import AttentionMap, attention_maps, list_attention_layers
from .features import FeatureExtractor, FeatureExtractWrapper
from .fusion import fuse_batchnorm
from .halonet import *  # noqa: F403
from .helpers import build_model_with_cfg, load_model_checkpoint, load_pretrained
from .model_factory import create_model
from .network import HaloNet
from .registry import (
    get_pretrained_cfg,
    get_pretrained_cfg_value,
    has_pretrained_cfg_key,
    is_model,
    is_model_in_modules,
    is_model_pretrained,
    list_models,
    list_modules,
    model_entrypoint,
    register_model,
)

__all__ = [
    "AttentionMap",
    "FeatureExtractWrapper",
    "FeatureExtractor",
    "HaloNet",
    "attention_maps",
    "build_model_with_cfg",
    "create_model",
    "fuse_batchnorm",
    "get_pretrained_cfg",
    "get_pretrained_cfg_value",
    "has_pretrained_cfg_key",
    "is_model",
    "is_model_in_modules",
    "is_model_pretrained",
    "layers",
    "list_attention_layers",
    "list_models",
    "list_modules",
    "load_model_checkpoint",
    "load_pretrained",
    "model_entrypoint",
    "register_model",
]
__all__ += halonet.__all__
