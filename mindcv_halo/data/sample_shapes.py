"""What a sample of a data set looks like, and whether transforms and mixtures can take it, before a pipeline runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import vision

from ..errors import UserError
from .augment_ops import PillowTransform
from .batch_finish import BatchNormalisation
from .keyed_transform import KeyedTransform
from .random_erasing import RandomErasing
from .sample_source import ImageFileReader, SampleDataset, find_leaf

_DECODERS = (vision.Decode, vision.RandomCropDecodeResize)
_MOST_CHANNELS = 4  # behind height and width: no image is so narrow
_MOST_LABELS = 10_000  # that are tried one by one


@dataclass(frozen=True)
class SampleShape:
    """The shapes of the first sample: an image of one axis is an encoded file, one of three an array."""

    name: str  # of the data set, for cifar10 and its like
    image: tuple[int, ...]
    image_type: np.dtype
    label: tuple[int, ...]
    label_type: np.dtype

    @property
    def is_encoded(self) -> bool:
        return len(self.image) == 1


def describe_samples(dataset: ds.Dataset) -> SampleShape:
    """Of a data set of ours nothing is run; of others minddata makes the first sample.

    Raises UserError for a data set without the columns image and label.
    """
    columns = dataset.get_col_names()
    missing = [column for column in ("image", "label") if column not in columns]
    if missing:
        raise UserError(
            f"the data set has the columns {', '.join(columns)}, but no {' and no '.join(missing)}; name them with "
            "dataset.rename(...)"
        )
    if isinstance(dataset, SampleDataset):
        read, labels = dataset.source.read, dataset.source.labels
        image = (0,) if isinstance(read, ImageFileReader) else read(0).shape
        return SampleShape(dataset.name, image, np.dtype(np.uint8), labels.shape[1:], labels.dtype)
    shapes, types = dataset.output_shapes(), dataset.output_types()
    image, label = (columns.index(column) for column in ("image", "label"))
    return SampleShape(
        _find_name(dataset), tuple(shapes[image]), np.dtype(types[image]), tuple(shapes[label]), np.dtype(types[label])
    )


def _find_name(dataset: ds.Dataset) -> str:
    leaf = find_leaf(dataset)
    if isinstance(leaf, SampleDataset):
        return leaf.name
    known = {
        ds.MnistDataset: "mnist",
        ds.FashionMnistDataset: "fashion_mnist",
        ds.Cifar10Dataset: "cifar10",
        ds.Cifar100Dataset: "cifar100",
    }
    return known.get(type(leaf), "")


def check_transforms(sample: SampleShape, transforms: Sequence[Callable], means: int | None) -> None:
    """Raises UserError where the first of minddata's transforms, or of ours, cannot take the image.

    means: how many numbers the transforms' normalisation has, if they end with that of create_transforms.
    """
    first = transforms[0] if transforms else None
    needs_pixels = _is_minddatas(first) or isinstance(first, PillowTransform)
    name = type(first).__name__
    if isinstance(first, _DECODERS) and not (sample.is_encoded and sample.image_type.kind in "uSU"):
        own = sample.name or ("mnist" if sample.image[-1:] == (1,) else "cifar10")
        raise UserError(
            f"transform begins with {name}, but the images are arrays of shape {sample.image} and type "
            f"{sample.image_type}, not files; use create_transforms({own!r}) or take it out"
        )
    if needs_pixels and sample.is_encoded and not isinstance(first, _DECODERS):
        raise UserError(
            f"transform begins with {name}, but the images are undecoded files; use create_transforms('imagenet'), or "
            "put mindspore.dataset.vision.Decode() first"
        )
    if isinstance(first, RandomErasing):
        first.check(sample.image, sample.image_type)
    for earlier, later in pairwise(transforms):
        if isinstance(later, RandomErasing) and isinstance(
            earlier, (vision.HWC2CHW, vision.ToTensor, vision.Normalize)
        ):
            raise UserError(
                f"transform has RandomErasing behind {type(earlier).__name__}, and it is for bytes of shape (height, "
                "width, channels); put it before HWC2CHW and Normalize"
            )
    if means is None or (first is not None and not needs_pixels):
        return
    if not sample.is_encoded and (len(sample.image) != 3 or means not in (1, sample.image[-1])):
        raise UserError(
            f"transform normalises {means} channels, but the images have the shape {sample.image}; they must be "
            f"(height, width, {means}), or mean and std of create_transforms must have a number for each channel"
        )


def check_untransformed(dataset: ds.Dataset, sample: SampleShape, batch_size: int) -> None:
    """Raises UserError where images as they are make no batch, since they are files of different lengths."""
    if batch_size > 1 and sample.is_encoded and _lengths_differ(find_leaf(dataset)):
        raise UserError(
            f"transform is empty, and undecoded files of different lengths make no batch of {batch_size}; leave "
            "transform out for the evaluation transforms, or set batch_size to 1"
        )


def _lengths_differ(dataset: ds.Dataset) -> bool:
    if not isinstance(dataset, SampleDataset):
        return isinstance(dataset, ds.ImageFolderDataset)  # minddata's does not tell the files
    reader = dataset.source.read
    return isinstance(reader, ImageFileReader) and len(set(map(reader.storage.size, reader.paths))) > 1


def check_mixing(
    dataset: ds.Dataset,
    sample: SampleShape,
    transforms: Sequence[Callable],
    target_transform: Sequence[Callable],
    num_classes: int,
) -> None:
    """Raises UserError where a mixture cannot take the images or the labels that the transforms leave."""
    has_channels_first = len(sample.image) == 3 and sample.image[-1] > _MOST_CHANNELS
    moves = any(map(_moves_channels, transforms)) or not all(map(_is_known, transforms))
    if not has_channels_first and not moves:
        raise UserError(
            "mixup and cutmix mix images of (channels, height, width), and transform does not make them so; leave it "
            "out, or end it with vision.HWC2CHW()"
        )
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be a whole number of at least 1, to mix labels")
    if isinstance(dataset, SampleDataset):
        labels = list(np.unique(dataset.source.labels)[:_MOST_LABELS])
    else:
        labels = [np.zeros(sample.label, sample.label_type)]
        known = dataset.num_classes() if not target_transform and not sample.label else None
        labels += [np.array(known - 1, sample.label_type)] if known else []
    for label in labels:
        _check_label(_apply(target_transform, label), num_classes)


def _moves_channels(transform: Callable) -> bool:
    return isinstance(transform, (vision.HWC2CHW, vision.ToTensor, BatchNormalisation))


def _is_known(transform: Callable) -> bool:
    """Whether it is minddata's or ours, and so keeps the channels where they are unless it moves them."""
    return isinstance(transform, KeyedTransform) or _is_minddatas(transform)


def _is_minddatas(transform: Callable) -> bool:
    return type(transform).__module__.startswith("mindspore.dataset.vision")


def _apply(transforms: Sequence[Callable], label: np.ndarray) -> np.ndarray:
    result = label
    try:
        for transform in transforms:
            result = transform(result)
    except Exception as error:  # whatever the user's own code raises
        reason = next((line for line in reversed(str(error).splitlines()) if line.startswith("[ERROR]")), str(error))
        raise UserError(f"target_transform fails for the label {label}: {reason.removeprefix('[ERROR] ')}") from error
    return np.asarray(result)


def _check_label(label: np.ndarray, num_classes: int) -> None:
    if label.shape in ((), (1,)) and label.dtype.kind in "iu":
        if not 0 <= label.item() < num_classes:
            raise UserError(
                f"num_classes={num_classes} has no label {label.item()}; give the number of classes of the data set"
            )
    elif label.shape != (num_classes,) or label.dtype.kind not in "iuf":
        raise UserError(
            f"mixup and cutmix need labels that are whole numbers or one-hot, with num_classes={num_classes} numbers; "
            f"these have the shape {label.shape} and the type {label.dtype}"
        )
