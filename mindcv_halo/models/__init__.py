"""The models: registry, specifications, layers, weights."""

from . import layers
from .attention_maps import AttentionMap, attention_maps, list_attention_layers
from .features import FeatureExtractor, FeatureExtractWrapper
from .fusion import fuse_batchnorm
from .halonet import (
    halobotnet_50t,
    halonet_26t,
    halonet_50t,
    halonet_eca26t,
    halonet_h0,
    halonet_h1,
    halonet_h2,
    halonet_h3,
    halonet_h4,
    halonet_h5,
    halonet_h6,
    halonet_h7,
    halonet_se33t,
    halonet_test,
    haloregnetz_b,
    lamhalobotnet_50t,
)
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
    "halobotnet_50t",
    "halonet_26t",
    "halonet_50t",
    "halonet_eca26t",
    "halonet_h0",
    "halonet_h1",
    "halonet_h2",
    "halonet_h3",
    "halonet_h4",
    "halonet_h5",
    "halonet_h6",
    "halonet_h7",
    "halonet_se33t",
    "halonet_test",
    "haloregnetz_b",
    "lamhalobotnet_50t",
]
