"""The images behind a loader, by their position in it."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore.dataset as ds
import numpy as np

from ..data.decoding import decode
from ..data.sample_source import ImageFileReader, SampleSource, find_leaf


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
