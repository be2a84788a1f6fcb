"""What training, validation and prediction have in common: the device, the data and the network of a recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mindspore
from mindspore import nn
from mindspore.dataset import Dataset

from ..data import create_dataset, create_loader, create_transforms, get_dataset_size
from ..data.class_names import name_all_classes, read_class_file
from ..data.dataset_names import count_channels
from ..data.sample_source import SampleDataset
from ..data.transforms_factory import find_statistics
from ..errors import UserError
from ..models import HaloNet, create_model, fuse_batchnorm
from ..models.registry import complete_cfg
from ..native import NativeUnavailableError, accelerate, load_kernels
from ..native.networks import NativeHaloNet
from ..options import DatasetOptions, Recipe, SystemOptions
from ..utils.amp import auto_mixed_precision
from ..utils.distributed import check_devices, check_launch, join_group
from ..utils.process_group import ProcessGroup
from ..utils.runtime import count_devices, describe_environment, find_device, share_processors, use_device
from ..utils.seeds import set_seed
from ..utils.topology import ALONE, Topology, find_topology
from ..version import __version__

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
    return topology or ALONE


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
            f"channels; set it to {channels}, or for grey images in_channels to 1 and dataset to mnist"
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
        return accelerate(network, frozen=not is_training)
    level = precision.amp_level if is_training else precision.val_amp_level
    return auto_mixed_precision(network, level, precision.amp_cast_list, precision.amp_dtype)


def name_kernels(network: nn.Cell) -> str:
    """For the log: what the network computes with."""
    return "native" if isinstance(network, NativeHaloNet) else "portable"


def _uses_native_kernels(recipe: Recipe, network: nn.Cell, is_training: bool) -> bool:
    """Whether the network is to run on native kernels. Raises UserError where it must and cannot."""
    wanted = recipe.system.native_kernels
    if wanted is False:
        return False
    precision = recipe.precision
    level = precision.amp_level if is_training else precision.val_amp_level
    device = mindspore.get_context("device_target")
    try:
        if not isinstance(network, HaloNet):
            raise NativeUnavailableError(
                f"native_kernels are for HaloNets, and {recipe.model.model_name} is a {type(network).__name__}; "
                "leave them out"
            )
        if device != "CPU":
            raise NativeUnavailableError(f"native_kernels are for CPUs, and this runs on {device}; leave them out")
        if level != "O0" or precision.amp_cast_list:
            what = "amp_cast_list" if precision.amp_cast_list else f"amp level {level}"
            raise NativeUnavailableError(f"native_kernels are for float32, not {what}; leave one out")
        if is_training and recipe.step.sync_bn:
            raise NativeUnavailableError("native_kernels know no sync_bn; leave one out")
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


def make_train_loader(
    recipe: Recipe, class_names: Sequence[str], num_classes: int, topology: Topology = ALONE
) -> Dataset:
    """This rank's share of the training images, as many batches as every other rank has."""
    options = recipe.dataset
    if topology.size > 1 and not options.shuffle:
        raise UserError("shuffle False deals out unequal shares, and ranks would wait for each other; set it to True")
    dataset = _open_split(
        options,
        options.train_split,
        class_names,
        topology,
        is_training=True,
        shuffle=options.shuffle,
        num_samples=options.num_samples,
        num_aug_repeats=options.num_aug_repeats,
    )
    return create_loader(
        dataset,
        is_training=True,
        num_classes=num_classes,
        transform=make_transforms(recipe, is_training=True),
        num_parallel_workers=options.num_parallel_workers,
        separate=recipe.run.aug_splits > 0,
        **asdict(recipe.loader),
    )


def make_val_loader(recipe: Recipe, class_names: Sequence[str], topology: Topology = ALONE) -> Dataset | None:
    """This rank's share of the validation images, in order; the last batch may be smaller.

    Every image is in one rank's share; None for a rank without any.
    """
    options = recipe.dataset
    if topology.rank >= get_dataset_size(options.name, options.root, options.val_split, options.download):
        return None
    dataset = _open_split(options, options.val_split, class_names, topology, is_training=False, shuffle=False)
    return create_loader(
        dataset,
        recipe.loader.batch_size,
        transform=make_transforms(recipe, is_training=False),
        num_parallel_workers=options.num_parallel_workers,
    )


def _open_split(
    options: DatasetOptions, split: str, class_names: Sequence[str], topology: Topology, **sampling: Any
) -> SampleDataset:
    return create_dataset(
        options.name,
        options.root,
        split,
        num_shards=topology.size,
        shard_id=topology.rank,
        num_parallel_workers=options.num_parallel_workers,
        download=options.download,
        class_names=class_names,
        skip_bad_images=options.skip_bad_images,
        exif=options.exif,
        **sampling,
    )


def read_class_names(checkpoint_path: str) -> list[str] | None:
    """The classes that a checkpoint was trained on, if its folder tells."""
    file = Path(checkpoint_path).parent / CLASS_NAMES_FILE
    return read_class_file(file) if checkpoint_path and file.is_file() else None
