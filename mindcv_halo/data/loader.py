"""From a data set of samples to a loader of batches.

Reproducible epochs and resuming in the middle of one::

    dataset = create_dataset("digits", root)
    loader = create_loader(dataset, batch_size, is_training=True, transform=transforms, mixup=0.8, ...)
    for epoch in range(first_epoch, num_epochs):
        skipped = first_batch if epoch == first_epoch else 0
        for part in split_epoch(loader, seed, epoch, first_batch=skipped):  # a short epoch is one part
            for batch in part.create_dict_iterator(num_epochs=1):
                ...

A pipeline takes its seeds when an iterator is made. Python operators draw from [seed, epoch, sample], so that threads
and worker counts do not matter to them; minddata's own C++ operators draw in the order in which their worker meets the
samples, so that a restart must use the same num_parallel_workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import mindspore
import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import vision
from mindspore.dataset.transforms import TypeCast

from ..errors import UserError
from ..idle_settings import warn_of_idle
from .bad_images import drop_left_out
from .batch_finish import KeyedMixing, split_erasing, split_normalisation
from .batch_queues import Batches, BatchMap
from .dataset_names import count_channels
from .epoch_parts import Loader
from .keyed_transform import KeyedChain, KeyedTransform
from .mixup import Mixup
from .sample_shapes import SampleShape, check_mixing, check_transforms, check_untransformed, describe_samples
from .sample_source import KEY_COLUMN, PositionKeys, SampleDataset, clamp_workers, find_leaf
from .transforms_factory import create_transforms

_WORKERS_PER_FINISHER = 4  # finishing an image in its batch costs a tenth of making it
_STREAMS_PER_SPLIT = 256  # the splits of one image must draw differently
_SPLIT_COLUMNS = ["image_clean", "image_aug1", "image_aug2"]


def create_loader(
    dataset: ds.Dataset,
    batch_size: int,
    drop_remainder: bool = False,
    is_training: bool = False,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    cutmix_prob: float = 1.0,
    num_classes: int = 1000,
    transform: Callable | Sequence | None = None,
    target_transform: Callable | Sequence[Callable] | None = None,
    num_parallel_workers: int | None = None,
    python_multiprocessing: bool = False,
    separate: bool = False,
) -> Loader:
    """Transform the columns image and label of `dataset`, and group them into batches.

    transform: what create_transforms makes, a list of your own for the image column, or one transform. By default the
        evaluation transforms of the data set, 224 pixels; an empty list keeps the images as they are.
    target_transform: a list for the label column, or one transform. By default whole numbers become int32.
    mixup, cutmix: the alphas of the two mixtures, 0 for off; in training only, and then labels, whole numbers or
        one-hot, become float32 (batch, num_classes). cutmix_prob: the probability that a batch is mixed at all, by
        either.
    num_classes: for mixed labels alone.
    num_parallel_workers: of each stage that works on images, clamped to the number of processors; a quarter as many
        finish batches. Few batches wait to be taken, unless ds.config.set_prefetch_size says how many.
    separate: in training only; `transform` is then the three lists of create_transforms(is_training=True,
        separate=True), and a batch holds batch_size clean images followed by two augmented versions of them, and the
        labels three times.

    The data set may be any with the columns image and label (or fine_label, as minddata's CIFAR-100 has it); others
    are left out of the batches.
    Raises UserError, before a pipeline runs, for samples that the transforms cannot take, an impossible batch size or
    mixture, and `separate` together with a mixture.
    """
    if not (0 <= mixup < math.inf and 0 <= cutmix < math.inf):
        raise UserError(f"mixup={mixup} and cutmix={cutmix} must be finite and at least 0, which is off")
    if not 0 <= cutmix_prob <= 1:
        raise UserError(f"cutmix_prob={cutmix_prob} must be a probability, from 0 to 1")
    mixes = is_training and (mixup > 0 or cutmix > 0)
    evaluates = "" if is_training else "is_training is False"
    warn_of_idle(
        "loader",
        {
            "mixup": (mixup, 0, evaluates),
            "cutmix": (cutmix, 0, evaluates),
            "cutmix_prob": (cutmix_prob, 1, "" if mixup or cutmix else "mixup and cutmix are 0"),
            "separate": (separate, False, evaluates),
        },
    )
    splits = is_training and separate
    _check_batch_size(dataset, batch_size, drop_remainder)
    if splits and mixes:
        raise UserError(
            f"aug_splits (separate) does not go with mixup={mixup}, cutmix={cutmix}: its splits must share their "
            "labels; set both to 0, or turn aug_splits off"
        )
    may_leave_out = getattr(find_leaf(dataset), "may_leave_out", False)
    if may_leave_out and (is_training or target_transform):
        raise UserError(
            "skip_bad_images leaves samples out of batches that are evaluated as they are; for is_training or a "
            "target_transform make the data set with create_dataset(is_training=True), where others stand in for them"
        )
    workers = {
        "num_parallel_workers": clamp_workers(num_parallel_workers),
        "python_multiprocessing": python_multiprocessing,
    }
    if {"label", "fine_label"} & set(dataset.get_col_names()) == {"fine_label"}:
        dataset = dataset.rename("fine_label", "label")
    sample = describe_samples(dataset)
    if set(dataset.get_col_names()) != {"image", "label"}:
        dataset = dataset.project(["image", "label"])  # before batches, which others need not fit into
    *earlier, last = _arrange(transform, sample, splits)
    last, normalise = split_normalisation(last)
    operators = [operator for part in [*earlier, last] for operator in part]
    check_transforms(sample, operators, normalise.mean.size if normalise else None)
    if not operators and not normalise:
        check_untransformed(dataset, sample, batch_size)
    targets = _as_list(target_transform)
    if mixes:
        check_mixing(dataset, sample, [*operators, *filter(None, [normalise])], targets, num_classes)
    if mixes or any(isinstance(operator, KeyedTransform) for operator in operators):
        dataset = _with_keys(dataset)
    if not targets and sample.label_type.kind in "iu" and sample.label_type != np.int32:
        targets = [TypeCast(mindspore.int32)]
    if targets:
        dataset = dataset.map(targets, "label", **workers)
    erase = None
    if splits:
        dataset = map_transform_splits(dataset, (*earlier, last), **workers)
    else:
        last, erase = split_erasing(last)
        dataset = _map_images(dataset, last, "image", **workers)
    finishers = {**workers, "num_parallel_workers": -(-workers["num_parallel_workers"] // _WORKERS_PER_FINISHER)}
    batches = Batches(dataset, batch_size, drop_remainder, finishers["num_parallel_workers"])
    if splits:
        columns = [*_SPLIT_COLUMNS, "label"]
        batches = BatchMap(batches, concat_per_batch_map, columns, ["image", "label"], **finishers)
    if erase:
        columns = ["image", KEY_COLUMN]
        batches = BatchMap(batches, erase, columns, columns, **finishers)
    if mixes:
        mix = Mixup(
            mixup_alpha=mixup, cutmix_alpha=cutmix, prob=cutmix_prob, label_smoothing=0.0, num_classes=num_classes
        )
        mixing = KeyedMixing(mix, normalise or _to_floats)
        batches = BatchMap(batches, mixing, ["image", "label", KEY_COLUMN], ["image", "label"], **finishers)
    elif normalise:
        batches = BatchMap(batches, normalise, ["image"], **finishers)
    if may_leave_out:
        batches = BatchMap(batches, drop_left_out, ["image", "label"], **finishers)
    return Loader(batches, ["image", "label"], batch_size, workers["num_parallel_workers"])


def _arrange(transform: Callable | Sequence | None, sample: SampleShape, splits: bool) -> list[list[Callable]]:
    """The lists that `transform` holds: three if `splits`, else one."""
    is_triple = isinstance(transform, list | tuple) and [type(part) for part in transform] == [list] * 3
    if splits and not is_triple:
        raise UserError("separate needs the three lists of create_transforms(is_training=True, separate=True)")
    if is_triple and not splits:
        raise UserError(
            "transform holds the three lists of create_transforms(separate=True), which need create_loader with "
            "is_training=True and separate=True; give both, or make transform without separate"
        )
    if is_triple:
        return list(transform)
    if transform is not None:
        return [_as_list(transform)]
    if sample.is_encoded:
        return [create_transforms("imagenet")]
    if len(sample.image) != 3 or sample.image[-1] != count_channels(sample.name):
        raise UserError(f"there are no evaluation transforms for images of shape {sample.image}; give transform")
    if sample.image_type != np.uint8:
        raise UserError(
            f"the evaluation transforms are for bytes, and the images are {sample.image_type}; give transform"
        )
    evaluation = create_transforms(sample.name)
    return [[operator for operator in evaluation if not isinstance(operator, vision.Decode)]]


def _as_list(transforms: Callable | Sequence[Callable] | None) -> list[Callable]:
    if transforms is None:
        return []
    return [transforms] if callable(transforms) else list(transforms)


def _to_floats(images: np.ndarray) -> np.ndarray:
    """A copy, of a type that fractions of pixels fit into."""
    return np.array(images, images.dtype if images.dtype.kind == "f" else np.float32)


def map_transform_splits(
    dataset: ds.Dataset,
    transform: tuple[list, list, list],
    num_parallel_workers: int | None = None,
    python_multiprocessing: bool = False,
) -> ds.Dataset:
    """The column image becomes image_clean, image_aug1 and image_aug2: `transform` is (all, augmented only, all)."""
    workers = {
        "num_parallel_workers": clamp_workers(num_parallel_workers),
        "python_multiprocessing": python_multiprocessing,
    }
    shared, augmenting, final = transform
    dataset = _map_images(dataset, shared, "image", **workers)
    dataset = dataset.map(_triple, ["image"], _SPLIT_COLUMNS, **workers)
    for number, column in enumerate(_SPLIT_COLUMNS):
        own = final if number == 0 else [*augmenting, *final]
        dataset = _map_images(dataset, own, column, first=(number + 1) * _STREAMS_PER_SPLIT, **workers)
    return dataset


def concat_per_batch_map(
    image_clean: np.ndarray, image_aug1: np.ndarray, image_aug2: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Three batches of images one after the other, and the labels three times."""
    return np.concatenate([image_clean, image_aug1, image_aug2]), np.concatenate([label] * 3)


def _triple(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return image, image, image


def _map_images(
    dataset: ds.Dataset, transforms: Sequence[Callable], column: str, first: int = 0, **workers
) -> ds.Dataset:
    """Map `transforms` over one column: runs of keyed transforms as one operator, each run of others as one map."""
    keyed = KEY_COLUMN in dataset.get_col_names()
    for is_keyed, run in groupby(transforms, lambda transform: keyed and isinstance(transform, KeyedTransform)):
        run = list(run)
        if is_keyed:
            dataset = dataset.map(KeyedChain(run, first), [column, KEY_COLUMN], **workers)
            first += len(run)
        else:
            dataset = dataset.map(run, column, **workers)
    return dataset


def _with_keys(dataset: ds.Dataset) -> ds.Dataset:
    """`dataset` with a column of sample keys: its own if it is one of ours, else by position."""
    if isinstance(dataset, SampleDataset):
        return dataset.with_keys()
    return ds.zip((dataset, SampleDataset(PositionKeys(dataset.get_dataset_size()), (KEY_COLUMN,))))


def _check_batch_size(dataset: ds.Dataset, batch_size: int, drop_remainder: bool) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size {batch_size} must be a whole number of at least 1")
    size = dataset.get_dataset_size()
    if drop_remainder and size < batch_size:
        raise UserError(
            f"batch_size {batch_size} is more than the {size} samples of this shard, and drop_remainder drops the only "
            f"batch; use at most {size}, or turn drop_remainder off"
        )
