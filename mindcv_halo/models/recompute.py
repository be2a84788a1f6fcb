"""Attention that is computed again in the backward pass."""

from __future__ import annotations

from mindspore import nn

from ..errors import UserError
from .layers.bottleneck_attention import BottleneckAttention
from .layers.halo_attention import HaloAttention


def recompute_attention(network: nn.Cell) -> None:
    """Have MindSpore compute each attention of `network` again in the backward pass.

    Windows and logits are what takes memory; a batch norm that ran twice would update its statistics twice. Native
    halo attention keeps neither, and stays as it is. Raises UserError for a network without attention.
    """
    attentions = [
        cell for _, cell in network.cells_and_names() if isinstance(cell, HaloAttention | BottleneckAttention)
    ]
    if not attentions:
        raise UserError(
            f"recompute: {type(network).__name__} has no halo or bottleneck attention to compute again; leave it out"
        )
    for cell in attentions:
        if type(cell) in (HaloAttention, BottleneckAttention):
            cell.recompute()
