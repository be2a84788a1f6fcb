"""A worker of benchmarks/exported.py: runs one exported file, or the network before and after folding.

worker_exported.py RUNNER MODEL_OR_FILE BATCH_SIZE IMAGE_SIZE
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from turns import take_turns


def make_step(runner: str, name: str, images: np.ndarray) -> Callable[[], object]:
    if runner == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"images": images})

    import mindcv_halo  # isort: skip  first: it sets the environment that MindSpore reads while it loads
    import mindspore
    from mindspore import Tensor, nn

    mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")
    if runner == "mindir":
        network = nn.GraphCell(mindspore.load(name))
    else:
        network = mindcv_halo.create_model(name).set_train(False)
        if runner == "folded":
            network = mindcv_halo.fuse_batchnorm(network)
    batch = Tensor(images)
    return lambda: network(batch).asnumpy()


if __name__ == "__main__":
    runner, name, batch_size, image_size = sys.argv[1:]
    shape = (int(batch_size), 3, int(image_size), int(image_size))
    sys.path.insert(0, str(Path(__file__).parents[1]))
    take_turns(make_step(runner, name, np.random.default_rng(0).standard_normal(shape).astype(np.float32)))
