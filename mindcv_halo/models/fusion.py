"""Batch norm folded into the convolution before it, for inference."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
from mindspore import Tensor, nn

from ..errors import UserError
from .layers.conv_norm_act import ConvNormAct
from .layers.lambda_layer import LambdaLayer


class FoldedNorm(nn.Cell):
    """Stands where a batch norm was: returns its input, and raises RuntimeError in training mode."""

    def construct(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError(
                "this network is for inference: its batch norms are folded into its convolutions; train the network "
                "that fuse_batchnorm was given"
            )
        return x


def fuse_batchnorm(network: nn.Cell) -> nn.Cell:
    """A copy of `network` for inference, whose convolutions do the work of the batch norms right behind them.

    Takes any model of create_model, with or without a head or features_only; `network` stays as it is. Outputs differ
    by rounding, by less than 1e-5 of the largest logit where the weights do not amplify it. Calling the copy in
    training mode raises RuntimeError.

    The norm behind an attention stays a batch norm: no convolution is right before it, and MindSpore's CPU kernel is
    faster than a multiplication and an addition, up to eight times. Those inside a lambda layer are folded.

    Raises UserError for a network that auto_mixed_precision has been applied to; apply it to the result.
    """
    layers = (cell for _, cell in network.cells_and_names() if type(cell) is ConvNormAct)
    convs = (layer.conv for layer in layers if not isinstance(layer.norm, FoldedNorm))
    replaced = [conv.weight for conv in convs if isinstance(conv, nn.Conv2d)]
    fused = deepcopy(network, {id(weight): weight for weight in replaced})  # which need no copy
    for name, cell in fused.cells_and_names():
        fold = FOLDS.get(type(cell))
        if fold is not None and not any(isinstance(child, FoldedNorm) for child in cell.cells()):
            _check_precision(name, cell)
            fold(cell)
    fused.update_parameters_name()  # a cell that is put into another one names its parameters as if that were all
    return fused.set_train(False)


def _fold_conv_norm_act(cell: ConvNormAct) -> None:
    cell.conv = _fold(cell.conv, *_scale_and_shift(cell.norm))
    cell.norm = FoldedNorm()


def _fold_lambda_layer(cell: LambdaLayer) -> None:
    """Its projection makes queries, keys and values in this order; keys have no norm."""
    scale_q, shift_q = _scale_and_shift(cell.norm_q)
    scale_v, shift_v = _scale_and_shift(cell.norm_v)
    scale = np.concatenate((scale_q, np.ones(cell.dim_key), scale_v))
    shift = np.concatenate((shift_q, np.zeros(cell.dim_key), shift_v))
    cell.qkv = _fold(cell.qkv, scale, shift)
    cell.norm_q = FoldedNorm()
    cell.norm_v = FoldedNorm()


FOLDS: dict[type[nn.Cell], Callable[[nn.Cell], None]] = {
    ConvNormAct: _fold_conv_norm_act,
    LambdaLayer: _fold_lambda_layer,
}


def _check_precision(name: str, cell: nn.Cell) -> None:
    convolutions = [child for child in cell.cells() if isinstance(child, nn.Conv2d)]
    if not convolutions or any(cell.get_flags().get(flag) for flag in ("fp16", "bf16")):
        raise UserError(f"fuse_batchnorm: {name} has a precision of its own; call auto_mixed_precision afterwards")


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """What the norm multiplies its channels with, and what it adds then, in float64."""
    gamma, beta, mean, variance = (
        parameter.asnumpy().astype(np.float64)
        for parameter in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    return scale, beta - mean * scale


def _fold(conv: nn.Conv2d, scale: np.ndarray, shift: np.ndarray) -> nn.Conv2d:
    """`conv`, which has no bias, with its outputs multiplied by `scale` and `shift` added: both (out_channels,)."""
    kernel = conv.weight.asnumpy().astype(np.float64) * scale[:, None, None, None]
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.pad_mode,
        conv.padding,
        conv.dilation,
        conv.group,
        has_bias=True,
        weight_init="zeros",  # it would keep an array beside the parameter
        bias_init="zeros",
    )
    folded.weight.set_data(Tensor(kernel.astype(np.float32)))
    folded.bias.set_data(Tensor(shift.astype(np.float32)))
    return folded
