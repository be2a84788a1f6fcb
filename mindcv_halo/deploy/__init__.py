"""From a network to a file that runs without this library: MINDIR, ONNX, AIR."""

from .air import require_ascend, write_air
from .metadata import encode_metadata, read_metadata
from .mindir import run_mindir, write_mindir
from .onnx_file import require_onnx, run_onnx, write_onnx

__all__ = [
    "encode_metadata",
    "read_metadata",
    "require_ascend",
    "require_onnx",
    "run_mindir",
    "run_onnx",
    "write_air",
    "write_mindir",
    "write_onnx",
]
