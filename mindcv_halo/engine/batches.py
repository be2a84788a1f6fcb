"""Batches out of a loader, and which images they are made of.

What is wrong with an image file is named, before the run where that is cheap. On a device batches can come through its
queue, and then nothing is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import mindspore
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, nn
from mindspore.dataset import Dataset

from ..config.options import RunOptions
from ..data import bad_image_error, find_bad_files
from ..data.decoding import decode
from ..data.sample_source import ImageFileReader, SampleSource, find_leaf
from ..distributed.process_group import ProcessGroup
from ..distributed.watchdog import limit_wait
from ..errors import UserError
from ..runs.log import log_to_file

# Looking at both ends of so many files takes about a second.
MOST_CHECKED = 20_000
_THREADS = 8


def check_image_files(loader: Dataset | None) -> None:
    """Raises UserError for the first image file of a small data set that is cut off or no image.

    Files of a larger one, and damage between the ends of a file, show when their turn comes. With skip_bad_images some
    may be bad, but not all.
    """
    if loader is None:
        return
    images = find_loaded_images(loader)
    files = images.files
    if not files or len(files) > MOST_CHECKED:
        return
    bad = list(find_bad_files(files, _THREADS, images.source.read.storage).values())
    if not bad:
        return
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    if find_leaf(loader).source.bad_images is None:
        raise UserError(f"{bad[0]}, or set skip_bad_images{more}")
    if len(bad) == len(set(files)):
        raise UserError(f"no image is left: {bad[0]}{more}")


def limit_batches(
    options: RunOptions, group: ProcessGroup, way_out: str = "--resume True goes on"
) -> Callable[[], AbstractContextManager]:
    """What makes the context in which a rank waits for a batch: where others wait for it, it must not hang."""
    if group.size == 1:
        return nullcontext
    seconds = options.data_timeout
    text = f"error: rank {group.rank}: no batch for {seconds:g} s (data_timeout): its data hangs; {way_out}"
    return partial(limit_wait, seconds, text, log_to_file)


def read_batches(
    loader: Dataset, limit: Callable[[], AbstractContextManager] = nullcontext
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch of (images, labels); `limit` makes the context in which each batch is waited for.

    Raises UserError with its path for an image that cannot be decoded.
    """
    try:
        batches = loader.create_dict_iterator(num_epochs=1, output_numpy=True)
        while True:
            with limit():
                batch = next(batches, None)
            if batch is None:
                return
            if len(batch["label"]):  # all images of a batch may be left out
                yield batch["image"], batch["label"]
    except RuntimeError as error:
        failures = getattr(getattr(find_leaf(loader), "source", None), "failures", None)
        if failures:
            raise failures[0] from error
        bad_image = bad_image_error(error)
        if bad_image is None:
            raise
        raise bad_image from error


def run_from_queue(step: nn.Cell, loader: Dataset) -> Iterator[Tensor]:
    """What `step` returns for each batch of an epoch, or of a part of one, which the device takes from its queue.

    MindSpore gives a loader a queue once, and only a loader of which nothing else was made: each epoch has a copy.
    """
    batches = deepcopy(loader)
    sink = mindspore.data_sink(step, batches)
    try:
        for _ in range(batches.get_dataset_size()):
            yield sink()
    finally:
        mindspore.runtime.synchronize()  # the last step may not have its batch yet
        queue = batches.__transfer_dataset__
        queue.stop_send()
        queue.release()


@dataclass(frozen=True)
class LoadedImages:
    """Image i is the i-th that the loader gives. Nothing is held but what the loader holds anyway."""

    source: SampleSource
    indices: np.ndarray  # of the i-th image in the source
    labels: np.ndarray  # int32
    paths: tuple[str, ...]  # of files; for a data set of arrays "image N", with its number in the split from 0
    has_files: bool

    @property
    def files(self) -> tuple[str, ...]:
        """The paths, but none for a data set of arrays."""
        return self.paths if self.has_files else ()

    def read(self, position: int) -> np.ndarray:
        """The pixels, as the transforms get them: uint8, (height, width, channels)."""
        image = self.source.read(self.indices[position])
        return decode(image) if image.ndim == 1 else image


def find_loaded_images(loader: ds.Dataset) -> LoadedImages:
    """The images that `loader`, made by create_loader over create_dataset, gives with minddata's present seed.

    Those that are known to be bad by now, and were left out for it, are none of them.
    """
    source: SampleSource = find_leaf(loader).source
    indices, _ = source.order(ds.config.get_seed(), 0)
    if source.bad_images is not None and not source.bad_images.replaces:
        indices = indices[~np.isin(indices, list(source.bad_images.errors))]
    has_files = isinstance(source.read, ImageFileReader)
    if has_files:
        paths = tuple(source.read.paths[index] for index in indices)
    else:
        paths = tuple(f"image {index}" for index in indices)
    return LoadedImages(source, indices, source.labels[indices], paths, has_files)


def find_left_out(loader: ds.Dataset | None) -> str:
    """One line about the files that are not taken as images; "" if there are none."""
    return getattr(find_leaf(loader), "left_out", "") if loader is not None else ""


def count_skipped(loader: ds.Dataset | None) -> int:
    """How many images were left out so far because they cannot be decoded."""
    return len(getattr(find_leaf(loader), "skipped", ())) if loader is not None else 0
