"""MindSpore's own format, which MindSpore and MindSpore Lite run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn

from .plain_path import read_from, write_to


def write_mindir(path: Path, network: nn.Cell, shape: tuple[int | None, ...], metadata: Mapping[str, str]) -> None:
    """Write `network` for images of `shape` (batch, channels, height, width); None leaves the batch open.

    The name of the file must end in .mindir. The network is left in evaluation mode.
    """

    def record(model: Any) -> None:
        model.user_info.update(metadata)

    network.set_train(False)
    images = Tensor(shape=shape, dtype=mindspore.float32)

    def write(plain: str) -> None:
        mindspore.export(network, images, file_name=plain, file_format="MINDIR", custom_func=record)

    write_to(path, write)


def run_mindir(path: Path, images: np.ndarray) -> list[np.ndarray]:
    """The outputs of the network in the file."""
    with read_from(path) as plain:
        graph = mindspore.load(plain)
    outputs = nn.GraphCell(graph)(Tensor(images))
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    return [output.asnumpy() for output in outputs]
