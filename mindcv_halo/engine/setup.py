"""Everything that is built from a recipe: the device, the data, the network, and the cell of a training step."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mindspore
from mindspore import nn
from mindspore.dataset import Dataset

from ..config.options import DatasetOptions, Recipe, SystemOptions
from ..data import create_loader, create_transforms
from ..data.class_names import name_all_classes, read_class_file
from ..data.dataset_factory import make_dataset, open_split
from ..data.dataset_names import GREY_DATASETS, count_channels
from ..data.image_arrays import ImageArrays
from ..data.image_folder import ImageFolder
from ..data.sample_source import SampleDataset
from ..data.transforms_factory import find_statistics
from ..distributed.join import check_devices, check_launch, join_group
from ..distributed.launchers import NO_LAUNCHER, Topology, find_topology
from ..distributed.process_group import ProcessGroup
from ..errors import UserError
from ..loss import create_loss
from ..loss.registry import LOSSES, find_loss
from ..models import HaloNet, create_model, fuse_batchnorm
from ..models.freeze import freeze_stages
from ..models.recompute import recompute_attention
from ..models.registry import complete_cfg
from ..native import NativeUnavailableError, accelerate, load_kernels, name_bfloat16_instructions
from ..native.whole_network import NativeHaloNet
from ..optim import RateWindow, create_optimizer
from ..optim.adamw import AdamW
from ..runtime import count_devices, describe_environment, find_device, set_seed, share_processors, use_device
from ..scheduler import create_scheduler
from ..training.amp import auto_mixed_precision
from ..training.ema import EMA
from ..training.grad_scaler import GradScaler
from ..training.step import TrainStep, check_step_settings
from ..training.sync_batch_norm import convert_sync_batch_norm
from ..version import __version__

Split = ImageFolder | ImageArrays  # that is open

CLASS_NAMES_FILE = "class_names.txt"  # in a run's folder: one name a line, in the order of the labels (class_names.py)


def find_place(options: SystemOptions, *, needs_launcher: bool = True) -> Topology:
    """The place of this process in its job. Raises UserError where options, launcher and machine disagree.

    A recipe says `distribute` for the sake of training: where the job can do without a launcher, a line says so.
    """
    if not 0 <= options.seed < 2**31:
        raise UserError(f"seed {options.seed} must be at least 0 and below 2^31")
    topology = find_topology(os.environ, os.getppid())
    check_launch(topology, options.distribute, needs_launcher)
    device = find_device(options.device_target)
    if topology is not None:
        check_devices(topology, device, count_devices(device))
        share_processors(topology.local_rank, topology.local_size or 1)
    return topology or NO_LAUNCHER


def start_device(options: SystemOptions, topology: Topology) -> tuple[ProcessGroup, str]:
    """Set device, mode and seeds, join the other ranks, and return them with a line for the log about all of it."""
    device = use_device(options.device_target, topology.local_rank)
    mindspore.set_context(mode=options.mode)
    set_jit_level(options)
    group = join_group(topology, device)
    set_seed(options.seed, group.rank)
    mode = "PyNative" if options.mode else "graph"
    ranks = f"; {group.size} ranks by {topology.launcher}" if group.size > 1 else ""
    versions = f"mindcv_halo {__version__}, MindSpore {mindspore.__version__}"
    return group, f"{versions} on {device}, {mode} mode; {describe_environment()}{ranks}"


def set_jit_level(options: SystemOptions) -> None:
    """How graph mode compiles, if the options say."""
    if options.jit_level is not None:
        mindspore.set_context(jit_config={"jit_level": options.jit_level})


def fit_class_names(recipe: Recipe, found: Sequence[str]) -> list[str]:
    """A name for each class of a run's network: those of the data, and of more classes if the recipe says so.

    Raises UserError when the recipe says fewer.
    """
    given = recipe.model.num_classes
    if given is not None and given < len(found):
        raise UserError(
            f"num_classes {given} is less than the {len(found)} classes of dataset {recipe.dataset.name!r} in "
            f"{recipe.dataset.root}; give --num_classes {len(found)} or more, or leave it out (--num_classes None)"
        )
    return name_all_classes(found, given or len(found))


def build_network(recipe: Recipe, num_classes: int, *, is_training: bool = True) -> nn.Cell:
    """The recipe's network in its precision, with its weights if it names any; of a run with `ema` their averages.

    Raises UserError for what cannot be, such as batch norms folded into convolutions in a network for training.
    """
    options = asdict(recipe.model)
    channels = count_channels(recipe.dataset.name)
    if options["in_channels"] != channels:
        raise UserError(
            f"in_channels {options['in_channels']}: images of dataset {recipe.dataset.name!r} are read with {channels} "
            f"channels; set it to {channels}, or for grey images in_channels to 1 and dataset to "
            f"{' or '.join(GREY_DATASETS)}"
        )
    if options["reset_head"] and not is_training:
        raise UserError("reset_head is for training: a new classifier knows nothing; leave it out")
    if recipe.precision.fuse_bn and is_training:
        raise UserError("fuse_bn is for inference: a folded batch norm cannot learn; leave it out")
    if options["checkpoint_path"]:
        options["pretrained"] = False  # validation of a run whose recipe has it
    has_weights = bool(options["checkpoint_path"] or options["pretrained"])
    if options["reset_head"] is None or not has_weights:  # a run says the latter, as a recipe for fine-tuning has it
        options["reset_head"] = is_training and has_weights and options["num_classes"] is not None
    options["num_classes"] = num_classes
    if complete_cfg(recipe.model.model_name)["fixed_input_size"]:
        options["image_size"] = recipe.transform.image_resize
    if not is_training and options["checkpoint_path"]:
        options["ema"] = recipe.step.ema
    network = create_model(**options)
    precision = recipe.precision
    if precision.fuse_bn:
        network = fuse_batchnorm(network)
    if _uses_native_kernels(recipe, network, is_training):
        return accelerate(network, frozen=not is_training, precision=recipe.precision.precision)
    level = precision.amp_level if is_training else precision.val_amp_level
    return auto_mixed_precision(network, level, precision.amp_cast_list, precision.amp_dtype)


def name_kernels(network: nn.Cell) -> str:
    """For the log: what the network computes with."""
    if not isinstance(network, NativeHaloNet):
        return "portable"
    if network.precision == "bfloat16":
        return f"native, in bfloat16 on {name_bfloat16_instructions()}"
    return "native"


def _uses_native_kernels(recipe: Recipe, network: nn.Cell, is_training: bool) -> bool:
    """Whether the network is to run on native kernels. Raises UserError where it must and cannot."""
    wanted = recipe.system.native_kernels
    precision = recipe.precision
    asked = "native_kernels"
    if precision.precision == "bfloat16":
        if wanted is False:
            raise UserError("precision bfloat16 is of native_kernels, which are False; leave one out")
        wanted, asked = True, "precision bfloat16"
    if wanted is False:
        return False
    level = precision.amp_level if is_training else precision.val_amp_level
    device = mindspore.get_context("device_target")
    try:
        if not isinstance(network, HaloNet):
            name = type(network).__name__
            raise NativeUnavailableError(
                f"{asked}: native kernels are for HaloNets, and {recipe.model.model_name} is a {name}; leave it out"
            )
        if device != "CPU":
            elsewhere = "; elsewhere amp_level O2 with amp_dtype bfloat16 does" * (asked != "native_kernels")
            raise NativeUnavailableError(
                f"{asked}: native kernels are for CPUs, and this runs on {device}; leave it out{elsewhere}"
            )
        if level != "O0" or precision.amp_cast_list:
            what = "amp_cast_list" if precision.amp_cast_list else f"amp level {level}"
            raise NativeUnavailableError(f"{asked}: native kernels know no {what}; leave one out")
        if is_training and recipe.step.sync_bn:
            raise NativeUnavailableError(f"{asked}: native kernels know no sync_bn; leave one out")
        load_kernels()
    except NativeUnavailableError:
        if wanted:
            raise
        return False
    return True


def make_transforms(recipe: Recipe, *, is_training: bool) -> list:
    """From image files to arrays; the model's default_cfg says what the recipe leaves open."""
    separate = is_training and recipe.run.aug_splits > 0
    options = resolve_transform(recipe)
    return create_transforms(recipe.dataset.name, is_training=is_training, separate=separate, **options)


