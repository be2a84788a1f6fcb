"""Batch norm with the statistics of all ranks."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class RankBatchNorm(nn.Cell):
    """Batch norm over a batch that is spread over `size` ranks: (B, C, H, W) -> the same.

    It takes the parameters of `norm`. MindSpore's own SyncBatchNorm has a kernel for several processes on Ascend only.
    """

    def __init__(self, norm: nn.BatchNorm2d, size: int):
        super().__init__(auto_prefix=False)
        self.size = size
        self.eps = norm.eps
        self.update_rate = norm.momentum  # MindSpore keeps 1 - momentum under this name
        self.gamma, self.beta = norm.gamma, norm.beta
        self.moving_mean, self.moving_variance = norm.moving_mean, norm.moving_variance
        self.add_up = ops.AllReduce()
        self.infer = ops.BatchNorm(is_training=False, epsilon=norm.eps)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.infer(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        y = x.astype(mstype.float32)
        mean = y.mean((0, 2, 3))
        variance = (y - mean.reshape(1, -1, 1, 1)).square().mean((0, 2, 3))
        # The variance of all is the mean of the ranks' variances and of the squared distances of their means.
        mean_of_all = self.add_up(mean) / self.size
        variance = self.add_up(variance + (mean - mean_of_all).square()) / self.size
        self.remember(ops.stop_gradient(mean_of_all), ops.stop_gradient(variance), self.size * x.size // x.shape[1])
        scale = self.gamma * ops.rsqrt(variance + self.eps)
        shift = self.beta - mean_of_all * scale
        return (y * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)).astype(x.dtype)

    def remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Running statistics, with the unbiased variance as MindSpore's BatchNorm has it."""
        unbiased = variance * (count / (count - 1))
        ops.assign_add(self.moving_mean, self.update_rate * (mean - self.moving_mean))
        ops.assign_add(self.moving_variance, self.update_rate * (unbiased - self.moving_variance))


def convert_sync_batch_norm(network: nn.Cell, size: int) -> nn.Cell:
    """Put a batch norm of `size` ranks in place of each BatchNorm2d, with the same parameters; return the network."""
    on_ascend = mindspore.get_context("device_target") == "Ascend"
    for parent in [cell for _, cell in network.cells_and_names()]:
        for name, child in list(parent.name_cells().items()):
            if isinstance(child, nn.BatchNorm2d):
                parent._cells[name] = _make_sync_batch_norm(child) if on_ascend else RankBatchNorm(child, size)
        if isinstance(parent, nn.SequentialCell):
            parent.cell_list = list(parent.cells())  # which is what it runs
    return network


def _make_sync_batch_norm(norm: nn.BatchNorm2d) -> nn.SyncBatchNorm:
    """MindSpore's own, one fused kernel, in the precision of `norm`."""
    sync = nn.SyncBatchNorm(norm.num_features, eps=norm.eps, momentum=1 - norm.momentum)
    sync.add_flags(**norm.get_flags())
    for parameter in ("gamma", "beta", "moving_mean", "moving_variance"):
        setattr(sync, parameter, getattr(norm, parameter))
    return sync
