"""A running average of the weights, which often validates better than the weights themselves."""

from __future__ import annotations

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

PREFIX = "ema"
RAMP = 2000  # updates in which the decay rises to 1 - 1/e of its final value, as in MindCV


class EMA(nn.Cell):
    """average = d * average + (1 - d) * weight, with d = decay * (1 - exp(-updates / RAMP)).

    Batch norm's running statistics are averaged too. Parameters are called `ema.<name>`.
    """

    def __init__(self, network: nn.Cell, decay: float = 0.9999):
        super().__init__(auto_prefix=False)
        self.decay = decay
        weights = [parameter for parameter in network.get_parameters() if parameter.dtype == mstype.float32]
        self.weights = ParameterTuple(weights)
        self.averages = ParameterTuple(weights).clone(prefix=PREFIX)
        self.num_updates = Parameter(Tensor(0, mstype.int32), name=f"{PREFIX}_updates", requires_grad=False)

    def construct(self) -> None:
        ops.assign(self.num_updates, self.num_updates + 1)
        decay = self.decay * (1 - ops.exp(-self.num_updates.astype(mstype.float32) / RAMP))
        ops.HyperMap()(ops.partial(_average, decay), self.averages, self.weights)

    def copy_to(self, network: nn.Cell) -> None:
        """Give the averages to a network of the same architecture."""
        own = network.parameters_dict()
        for average in self.averages:
            own[average.name.removeprefix(f"{PREFIX}.")].set_data(Tensor(average.asnumpy()))


_average = ops.MultitypeFuncGraph("average")


@_average.register("Tensor", "Tensor", "Tensor")
def _average_tensor(decay, average, weight):
    return ops.assign(average, decay * average + (1 - decay) * weight)
