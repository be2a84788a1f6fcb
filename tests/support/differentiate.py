"""One forward and backward pass of a cell, in whichever mode MindSpore is in, as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn


class Derivatives(NamedTuple):
    """What a pass gives: the loss, the cell's output, and the gradients of its input and of each parameter by name."""

    loss: float
    output: np.ndarray
    of_input: np.ndarray
    of_parameters: dict[str, np.ndarray]


class Differentiated(nn.Cell):
    """(x, target) -> ((loss, output), (gradient of x, gradients of the trainable parameters))."""

    def __init__(self, network: nn.Cell, loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__(auto_prefix=False)  # a prefix would rename the parameters
        self.network = network
        self.loss = loss
        self.differentiate = ms.value_and_grad(self.forward, 0, network.trainable_params(), has_aux=True)

    def forward(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(x)
        return self.loss(output, target), output

    def construct(self, x: Tensor, target: Tensor):
        return self.differentiate(x, target)


def differentiate(
    network: nn.Cell, loss: Callable[[Tensor, Tensor], Tensor], x: np.ndarray, target: np.ndarray
) -> Derivatives:
    """The derivatives of `loss(network(x), target)`; the network keeps its training or evaluation behaviour."""
    names = [parameter.name for parameter in network.trainable_params()]
    step = Differentiated(network, loss)
    (value, output), (of_input, of_parameters) = step(Tensor(x), Tensor(target))
    gradients = {name: gradient.asnumpy() for name, gradient in zip(names, of_parameters, strict=True)}
    return Derivatives(float(value.asnumpy()), output.asnumpy(), of_input.asnumpy(), gradients)


def weighted_sum(output: Tensor, weights: Tensor) -> Tensor:
    """A loss whose gradient with respect to the output is `weights`."""
    return (output * weights).sum()
