"""From a name and a folder to a minddata pipeline of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from ..idle_settings import warn_of_idle
from .bad_images import BadImages
from .dataset_download import get_dataset_download_root
from .dataset_names import ARRAY_DATASETS, DIGITS, canonical_name, suggest_name
from .digits import prepare_digits
from .distributed_sampler import RepeatAugSampler, check_shards, epoch_order
from .image_arrays import ImageArrays, read_arrays
from .image_folder import ImageFolder, NoSplitError, scan_image_folder
from .sample_source import EpochOrder, ImageFileReader, SampleDataset, SampleSource, clamp_workers


def create_dataset(
    name: str = "",
    root: str | None = None,
    split: str = "train",
    shuffle: bool = True,
    num_samples: int | None = None,
    num_shards: int | None = None,
    shard_id: int | None = None,
    num_parallel_workers: int | None = None,
    download: bool = False,
    num_aug_repeats: int = 0,
    class_names: Sequence[str] | None = None,
    skip_bad_images: bool = False,
    exif: bool = False,
    is_training: bool | None = None,
) -> SampleDataset:
    """A minddata data set with the columns image and label (int32).

    name: "cifar10", "cifar100", "mnist" or "fashion_mnist" (images are arrays: height, width, channels), "digits"
        (written under `root` on first use), all in any case, or any other name for a folder root/split/class/file;
        images of these two are undecoded.
    root: by default the working directory; for data sets of arrays get_dataset_download_root(). Fashion-MNIST is found
        where Debian's package dataset-fashion-mnist puts it, too. A zip or tar archive of folders is read in place,
        and so is root/split.mindrecord, or root/split.mindrecord0 and its other parts (see docs/images.md).
    shuffle: True is for training: a new order every epoch, equal shards (the last round is filled up with samples that
        another shard has too). False is for evaluation: fixed order, every sample in exactly one shard.
    num_samples: at most that many samples per epoch, over all shards.
    num_parallel_workers: threads that read files, clamped to the number of processors.
    download: fetch a data set of arrays into `root` if it is not there.
    num_aug_repeats: that many variants of each sample in one epoch (see RepeatAugSampler).
    class_names: the label of a class is its position here, instead of its position among the sorted folders.
    skip_bad_images: go on where a file cannot be decoded. In training another image of its class takes its place,
        always the same for the same sample of an epoch; in evaluation create_loader leaves the sample out of its batch
        (by itself it is a black pixel with the label -1). The log names each file once, and the data set's attribute
        `skipped` holds what was wrong with those that were met so far.
    exif: turn images as their EXIF orientation says; without it all formats come as they are stored.
    is_training: whether the data set is for training; by default it is if `shuffle` is True.

    `num_classes()` and `get_class_indexing()` tell the classes and their labels, also of what minddata's map, batch,
    shuffle and so on make of the data set. Its attribute `left_out` says which files of a folder are not taken, as they
    do not look like images.

    Order and contents depend on ds.config's seed when an iterator is made (see epoch_parts.seed_epoch).
    Raises UserError for folders that do not fit the rule above, before any pipeline runs.
    """
    clamp_workers(num_parallel_workers)  # what can be wrong comes before the folder is walked
    check_shards(num_shards, shard_id)
    return make_dataset(
        open_split(name, root, split, download, class_names),
        name,
        shuffle=shuffle,
        num_samples=num_samples,
        num_shards=num_shards,
        shard_id=shard_id,
        num_parallel_workers=num_parallel_workers,
        num_aug_repeats=num_aug_repeats,
        skip_bad_images=skip_bad_images,
        exif=exif,
        is_training=is_training,
    )


def make_dataset(
    samples: ImageFolder | ImageArrays,
    name: str,
    *,
    shuffle: bool,
    num_samples: int | None = None,
    num_shards: int | None = None,
    shard_id: int | None = None,
    num_parallel_workers: int | None = None,
    num_aug_repeats: int = 0,
    skip_bad_images: bool = False,
    exif: bool = False,
    is_training: bool | None = None,
) -> SampleDataset:
    """What create_dataset makes, of a split that open_split has opened already."""
    num_threads = clamp_workers(num_parallel_workers)
    shards = check_shards(num_shards, shard_id)
    bad_images, left_out = None, ""
    if isinstance(samples, ImageArrays):
        why = f"{canonical_name(name)} has no image files"
        idle = {"skip_bad_images": (skip_bad_images, False, why), "exif": (exif, False, why)}
        warn_of_idle("dataset", idle, stacklevel=4)  # the caller of create_dataset
        read, num_threads, left_out = samples.images.__getitem__, 1, samples.found
    else:
        read, left_out = ImageFileReader(samples.paths, exif, samples.storage), str(samples.left_out)
        if skip_bad_images:
            bad_images = BadImages(samples.labels, replaces=shuffle if is_training is None else is_training)
    order = _plan_order(
        len(samples.labels),
        shuffle=shuffle,
        num_samples=num_samples,
        shards=shards,
        num_aug_repeats=num_aug_repeats,
    )
    source = SampleSource(read, samples.labels, order, num_threads=num_threads, bad_images=bad_images)
    return SampleDataset(source, left_out=left_out, name=canonical_name(name), class_names=samples.class_names)


def get_dataset_size(name: str, root: str | None, split: str, download: bool = False) -> int:
    """The number of samples in a split, over all shards; `download` as for create_dataset."""
    return len(open_split(name, root, split, download).labels)


def get_class_names(name: str, root: str | None, split: str, download: bool = False) -> list[str]:
    """The names of the classes of a split; the label is the position. `download` as for create_dataset."""
    return list(open_split(name, root, split, download).class_names)


def open_split(
    name: str, root: str | None, split: str, download: bool = False, class_names: Sequence[str] | None = None
) -> ImageFolder | ImageArrays:
    """The samples of a split, for make_dataset; arguments as for create_dataset.

    This walks the folder, or reads the arrays: who needs its names, its size and its data set opens it once.
    """
    name = canonical_name(name)
    if name in ARRAY_DATASETS:
        arrays = read_arrays(name, get_dataset_download_root() if root is None else root, split, download)
        return arrays if class_names is None else arrays.relabel(class_names)
    root = "./" if root is None else root
    if download and name != DIGITS:
        raise UserError(
            f"dataset_download does not know {name or 'imagenet'!r}; it knows {', '.join(sorted(ARRAY_DATASETS))}: "
            "turn it off and point data_dir to the images"
        )
    try:
        return scan_image_folder(prepare_digits(root) if name == DIGITS else root, split, class_names)
    except NoSplitError as error:
        keys = " (in a recipe train_split and val_split name splits)" if error.has_root else ""
        meant = suggest_name(name)
        question = f"; or is dataset {name!r} meant to be {meant}?" if meant else ""
        raise UserError(f"{error}{keys}{question}") from None


def _plan_order(
    size: int, *, shuffle: bool, num_samples: int | None, shards: tuple[int, int], num_aug_repeats: int
) -> EpochOrder:
    num_shards, shard_id = shards
    if num_samples is not None and num_samples <= 0:
        raise UserError(f"num_samples={num_samples} must be positive; leave it out to use all samples")
    used = size if num_samples is None else min(size, num_samples)
    if not shuffle and used <= shard_id:
        raise UserError(
            f"shard_id={shard_id} of {num_shards} has none of the {used} samples; use {used} shards at most"
        )
    if num_aug_repeats < 0:
        raise UserError(f"aug_repeats (num_aug_repeats) {num_aug_repeats} must be at least 0, which is off")
    if num_samples is not None and num_aug_repeats > 0:
        raise UserError(
            f"num_samples {num_samples} and aug_repeats (num_aug_repeats) {num_aug_repeats} exclude each other; leave "
            "one of them out"
        )
    if num_aug_repeats > 0:
        return RepeatAugSampler(size, num_shards, shard_id, shuffle, num_aug_repeats).order

    def order(seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        indices = epoch_order(
            size,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            num_shards=num_shards,
            shard_id=shard_id,
            num_samples=num_samples,
        )
        return indices, np.zeros_like(indices)

    return order
