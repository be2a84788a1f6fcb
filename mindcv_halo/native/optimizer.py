"""AdamW whose update is one kernel for all parameters."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

from ..optim.adamw import AdamW
from .operators import make_adamw
from .registry import native


@native(AdamW, alone=True)
class NativeAdamW(AdamW):
    """AdamW as one kernel for all parameters, which it changes in place."""

    def prepare(self) -> None:
        self.native_kernel = make_adamw(self.param_length)
        self.decay_of_each = Tensor(np.array(self.decay_index, np.int32))
        self.ones = Tensor(np.ones(self.param_length, np.float32))

    def update(self, rates, eps, decays, gradients):
        rates = ops.stack([rate.reshape(()) for rate in rates]) if self.is_group_lr else rates[0] * self.ones
        decays = ops.gather(ops.stack([decay.reshape(()) for decay in decays]), self.decay_of_each, 0)
        numbers = ops.stack((self.beta1, self.beta2, eps.reshape(())))
        return self.native_kernel(*self.parameters, *self.moments1, *self.moments2, *gradients, rates, decays, numbers)
