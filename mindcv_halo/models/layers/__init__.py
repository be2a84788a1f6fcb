"""The layers of the models; each is usable alone."""

from .activation import Swish
from .bottleneck import AttentionMix, Bottleneck, ConvMix
from .bottleneck_attention import BottleneckAttention
from .channel_attention import EfficientChannelAttention, SqueezeExcite
from .conv_norm_act import Conv2dNormActivation, ConvNormAct
from .halo_attention import HaloAttention
from .identity import Identity
from .lambda_layer import LambdaLayer
from .pooling import GlobalAvgPooling
from .random_drop import Dropout, DropPath
from .relative_position import RelativePosition
from .stem_pool import StemPool

__all__ = [
    "AttentionMix",
    "Bottleneck",
    "BottleneckAttention",
    "Conv2dNormActivation",
    "ConvMix",
    "ConvNormAct",
    "DropPath",
    "Dropout",
    "EfficientChannelAttention",
    "GlobalAvgPooling",
    "HaloAttention",
    "Identity",
    "LambdaLayer",
    "RelativePosition",
    "SqueezeExcite",
    "StemPool",
    "Swish",
]
