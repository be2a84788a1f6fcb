"""Batches out of a loader, with what goes wrong in an image named."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mindspore.dataset import Dataset

from ..data import bad_image_error


def read_batches(loader: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch of (images, labels). Raises UserError with its path for an image that cannot be decoded."""
    try:
        for batch in loader.create_dict_iterator(num_epochs=1, output_numpy=True):
            yield batch["image"], batch["label"]
    except RuntimeError as error:
        bad_image = bad_image_error(error)
        if bad_image is None:
            raise
        raise bad_image from error
