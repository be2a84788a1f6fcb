"""Adam with Nesterov momentum, and weight decay in the gradient."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from ..errors import UserError
from .registry import register_optimizer
from .steps import bias_correction, check_betas, check_eps, next_step, rates


def _update(beta1, beta2, eps, mu, next_mu, product, correction, lr, parameter, m, v, gradient):
    new_m = beta1 * m + (1 - beta1) * gradient
    new_v = beta2 * v + (1 - beta2) * ops.square(gradient)
    ahead = next_mu * new_m / (1 - product * next_mu) + (1 - mu) * gradient / (1 - product)
    ops.assign(m, new_m)
    ops.assign(v, new_v)
    return ops.assign(parameter, parameter - lr * ahead / (ops.sqrt(new_v / correction) + eps))


@register_optimizer("nadam")
class NAdam(nn.Optimizer):
    """Adam whose first moment looks one step ahead; the momentum rises to beta1 with the steps.

    u_t = beta1 * (1 - 0.96^(t * schedule_decay) / 2) and U_t = u_1 * ... * u_t; m and v are the moving averages of g
    and g^2; p -= lr * (u_{t+1} * m / (1 - U_{t+1}) + (1 - u_t) * g / (1 - U_t)) / (sqrt(v / (1 - beta2^t)) + eps).
    The weight decay is added to the gradient. `params` and `learning_rate` as in nn.Optimizer.

    Raises UserError for a value out of range.
    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam"; as torch's NAdam.
    """

    def __init__(
        self,
        params,
        learning_rate=2e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
        schedule_decay: float = 4e-3,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("NAdam", beta1=beta1, beta2=beta2)
        check_eps("NAdam", eps)
        if not schedule_decay >= 0:
            raise UserError(f"NAdam: schedule_decay {schedule_decay!r} must be at least 0")
        self.beta1 = float(beta1)
        self.beta2 = float(beta2)
        self.log_beta2 = math.log(beta2)
        self.log_schedule = schedule_decay * math.log(0.96)
        self.eps = float(eps)
        self.moments1 = self.parameters.clone(prefix="nadam_m", init="zeros")
        self.moments2 = self.parameters.clone(prefix="nadam_v", init="zeros")
        self.mu_product = Parameter(Tensor(1.0, ms.float32), name="mu_product")

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(self.decay_weight(gradients)))
        lr = rates(self)
        step = next_step(self)
        mu = self.momentum(step)
        next_mu = self.momentum(step + 1)
        product = self.mu_product * mu
        ops.assign(self.mu_product, product)
        correction = bias_correction(self.log_beta2, step)
        update = ops.partial(_update, self.beta1, self.beta2, self.eps, mu, next_mu, product, correction)
        return self.hyper_map(update, lr, self.parameters, self.moments1, self.moments2, gradients)

    def momentum(self, step):
        return self.beta1 * (1 - 0.5 * ops.exp(step * self.log_schedule))
