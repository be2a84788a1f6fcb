"""From a recipe and a network to the cell that makes a training step."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path

import mindspore
from mindspore import nn

from ..errors import UserError
from ..loss import create_loss
from ..models.recompute import recompute_attention
from ..native import accelerate
from ..native.networks import NativeHaloNet
from ..optim import RateWindow, create_optimizer
from ..optim.adamw import AdamW
from ..options import Recipe
from ..scheduler import create_scheduler
from ..utils.loss_scale import LossScale
from ..utils.sync_batch_norm import convert_sync_batch_norm
from ..utils.train_step import TrainStep, check_step_settings
from ..utils.weight_average import WeightAverage


def check_step_options(recipe: Recipe) -> None:
    """Raises UserError for what cannot be, before anything is built."""
    options = recipe.step
    check_step_settings(
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        clip_grad=options.clip_grad,
        clip_value=options.clip_value,
        ema_decay=options.ema_decay,
    )
    if options.lr_base_size < 1:
        raise UserError(f"lr_base_size {options.lr_base_size} must be at least 1")
    if recipe.precision.loss_scale < 1:
        raise UserError(f"loss_scale {recipe.precision.loss_scale} must be at least 1")
    if recipe.loss.name.lower() == "jsd" and not recipe.run.aug_splits:
        raise UserError("loss JSD compares augmented copies of an image; set aug_splits to 3, or take another loss")
    if recipe.run.aug_splits and recipe.loss.name.lower() != "jsd":
        raise UserError(f"aug_splits {recipe.run.aug_splits} needs the loss JSD, not {recipe.loss.name}")


def plan_rates(recipe: Recipe, steps_per_epoch: int, num_ranks: int) -> tuple[list[float], list[str]]:
    """The learning rate of every batch of the run, and what there is to say about them, a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rates = create_scheduler(steps_per_epoch, num_epochs=recipe.run.epoch_size, **asdict(recipe.scheduler))
    factor = find_rate_factor(recipe, num_ranks)
    remarks = [f"scheduler {recipe.scheduler.scheduler}: {warning.message}" for warning in caught]
    return rates if factor == 1 else [rate * factor for rate in rates], remarks


def find_rate_factor(recipe: Recipe, num_ranks: int) -> float:
    """What lr_scaling multiplies all rates by; an update's images count, from all its batches and ranks."""
    options = recipe.step
    images = recipe.loader.batch_size * num_ranks * options.gradient_accumulation_steps
    ratio = images / options.lr_base_size
    return {None: 1.0, "linear": ratio, "sqrt": ratio**0.5}[options.lr_scaling]


def make_step(recipe: Recipe, network: nn.Cell, rates: list[float], steps_per_epoch: int, num_ranks: int) -> TrainStep:
    """The training step of a network; an update that several batches make has the rate of the last of them.

    `optim.move_rates` brings its rates, an epoch's at once.
    """
    options, precision = recipe.step, recipe.precision
    every = options.gradient_accumulation_steps
    if options.sync_bn and num_ranks > 1:
        convert_sync_batch_norm(network, num_ranks)
    if options.recompute:
        recompute_attention(network)
    optimizer = create_optimizer(
        network,
        lr=RateWindow(rates[every - 1 :: every] or rates[-1:], length=steps_per_epoch // every + 2),
        checkpoint_path=str(_optimizer_file(recipe)) if recipe.run.resume_opt else "",
        **asdict(recipe.optim),
    )
    if isinstance(network, NativeHaloNet) and isinstance(optimizer, AdamW):
        optimizer = accelerate(optimizer)
    step = TrainStep(
        network,
        create_loss(**asdict(recipe.loss)),
        optimizer,
        accumulation_steps=every,
        clip_mode=options.clip_mode if options.clip_grad else None,
        clip_value=options.clip_value,
        loss_scale=_make_loss_scale(precision.loss_scale, precision.loss_scale_type, precision.drop_overflow_update),
        average=WeightAverage(network, options.ema_decay) if options.ema else None,
        num_ranks=num_ranks,
    )
    if isinstance(network, NativeHaloNet) and num_ranks > 1:
        accelerate(step.rank_mean)
    return step


def _make_loss_scale(scale: float, kind: str, skips: bool) -> LossScale | None:
    dynamic = kind != "fixed"
    return LossScale(scale, dynamic=dynamic, skips=skips) if dynamic or skips or scale != 1 else None


def _optimizer_file(recipe: Recipe) -> Path:
    checkpoint = recipe.model.checkpoint_path
    if not checkpoint:
        raise UserError("resume_opt needs ckpt_path, beside which the optimizer's state lies; or use --resume True")
    return Path(checkpoint).parent / optimizer_file_name(recipe.model.model_name)


def optimizer_file_name(model_name: str) -> str:
    """In a run's folder: the optimizer's state, for resume_opt."""
    return f"optim_{model_name}.ckpt"


def feeds_from_queue(recipe: Recipe) -> bool:
    """Whether steps read their batches from the device's queue. A CPU has none."""
    return recipe.step.dataset_sink_mode and mindspore.get_context("device_target") != "CPU"
