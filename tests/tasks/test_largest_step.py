"""The step of the model with the most parameters, on several ranks, compiles."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from support.ways import has_kernels

from mindcv_halo import accelerate, create_loss, create_model, create_optimizer
from mindcv_halo.training.step import TrainStep


class Sum(nn.Cell):
    """Stands in for ops.AllReduce of two ranks with the same numbers."""

    def construct(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.thorough  # test_all_reduce.py compiles as many tensors in every run
@pytest.mark.parametrize("mode", ["graph"], indirect=True)
def test_halonet_h7_on_two_ranks(mode, monkeypatch):
    monkeypatch.setattr(ops, "AllReduce", Sum)
    network = create_model("halonet_h7", num_classes=2)
    optimizer = create_optimizer(network, "adamw")
    if has_kernels():  # which compile in less time; the portable means have a test in test_all_reduce.py
        network, optimizer = accelerate(network), accelerate(optimizer)
    step = TrainStep(network, create_loss(), optimizer, num_ranks=2)
    if has_kernels():
        accelerate(step.all_reduce_mean)
    step.compile(Tensor(np.zeros((1, 3, 64, 64), np.float32)), Tensor(np.zeros(1, np.int32)))
