"""The first layers of a network as they are, for fine-tuning on few images."""

from __future__ import annotations

from mindspore import nn

from ..errors import UserError
from .network import HaloNet


def freeze_stages(network: nn.Cell, count: int, model_name: str) -> tuple[nn.Cell, ...]:
    """The stem and the first `count` stages of a HaloNet, whose parameters no optimizer gets from now on; 0 is none.

    Their batch norms stay only where they are kept from training mode, too: TrainStep does so with its `frozen`.
    Raises UserError for another network, or for more stages than it has.
    """
    if count == 0:
        return ()
    if not isinstance(network, HaloNet):
        raise UserError(
            f"frozen_stages {count}: stages are those of HaloNets, and {model_name} is a {type(network).__name__}; "
            "leave it out"
        )
    if not 0 < count <= len(network.stages):
        raise UserError(f"frozen_stages {count} must be at least 0 and at most {len(network.stages)} for {model_name}")
    frozen = (network.stem, *(network.stages[index] for index in range(count)))
    for part in frozen:
        for parameter in part.trainable_params():
            parameter.requires_grad = False
    return frozen
