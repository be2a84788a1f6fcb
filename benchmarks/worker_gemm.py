"""A product of two 2048 x 2048 matrices per turn: worker_gemm.py mindspore|native|torch float32|bfloat16.

`mindspore`, which has float32 alone, may use all instructions of the processor; `native` is a 1x1 convolution of our
kernels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from turns import take_turns

SIDE = 2048


def make_step(library: str, precision: str) -> Callable[[], object]:
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    if library == "torch":
        import torch

        matrix = torch.from_numpy(values).to(getattr(torch, precision))
        return lambda: torch.mm(matrix, matrix)[0, 0].item()
    if library == "mindspore":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "DEFAULT"  # a value of the user's own, which wins over AVX2
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import mindcv_halo  # noqa: F401  before MindSpore

    # isort: split

    import mindspore
    from mindspore import Tensor, ops

    from mindcv_halo.native.operators import Convolution

    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    matrix = Tensor(values)
    if library == "mindspore":
        product = ops.MatMul()
        return lambda: product(matrix, matrix).asnumpy()[0, 0]
    rows = matrix.reshape(1, 32, SIDE // 32, SIDE)
    rows = rows.astype(getattr(mindspore, precision))
    weight, nothing = matrix.reshape(SIDE, SIDE, 1, 1), Tensor(np.zeros(1, np.float32))
    convolution = Convolution(frozen=True)
    return lambda: convolution(rows, weight, nothing, nothing)[0, 0, 0, 0].astype(mindspore.float32).asnumpy()


if __name__ == "__main__":
    take_turns(make_step(*sys.argv[1:3]))