def resolve_transform(recipe: Recipe) -> dict[str, Any]:
    """The recipe's transform options; where it leaves them open, those of the data set, and the model's own."""
    cfg = complete_cfg(recipe.model.model_name)
    own = {
        "image_resize": cfg["input_size"][1],
        "interpolation": cfg["interpolation"],
        "crop_pct": cfg["crop_pct"],
        "mean": cfg["mean"],
        "std": cfg["std"],
    }
    statistics = find_statistics(recipe.dataset.name)
    if statistics is not None:
        own["mean"], own["std"] = statistics
        if len(own["mean"]) == 1:
            own["interpolation"] = "bilinear"  # minddata's bicubic is for colours
    return {name: own.get(name) if value is None else value for name, value in asdict(recipe.transform).items()}


def open_train_split(options: DatasetOptions) -> Split:
    """The training images, for their names and for make_train_loader."""
    return open_split(options.name, options.root, options.train_split, options.download)


def open_val_split(options: DatasetOptions) -> Split:
    """The validation images, for their names and for make_val_loader."""
    return open_split(options.name, options.root, options.val_split, options.download)


def make_train_loader(
    recipe: Recipe, images: Split, class_names: Sequence[str], topology: Topology = NO_LAUNCHER
) -> Dataset:
    """This rank's share of the training images, as many batches as every other rank has.

    `class_names` are in the order of the labels, and may be more than those of the images.
    """
    options = recipe.dataset
    if topology.size > 1 and not options.shuffle:
        raise UserError("shuffle False deals out unequal shares, and ranks would wait for each other; set it to True")
    dataset = _make_dataset(
        options,
        images.relabel(class_names),
        topology,
        is_training=True,
        shuffle=options.shuffle,
        num_samples=options.num_samples,
        num_aug_repeats=options.num_aug_repeats,
    )
    return create_loader(
        dataset,
        is_training=True,
        num_classes=len(class_names),
        transform=make_transforms(recipe, is_training=True),
        num_parallel_workers=options.num_parallel_workers,
        separate=recipe.run.aug_splits > 0,
        **asdict(recipe.loader),
    )


