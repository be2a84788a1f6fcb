"""Lion: the sign of an average gradient, with decoupled weight decay."""

from __future__ import annotations

from mindspore import nn, ops

from .registry import register_optimizer
from .steps import CLIP_NORM, check_betas, decays, next_step, rates


def _update(beta1, beta2, lr, decay, parameter, m, gradient):
    direction = ops.sign(beta1 * m + (1 - beta1) * gradient) + decay * parameter
    ops.assign(m, beta2 * m + (1 - beta2) * gradient)
    return ops.assign(parameter, parameter - lr * direction)


@register_optimizer("lion")
class Lion(nn.Optimizer):
    """p -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p), then m = beta2 * m + (1 - beta2) * g.

    Takes a 3 to 10 times smaller learning rate than AdamW and as much larger a weight decay. `params` and
    `learning_rate` as in nn.Optimizer. `clip` scales gradients down to a global norm of 5.

    Raises UserError for a beta out of range.
    Source: Chen et al. 2023, arXiv:2302.06675.
    """

    def __init__(
        self,
        params,
        learning_rate=2e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
        clip: bool = False,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("Lion", beta1=beta1, beta2=beta2)
        self.beta1 = float(beta1)
        self.beta2 = float(beta2)
        self.clip = clip
        self.decays = decays(self, weight_decay)
        self.moments = self.parameters.clone(prefix="lion_m", init="zeros")

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(gradients))
        if self.clip:
            gradients = ops.clip_by_global_norm(gradients, CLIP_NORM)
        lr = rates(self)
        next_step(self)
        update = ops.partial(_update, self.beta1, self.beta2)
        return self.hyper_map(update, lr, self.decays, self.parameters, self.moments, gradients)
