"""Batch norm with the statistics of all ranks."""

from __future__ import annotations

from mindspore import nn


def convert_sync_batch_norm(network: nn.Cell) -> nn.Cell:
    """Put SyncBatchNorm in place of each BatchNorm2d, with the same parameters, and return the network."""
    for parent in [cell for _, cell in network.cells_and_names()]:
        for name, child in list(parent.name_cells().items()):
            if isinstance(child, nn.BatchNorm2d):
                norm = nn.SyncBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
                for parameter in ("gamma", "beta", "moving_mean", "moving_variance"):
                    setattr(norm, parameter, getattr(child, parameter))
                parent._cells[name] = norm
    return network
