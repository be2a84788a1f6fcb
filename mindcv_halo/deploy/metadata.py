"""What a file tells about itself: text by name, as ONNX's metadata_props and MINDIR's user_info hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError


def encode_metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Text stays as it is, everything else becomes JSON. Bytes of a file's name that are no UTF-8 are escaped."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    return {name: text.encode("utf-8", "backslashreplace").decode("utf-8") for name, text in texts.items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """What is recorded in an .onnx or .mindir file.

    Raises UserError for a file that is missing, of another kind, or damaged.
    """
    path = Path(path)
    readers = {".onnx": _read_onnx, ".mindir": _read_mindir}
    if path.suffix not in readers:
        raise UserError(f"{path}: metadata is read from {' and '.join(readers)} files")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    return readers[path.suffix](path, content)


def _read_onnx(path: Path, content: bytes) -> dict[str, str]:
    from .onnx_file import require_onnx

    require_onnx(f"reading {path}")
    import onnx

    return {entry.key: entry.value for entry in _parse(path, onnx.ModelProto(), content).metadata_props}


def _read_mindir(path: Path, content: bytes) -> dict[str, str]:
    try:
        from mindspore.train.mind_ir_pb2 import ModelProto
    except ImportError as error:
        raise UserError(f"reading {path} needs protobuf; pip install mindcv_halo[files]") from error
    return dict(_parse(path, ModelProto(), content).user_info)


def _parse(path: Path, message: Any, content: bytes) -> Any:
    from google.protobuf.message import DecodeError  # of whom made the message

    try:
        message.ParseFromString(content)
        whole = message.HasField("graph")  # of no bytes, and of many others, a message without anything can be made
    except DecodeError:
        whole = False
    if not whole:
        raise UserError(f"{path}: it is damaged, or no {path.suffix} file; export it anew")
    return message
