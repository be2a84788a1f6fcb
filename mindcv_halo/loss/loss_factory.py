"""From a loss's name and the settings of a recipe to the cell."""

from __future__ import annotations

from mindspore import Tensor, nn

from ..errors import UserError
from ..registration import import_modules
from .registry import LOSSES, RegisteredLoss, find_loss

import_modules(__package__)


def create_loss(
    name: str = "CE",
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    aux_factor: float = 0.0,
) -> nn.LossBase:
    """A loss cell: loss(logits, labels).

    `name`, in any case, is that of a loss in this package; docs/configuration.md lists them, and so does the error
    about one that there is not.
    `weight` (classes,) scales the classes; `reduction` is mean, sum or none; `label_smoothing` in [0, 1);
    `aux_factor` scales the loss of the further members when a model returns a tuple of logits.
    asl_multi_label takes the mean over images of the sum over classes (MindCV: always the sum).

    Raises UserError for an unknown name, a value out of range, and a setting that the loss does not have.
    """
    loss = find_loss(name)
    if weight is not None:
        _check_has(loss, "weight", "class weights", "leave weight out")
    if label_smoothing:
        _check_has(loss, "label_smoothing", "label smoothing", "set label_smoothing to 0")
    settings = {
        "weight": weight,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "aux_factor": aux_factor,
    }
    return loss.cell(**{argument: settings[setting] for setting, argument in loss.arguments.items()})


def _check_has(loss: RegisteredLoss, setting: str, words: str, way_out: str) -> None:
    if setting not in loss.arguments:
        able = ", ".join(other.name for other in LOSSES.values() if setting in other.arguments)
        raise UserError(f"loss {loss.name} has no {words}; {way_out}, or use one of {able}")
