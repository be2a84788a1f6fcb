"""From a loss's name and the settings of a recipe to the cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mindspore import Tensor, nn

from ..errors import UserError, unknown_name
from .asymmetric import AsymmetricLossMultilabel, AsymmetricLossSingleLabel
from .binary_cross_entropy_smooth import BinaryCrossEntropySmooth
from .cross_entropy_smooth import CrossEntropySmooth
from .jsd import JSDCrossEntropy


@dataclass(frozen=True, kw_only=True)
class _Settings:
    name: str
    weight: Tensor | None
    reduction: str
    label_smoothing: float
    aux_factor: float


def create_loss(
    name: str = "CE",
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    aux_factor: float = 0.0,
) -> nn.LossBase:
    """A loss cell: loss(logits, labels).

    `name`, in any case: CE, BCE, asl_single_label, asl_multi_label (AsymmetricLoss...), JSD.
    `weight` (classes,) scales the classes; `reduction` is mean, sum or none; `label_smoothing` in [0, 1);
    `aux_factor` scales the loss of the further members when a model returns a tuple of logits.
    asl_multi_label takes the mean over images of the sum over classes (MindCV: always the sum).

    Raises UserError for an unknown name, a value out of range, and a setting that the loss cannot honour: `weight` for
    the asymmetric losses, `label_smoothing` for asl_multi_label.
    """
    if name.lower() not in _BUILDERS:
        raise unknown_name("loss", name.lower(), _BUILDERS)
    return _BUILDERS[name.lower()](
        _Settings(name=name, weight=weight, reduction=reduction, label_smoothing=label_smoothing, aux_factor=aux_factor)
    )


def _cross_entropy(settings: _Settings) -> nn.LossBase:
    return CrossEntropySmooth(settings.label_smoothing, settings.aux_factor, settings.reduction, weight=settings.weight)


def _binary_cross_entropy(settings: _Settings) -> nn.LossBase:
    return BinaryCrossEntropySmooth(
        settings.label_smoothing, settings.aux_factor, settings.reduction, weight=settings.weight
    )


def _asymmetric_single_label(settings: _Settings) -> nn.LossBase:
    _refuse_weight(settings)
    return AsymmetricLossSingleLabel(
        reduction=settings.reduction, smoothing=settings.label_smoothing, aux_factor=settings.aux_factor
    )


def _asymmetric_multi_label(settings: _Settings) -> nn.LossBase:
    _refuse_weight(settings)
    if settings.label_smoothing:
        raise UserError(f"loss {settings.name} has no label smoothing; set label_smoothing to 0, or use BCE")
    return AsymmetricLossMultilabel(reduction=settings.reduction, aux_factor=settings.aux_factor)


def _jensen_shannon(settings: _Settings) -> nn.LossBase:
    return JSDCrossEntropy(
        smoothing=settings.label_smoothing,
        weight=settings.weight,
        reduction=settings.reduction,
        aux_factor=settings.aux_factor,
    )


_BUILDERS: dict[str, Callable[[_Settings], nn.LossBase]] = {
    "ce": _cross_entropy,
    "bce": _binary_cross_entropy,
    "asl_single_label": _asymmetric_single_label,
    "asl_multi_label": _asymmetric_multi_label,
    "jsd": _jensen_shannon,
}


def _refuse_weight(settings: _Settings) -> None:
    if settings.weight is not None:
        raise UserError(f"loss {settings.name} has no class weights; leave weight out, or use CE or BCE")
