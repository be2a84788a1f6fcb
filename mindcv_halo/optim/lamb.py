"""LAMB: AdamW with a step length in proportion to the norm of each parameter."""

from __future__ import annotations

import math

from mindspore import nn, ops

from .registry import register_optimizer
from .steps import bias_correction, check_betas, check_eps, decays, next_step, rates


def _update(beta1, beta2, eps, correction1, correction2, lr, decay, parameter, m, v, gradient):
    new_m = beta1 * m + (1 - beta1) * gradient
    new_v = beta2 * v + (1 - beta2) * ops.square(gradient)
    direction = new_m / correction1 / (ops.sqrt(new_v / correction2) + eps)
    direction = direction + decay * parameter
    length = ops.sqrt(ops.square(parameter).sum())
    direction_length = ops.sqrt(ops.square(direction).sum())
    trust = ops.where(length * direction_length > 0, length / direction_length, ops.ones_like(length))
    ops.assign(m, new_m)
    ops.assign(v, new_v)
    return ops.assign(parameter, parameter - lr * trust * direction)


@register_optimizer("lamb")
class Lamb(nn.Optimizer):
    """u = m / b1 / (sqrt(v / b2) + eps) + weight_decay * p, as in AdamW; p -= lr * |p| / |u| * u.

    Where a norm is zero the factor is 1. `params` and `learning_rate` as in nn.Optimizer. Ours because mindspore's
    nn.Lamb has no CPU kernel, knows no loss scale, and is announced for removal.

    Raises UserError for a beta or eps out of range.
    Source: You et al. 2019, arXiv:1904.00962, algorithm 2 with phi(z) = z.
    """

    def __init__(
        self,
        params,
        learning_rate=1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("Lamb", beta1=beta1, beta2=beta2)
        check_eps("Lamb", eps)
        self.beta1 = float(beta1)
        self.beta2 = float(beta2)
        self.log_beta1 = math.log(beta1)
        self.log_beta2 = math.log(beta2)
        self.eps = float(eps)
        self.decays = decays(self, weight_decay)
        self.moments1 = self.parameters.clone(prefix="lamb_m", init="zeros")
        self.moments2 = self.parameters.clone(prefix="lamb_v", init="zeros")

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(gradients))
        lr = rates(self)
        step = next_step(self)
        correction1 = bias_correction(self.log_beta1, step)
        correction2 = bias_correction(self.log_beta2, step)
        update = ops.partial(_update, self.beta1, self.beta2, self.eps, correction1, correction2)
        return self.hyper_map(update, lr, self.decays, self.parameters, self.moments1, self.moments2, gradients)