def make_val_loader(
    recipe: Recipe, images: Split, class_names: Sequence[str], topology: Topology = NO_LAUNCHER
) -> Dataset | None:
    """This rank's share of the validation images, in order; the last batch may be smaller.

    Every image is in one rank's share; None for a rank without any.
    """
    options = recipe.dataset
    if topology.rank >= len(images.labels):
        return None
    dataset = _make_dataset(options, images.relabel(class_names), topology, is_training=False, shuffle=False)
    return create_loader(
        dataset,
        recipe.loader.batch_size,
        transform=make_transforms(recipe, is_training=False),
        num_parallel_workers=options.num_parallel_workers,
    )


def _make_dataset(options: DatasetOptions, images: Split, topology: Topology, **sampling: Any) -> SampleDataset:
    return make_dataset(
        images,
        options.name,
        num_shards=topology.size,
        shard_id=topology.rank,
        num_parallel_workers=options.num_parallel_workers,
        skip_bad_images=options.skip_bad_images,
        exif=options.exif,
        **sampling,
    )


def read_class_names(checkpoint_path: str) -> list[str] | None:
    """The classes that a checkpoint was trained on, if its folder tells."""
    file = Path(checkpoint_path).parent / CLASS_NAMES_FILE
    return read_class_file(file) if checkpoint_path and file.is_file() else None


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
    loss = find_loss(recipe.loss.name)
    if loss.compares_copies and not recipe.run.aug_splits:
        raise UserError(
            f"loss {loss.name} compares augmented copies of an image; set aug_splits to 3, or take another loss"
        )
    if recipe.run.aug_splits and not loss.compares_copies:
        able = " or ".join(other.name for other in LOSSES.values() if other.compares_copies)
        raise UserError(f"aug_splits {recipe.run.aug_splits} needs the loss {able}, not {recipe.loss.name}")


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
    frozen = freeze_stages(network, options.frozen_stages, recipe.model.model_name)
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
        grad_scaler=_make_grad_scaler(precision.loss_scale, precision.loss_scale_type, precision.drop_overflow_update),
        ema=EMA(network, options.ema_decay) if options.ema else None,
        num_ranks=num_ranks,
        frozen=frozen,
    )
    if isinstance(network, NativeHaloNet) and num_ranks > 1:
        accelerate(step.all_reduce_mean)
    return step


def _make_grad_scaler(scale: float, kind: str, skips: bool) -> GradScaler | None:
    dynamic = kind != "fixed"
    return GradScaler(scale, dynamic=dynamic, skips=skips) if dynamic or skips or scale != 1 else None


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
