"""Batch norms that do something, so that what folds them has something to get wrong."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn


def draw_norms(network: nn.Cell) -> nn.Cell:
    """Give every batch norm random scales, offsets and statistics, and return the network in evaluation mode.

    The last norm of a block's branch has a small scale, as in a trained network: else the logits of a deep network of
    random weights depend chaotically on the last digits of its first layers.
    """
    numbers = np.random.default_rng(1)
    for name, norm in network.cells_and_names():
        if isinstance(norm, nn.BatchNorm2d):
            size = norm.gamma.shape
            scale = 0.3 if name.endswith("expand.norm") else 1.0
            _set(norm.gamma, scale * (1 + 0.2 * numbers.standard_normal(size)))
            _set(norm.beta, 0.2 * numbers.standard_normal(size))
            _set(norm.moving_mean, 0.2 * numbers.standard_normal(size))
            _set(norm.moving_variance, 1 + 2 * numbers.random(size))
    return network.set_train(False)


def _set(parameter, value: np.ndarray) -> None:
    parameter.set_data(Tensor(value.astype(np.float32)))
