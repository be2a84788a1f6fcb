"""Which container: arrays and notes out of a file, within limits, whoever wrote it."""

from . import ckpt, foreign, safetensors

# In this order a file's beginning is looked at: safetensors' before torch's, as it is a size, which may be anything.
FORMATS = (ckpt.CKPT, safetensors.SAFETENSORS, foreign.TORCH, foreign.KERAS)
