"""Our side of bench.py, in graph mode: worker_ours.py WORK MODEL BATCH SIZE native|bfloat16|portable.

`bfloat16` are the native kernels in that precision. WORK is inference, with batch norms folded, training, or
attention: a bare layer, forward and backward.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import mindspore  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Tensor, nn, ops  # noqa: E402
from turns import ATTENTION, take_turns  # noqa: E402

from mindcv_halo import accelerate, create_loss, create_model, create_optimizer, fuse_batchnorm  # noqa: E402
from mindcv_halo.models.layers import HaloAttention  # noqa: E402
from mindcv_halo.training.step import TrainStep  # noqa: E402


class Gradients(nn.Cell):
    """A layer's gradients by its input and its weights, from a slope of the output."""

    def __init__(self, layer: nn.Cell):
        super().__init__()
        self.layer = layer
        self.parameters = mindspore.ParameterTuple(layer.trainable_params())
        self.differentiate = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x: Tensor, slope: Tensor):
        return self.differentiate(self.layer, self.parameters)(x, slope)


def make_step(
    work: str, model: str, batch_size: int, size: int, kernels: str, frozen: bool = True
) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    native = kernels != "portable"
    precision = "bfloat16" if kernels == "bfloat16" else "float32"
    if work == "attention":
        layer = HaloAttention(
            ATTENTION["dim"],
            num_heads=ATTENTION["num_heads"],
            block_size=ATTENTION["block_size"],
            halo_size=ATTENTION["halo_size"],
        )
        shape = (batch_size, ATTENTION["dim"], size, size)
        maps, slope = (Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
        step = Gradients(accelerate(layer, precision=precision) if native else layer)
        return lambda: step(maps, slope)[0][0].asnumpy()
    images = Tensor(rng.standard_normal((batch_size, 3, size, size)).astype(np.float32))
    labels = Tensor(np.arange(batch_size, dtype=np.int32))
    network = create_model(model)
    if work == "inference":
        network = fuse_batchnorm(network)
        if native:
            network = accelerate(network, frozen=frozen, precision=precision)
        return lambda: network(images).asnumpy()
    optimizer = create_optimizer(network, "adamw", weight_decay=0.05)
    if native:
        network, optimizer = accelerate(network, precision=precision), accelerate(optimizer)
    step = TrainStep(network, create_loss(), optimizer)
    return lambda: step(images, labels).asnumpy()


if __name__ == "__main__":
    work, model, batch_size, size, kernels = sys.argv[1:6]
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    take_turns(make_step(work, model, int(batch_size), int(size), kernels), least=0.3)
