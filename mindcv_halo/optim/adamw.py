"""Adam with decoupled weight decay."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from .registry import register_optimizer
from .steps import CLIP_NORM, bias_correction, check_betas, check_eps, decays, next_step


def _update(kernel, beta1, beta2, eps, decays, index, lr, parameter, m, v, gradient):
    return kernel(parameter, m, v, lr, beta1, beta2, eps, decays[index], gradient)


@register_optimizer("adamw")
class AdamW(nn.Optimizer):
    """m and v are the moving averages of g and g^2; p -= lr * (m / b1 / (sqrt(v / b2) + eps) + weight_decay * p).

    b1 = 1 - beta1^t and b2 = 1 - beta2^t remove the averages' bias towards their start at zero (mindspore's
    nn.AdamWeightDecay leaves them out). `params` and `learning_rate` as in nn.Optimizer; parameters are float32.
    `clip` scales gradients down to a global norm of 5.

    Raises UserError for a beta or eps out of range.
    Source: Loshchilov and Hutter 2017, arXiv:1711.05101.
    """

    def __init__(
        self,
        params,
        learning_rate=1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        loss_scale: float = 1.0,
        clip: bool = False,
    ):
        super().__init__(learning_rate, params, weight_decay, loss_scale)
        check_betas("AdamW", beta1=beta1, beta2=beta2)
        check_eps("AdamW", eps)
        self.beta1 = Tensor(beta1, ms.float32)
        self.beta2 = Tensor(beta2, ms.float32)
        self.log_beta1 = math.log(np.float32(beta1))  # the kernel's averages use 1 - float32(beta)
        self.log_beta2 = math.log(np.float32(beta2))
        self.eps = float(eps)
        self.clip = clip
        self.moments1 = self.parameters.clone(prefix="adamw_m", init="zeros")
        self.moments2 = self.parameters.clone(prefix="adamw_v", init="zeros")
        each_decay = decays(self, weight_decay)
        self.decays = tuple(sorted(set(each_decay)))
        self.decay_index = tuple(self.decays.index(decay) for decay in each_decay)
        self.kernel = ops.AdamWeightDecay()

    def construct(self, gradients):
        gradients = self.scale_grad(self.gradients_centralization(gradients))
        if self.clip:
            gradients = ops.clip_by_global_norm(gradients, CLIP_NORM)
        rate = self.get_lr()
        step = next_step(self)
        # The fused kernel does p -= lr * (m / (sqrt(v) + eps) + weight_decay * p): the corrections go into its scalars,
        # each computed once and not for every parameter, which halves the time to compile.
        root = ops.sqrt(bias_correction(self.log_beta2, step))
        correction = root / bias_correction(self.log_beta1, step)
        if self.is_group_lr:
            rates = tuple([each * correction for each in rate])
        else:
            rates = (rate * correction,) * self.param_length
        decays = tuple([each / correction for each in self.decays])
        return self.update(rates, self.eps * root, decays, gradients)

    def update(self, rates, eps, decays, gradients):
        """Change every parameter; `rates` has a number for each, `decays` one for each of self.decays."""
        update = ops.partial(_update, self.kernel, self.beta1, self.beta2, eps, decays)
        return self.hyper_map(update, self.decay_index, rates, self.parameters, self.moments1, self.moments2, gradients)
