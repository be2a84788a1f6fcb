"""The side of bench.py that runs our exported ONNX file: worker_onnx.py RUNTIME FILE BATCH SIZE.

RUNTIME is onnxruntime, openvino, or openvino_bf16, which lets OpenVINO compute in bfloat16.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from turns import take_turns


def make_step(runtime: str, file: str, images: np.ndarray) -> Callable[[], object]:
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: images})

    import openvino

    model = openvino.Core().read_model(file)
    model.reshape(images.shape)
    precision = "bf16" if runtime == "openvino_bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer([images])


if __name__ == "__main__":
    runtime, file, batch_size, size = sys.argv[1:]
    shape = (int(batch_size), 3, int(size), int(size))
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    take_turns(make_step(runtime, file, images), least=0.3)
