"""The format of Ascend's own compiler. None of this was run, but for the refusal: it takes an Ascend device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor, nn

from ..errors import UserError
from ..runtime import find_device
from .plain_path import write_to


def require_ascend(requested: str | None, batch_size: int | None) -> None:
    """Raise UserError where the device of the run, `requested` or else the machine's first, is no Ascend.

    So it does for an open batch, None.
    """
    device = find_device(requested)
    if device != "Ascend":
        raise UserError(
            f"--format air is written by Ascend's compiler, and this run is on a {device}; export on Ascend, or choose "
            "mindir"
        )
    if batch_size is None:
        raise UserError("--format air has a fixed batch; give --batch_size in place of --dynamic_batch")


def write_air(path: Path, network: nn.Cell, shape: tuple[int | None, ...], metadata: Mapping[str, str]) -> None:
    """Write `network` for images of `shape` (batch, channels, height, width); the format has no place for metadata."""
    network.set_train(False)
    images = Tensor(np.zeros(shape, np.float32))
    write_to(path, lambda plain: mindspore.export(network, images, file_name=plain, file_format="AIR"))
