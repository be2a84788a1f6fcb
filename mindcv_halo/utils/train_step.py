"""One step of training as one cell, in graph and in PyNative mode."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn


class TrainStep(nn.Cell):
    """Forward, backward, update: (images, labels) -> the loss, a scalar.

    `loss` takes (logits, labels); `optimizer` holds the network's trainable parameters.
    """

    def __init__(self, network: nn.Cell, loss: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(auto_prefix=False)  # parameters keep their names, so that checkpoints fit the bare network
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.value_and_grad = mindspore.value_and_grad(self.forward, None, optimizer.parameters)
        self.set_train()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.loss(self.network(images), labels)

    def construct(self, images: Tensor, labels: Tensor) -> Tensor:
        loss, gradients = self.value_and_grad(images, labels)
        self.optimizer(gradients)
        return loss
