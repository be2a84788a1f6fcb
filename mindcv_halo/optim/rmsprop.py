"""RMSProp in TensorFlow's form, with eps in the root, and weight decay in the gradient."""

from __future__ import annotations

from mindspore import nn, ops

from ..errors import UserError
from .registry import register_optimizer
from .steps import check_betas, check_eps, next_step, rates


def _update(decay, momentum, eps, lr, parameter, mean_square, moment, gradient):
    new_mean_square = decay * mean_square + (1 - decay) * ops.square(gradient)
    new_moment = momentum * moment + lr * gradient / ops.sqrt(new_mean_square + eps)
    ops.assign(mean_square, new_mean_square)
    ops.assign(moment, new_moment)
    return ops.assign(parameter, parameter - new_moment)


@register_optimizer("rmsprop")
class RMSProp(nn.Optimizer):
    """s = decay * s + (1 - decay) * g^2, from 1; m = momentum * m + lr * g / sqrt(s + eps); p -= m.

    The weight decay is added to the gradient. `params` and `learning_rate` as in nn.Optimizer. The formula is that of
    mindspore's nn.RMSProp, whose CPU kernel puts eps elsewhere for most, but not all, elements of an array.

    Raises UserError for a value out of range.
    Source: Hinton 2012, lecture 6e of "Neural networks for machine learning".
    """

    def __init__(
        self,
        params,
        learning_rate=0.1,
        decay: float = 0.9,
        momentum: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("RMSProp", decay=decay)
        check_eps("RMSProp", eps)
        if not 0 <= momentum < 1:
            raise UserError(f"RMSProp: momentum {momentum!r} must be at least 0 and below 1")
        self.decay = float(decay)
        self.momentum = float(momentum)
        self.eps = float(eps)
        self.mean_squares = self.parameters.clone(prefix="mean_square", init="ones")
        self.moments = self.parameters.clone(prefix="moment", init="zeros")

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(self.decay_weight(gradients)))
        lr = rates(self)
        next_step(self)
        update = ops.partial(_update, self.decay, self.momentum, self.eps)
        return self.hyper_map(update, lr, self.parameters, self.mean_squares, self.moments, gradients)
