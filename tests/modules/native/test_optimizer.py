"""The native AdamW takes the portable one's steps."""

from __future__ import annotations

from contextlib import nullcontext

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from support.ways import has_kernels

from mindcv_halo import accelerate
from mindcv_halo.loss import create_loss
from mindcv_halo.optim import create_optimizer
from mindcv_halo.runtime import pynative_mode
from mindcv_halo.training.step import TrainStep

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")


class Layers(nn.Cell):
    """Two layers, whose first has to keep its weights until the gradient of its input is made."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.scale = Parameter(Tensor(rng.standard_normal(37).astype(np.float32)), name="scale")
        self.weight = Parameter(Tensor(rng.standard_normal((37, 5)).astype(np.float32)), name="weight")

    def construct(self, x: Tensor) -> Tensor:
        return ops.matmul(ops.tanh(x * self.scale), self.weight)


OPTIONS = [{}, {"layer_decay": 0.5}, {"weight_decay_filter": "disable"}]


@pytest.mark.parametrize(
    "mode, options",
    [
        *(("pynative", options) for options in OPTIONS),
        *(("graph", options) for options in OPTIONS[1:]),
        pytest.param("graph", {}, marks=pytest.mark.thorough),  # it has groups, as with layer_decay
    ],
    indirect=["mode"],
    ids=str,
)
def test_takes_the_same_steps(mode, options):
    rng = np.random.default_rng(1)
    batches = [Tensor(rng.standard_normal((8, 37)).astype(np.float32)) for _ in range(4)]
    labels = Tensor((np.arange(8) % 5).astype(np.int32))
    states = []
    for make, context in ((accelerate, nullcontext), (lambda optimizer: optimizer, pynative_mode)):
        network = Layers()
        if "layer_decay" in options:
            network.layer_ids = lambda: {"scale": 0, "weight": 1}
        rates = [0.1, 0.05, 0.02, 0.01]
        optimizer = create_optimizer(network, "adamw", lr=rates, weight_decay=0.1, **options)
        step = TrainStep(network, create_loss(), make(optimizer))
        with context():
            losses = [float(step(batch, labels).asnumpy()) for batch in batches]
        state = {parameter.name: parameter.asnumpy() for parameter in step.get_parameters()}
        states.append((losses, state))
    (losses, native), (expected_losses, portable) = states
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert set(native) == set(portable)
    for name, value in portable.items():
        np.testing.assert_allclose(native[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_an_update_that_is_left_out_changes_nothing(graph):
    """Where the loss scale finds a gradient that is not finite, weights and averages stay."""
    from mindcv_halo.training.grad_scaler import GradScaler

    network = Layers()
    optimizer = accelerate(create_optimizer(network, "adamw", lr=0.1, weight_decay=0.1))
    step = TrainStep(network, create_loss(), optimizer, grad_scaler=GradScaler(2.0, dynamic=False, skips=True))
    before = {parameter.name: parameter.asnumpy().copy() for parameter in (network.scale, network.weight)}
    bad = Tensor(np.full((8, 37), np.nan, np.float32))
    step(bad, Tensor(np.zeros(8, np.int32)))
    for parameter in (network.scale, network.weight):
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
    step(Tensor(np.ones((8, 37), np.float32)), Tensor(np.zeros(8, np.int32)))
    assert ms.ops.isfinite(network.weight).all()
    assert np.abs(network.weight.asnumpy() - before["weight"]).max() > 0.01
