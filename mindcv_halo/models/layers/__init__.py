"""The layers of the models; each is usable alone."""

from .bottleneck import AttentionMix, Bottleneck, ConvMix
from .bottleneck_attention import BottleneckAttention
from .channel_attention import EfficientChannelAttention, SqueezeExcite
from .conv_norm_act import ConvNormAct
from .halo_attention import HaloAttention
from .lambda_layer import LambdaLayer
from .random_drop import Dropout, DropPath
from .relative_position import RelativePosition
from .stem_pool import StemPool

__all__ = [
    "AttentionMix",
    "Bottleneck",
    "BottleneckAttention",
    "ConvMix",
    "ConvNormAct",
    "DropPath",
    "Dropout",
    "EfficientChannelAttention",
    "HaloAttention",
    "LambdaLayer",
    "RelativePosition",
    "SqueezeExcite",
    "StemPool",
]
