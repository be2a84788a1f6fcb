"""Large networks where no number of theirs matters: to draw initial weights is most of what building them takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn
from mindspore.common.dtype import dtype_to_nptype
from mindspore.nn.utils import no_init_parameters

from mindcv_halo import create_model


def create_constant(name: str, **options: Any) -> nn.Cell:
    """create_model(name, **options), all of whose weights are 1."""
    with no_init_parameters():
        network = create_model(name, **options)
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(np.ones(parameter.shape, dtype_to_nptype(parameter.dtype))))
    return network
