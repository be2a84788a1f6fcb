"""Adan: Nesterov momentum from the difference of successive gradients, with decoupled weight decay."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import nn, ops

from .registry import register_optimizer
from .steps import bias_correction, check_betas, check_eps, decays, next_step, rates


def _update(betas, corrections, eps, has_previous, lr, decay, parameter, m, v, n, previous, gradient):
    beta1, beta2, beta3 = betas
    correction1, correction2, correction3 = corrections
    difference = has_previous * (gradient - previous)
    new_m = beta1 * m + (1 - beta1) * gradient
    new_v = beta2 * v + (1 - beta2) * difference
    new_n = beta3 * n + (1 - beta3) * ops.square(gradient + beta2 * difference)
    direction = (new_m / correction1 + beta2 * new_v / correction2) / (ops.sqrt(new_n / correction3) + eps)
    shrink = 1 + lr * decay
    ops.assign(m, new_m)
    ops.assign(v, new_v)
    ops.assign(n, new_n)
    ops.assign(previous, gradient)
    return ops.assign(parameter, (parameter - lr * direction) / shrink)


@register_optimizer("adan")
class Adan(nn.Optimizer):
    """d = g - previous g (0 at the first step); m, v, n are moving averages of g, d and (g + beta2 * d)^2.

    With b1, b2, b3 = 1 - beta^t: p = (p - lr * (m / b1 + beta2 * v / b2) / (sqrt(n / b3) + eps))
    / (1 + lr * weight_decay). The betas say how much of an average is kept, as in the authors' code (1 - beta in
    the paper). `params` and `learning_rate` as in nn.Optimizer. MindCV's `use_locking`, which nothing reads, is left
    out.

    Raises UserError for a beta or eps out of range.
    Source: Xie et al. 2022, arXiv:2208.06677.
    """

    def __init__(
        self,
        params,
        learning_rate=1e-3,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("Adan", beta1=beta1, beta2=beta2, beta3=beta3)
        check_eps("Adan", eps)
        self.beta1 = float(beta1)
        self.beta2 = float(beta2)
        self.beta3 = float(beta3)
        self.log_beta1 = math.log(beta1)
        self.log_beta2 = math.log(beta2)
        self.log_beta3 = math.log(beta3)
        self.eps = float(eps)
        self.decays = decays(self, weight_decay)
        self.moments1 = self.parameters.clone(prefix="adan_m", init="zeros")
        self.moments2 = self.parameters.clone(prefix="adan_v", init="zeros")
        self.moments3 = self.parameters.clone(prefix="adan_n", init="zeros")
        self.previous = self.parameters.clone(prefix="adan_gradient", init="zeros")

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(gradients))
        lr = rates(self)
        step = next_step(self)
        has_previous = (step > 1).astype(ms.float32)
        correction1 = bias_correction(self.log_beta1, step)
        correction2 = bias_correction(self.log_beta2, step)
        correction3 = bias_correction(self.log_beta3, step)
        update = ops.partial(
            _update,
            (self.beta1, self.beta2, self.beta3),
            (correction1, correction2, correction3),
            self.eps,
            has_previous,
        )
        return self.hyper_map(
            update,
            lr,
            self.decays,
            self.parameters,
            self.moments1,
            self.moments2,
            self.moments3,
            self.previous,
            gradients,
        )
