"""MindCV's create_trainer: a mindspore.train.Model around this library's training step, for scripts of one's own.

`mindcv_halo.engine.train` does all of a training run, and more.
"""

from __future__ import annotations

from mindspore import Tensor, nn
from mindspore.train import Model

from ..errors import UserError, unknown_name
from ..training.amp import auto_mixed_precision, to_float32
from .train_step import TrainStep

_TOP5_CLASSES = 5  # at least, as in MindCV
_SCALES = ("fixed", "dynamic", "auto")


def get_metrics(num_classes: int) -> dict[str, nn.Metric]:
    """What Model.eval counts: Top_1_Accuracy, and from five classes on Top_5_Accuracy, shares from 0 to 1."""
    metrics = {"Top_1_Accuracy": nn.Top1CategoricalAccuracy()}
    if num_classes >= _TOP5_CLASSES:
        metrics["Top_5_Accuracy"] = nn.Top5CategoricalAccuracy()
    return metrics


def require_customized_train_step(
    ema: bool = False,
    clip_grad: bool = False,
    gradient_accumulation_steps: int = 1,
    amp_cast_list: str | None = None,
) -> bool:
    """Whether MindSpore's own training step lacks one of these. MindCV's scripts give the optimizer no loss scale then.

    create_trainer takes both.
    """
    return bool(ema or clip_grad or gradient_accumulation_steps > 1 or amp_cast_list)


def add_loss_network(network: nn.Cell, loss_fn: nn.Cell, amp_level: str) -> nn.Cell:
    """loss = cell(data, label): `loss_fn` of the network's output, in float32 if its `amp_level` is O2 or O3."""
    return nn.WithLossCell(network if amp_level not in ("O2", "O3") else _Float32Logits(network), loss_fn)


def create_trainer(
    network: nn.Cell,
    loss: nn.Cell,
    optimizer: nn.Optimizer,
    metrics: dict | set | None,
    amp_level: str,
    amp_cast_list: str | None = None,
    loss_scale_type: str = "fixed",
    loss_scale: float = 1.0,
    drop_overflow_update: bool = False,
    ema: bool = False,
    ema_decay: float = 0.9999,
    clip_grad: bool = False,
    clip_value: float = 15.0,
    gradient_accumulation_steps: int = 1,
) -> Model:
    """A Model that trains and evaluates `network`, which it brings to the precision of `amp_level`.

    `loss_scale_type` is "fixed" or, "auto" too, "dynamic", which always leaves out updates that overflow; a fixed scale
    does with `drop_overflow_update`. Both work on a CPU. `amp_cast_list`: see auto_mixed_precision. Other arguments as
    in TrainStep. Raises UserError for values out of range.
    """
    kind = loss_scale_type.lower()
    if kind not in _SCALES:
        raise unknown_name("loss_scale_type", loss_scale_type, _SCALES)
    if loss_scale < 1:
        raise UserError(f"loss_scale {loss_scale} must be at least 1")
    auto_mixed_precision(network, amp_level, amp_cast_list)
    level = "O2" if amp_cast_list else amp_level  # a cast class may be the last
    scale: float | nn.Cell = loss_scale
    if kind != "fixed":
        scale = nn.DynamicLossScaleUpdateCell(loss_scale, scale_factor=2, scale_window=2000)
    elif drop_overflow_update:
        scale = nn.FixedLossScaleUpdateCell(loss_scale)
    step = TrainStep(
        add_loss_network(network, loss, level),
        optimizer,
        scale_sense=scale,
        ema=ema,
        ema_decay=ema_decay,
        clip_grad=clip_grad,
        clip_value=clip_value,
        gradient_accumulation_steps=gradient_accumulation_steps,
    )
    if metrics is None:
        return Model(step)
    evaluation = nn.WithEvalCell(network, loss, add_cast_fp32=level in ("O2", "O3"))
    return Model(step, eval_network=evaluation, metrics=metrics, eval_indexes=[0, 1, 2])


class _Float32Logits(nn.Cell):
    """A network that computes in half precision, with its output, or all its outputs, in float32."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, data: Tensor):
        return to_float32(self.network(data))
