"""ONNX, which onnxruntime and many other runtimes read.

MindSpore 2.10 writes ONNX itself, but the batch in it is fixed, and a SiLU becomes eight nodes; so that the graph is
written here, cell by cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mindspore import nn

from ..errors import UserError
from .onnx_cells import write_network
from .onnx_graph import FeatureMap, OnnxGraph

# The newest that onnxruntime 1.12 (2022) reads, and everything younger.
OPSET, IR_VERSION = 17, 8
INPUT = "images"


def require_onnx(purpose: str) -> None:
    """Raise UserError, which says that `purpose` needs them, if onnx or onnxruntime is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"{purpose} needs onnx and onnxruntime; pip install mindcv_halo[onnx]") from error


def write_onnx(path: Path, network: nn.Cell, shape: tuple[int | None, ...], metadata: Mapping[str, str]) -> None:
    """Write `network` for images of `shape` (batch, channels, height, width); None leaves the batch open.

    The graph's input is called `images`, its output `logits`, or `features` without a classifier; the maps of a
    FeatureExtractor are `map_0` (the stem's) to `map_4`; that of a single layer is `map`. onnx.checker checks it.
    Raises TypeError for cells that are not this library's.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    batch, channels, height, width = shape
    batch = "batch" if batch is None else batch
    graph = OnnxGraph()
    outputs = write_network(graph, network, FeatureMap(INPUT, channels, height, width))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            type(network).__name__,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, channels, height, width])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *size]) for name, size in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in graph.weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mindcv_halo",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def run_onnx(path: Path, images: np.ndarray) -> list[np.ndarray]:
    """The outputs of the network in the file, by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: images})
