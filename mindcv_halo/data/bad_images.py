"""What takes the place of samples whose image cannot be decoded.

minddata insists on as many samples as it was promised, so that one which is left out still comes: as a black pixel with
the label LEFT_OUT, which the loader takes out of its batch.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from threading import Lock

import numpy as np
from PIL import Image

from ..errors import UserError

LEFT_OUT = np.int32(-1)  # a label

_STREAM = 1 << 17  # far from the numbers of transforms, which draw from the same keys
_logger = logging.getLogger("mindcv_halo")


class BadImages:
    """The images of a data set that could not be decoded so far, each of which the log names once.

    If `replaces`, another image stands in for one that is bad: one of the same class that can be decoded, or of any
    class if all of its own are bad. Which one follows from the sample's key, not from threads or from what was read
    before. Otherwise the sample is left out.
    """

    def __init__(self, labels: np.ndarray, replaces: bool):
        self.labels = labels
        self.replaces = replaces
        self.errors: dict[int, str] = {}  # by the index of the image
        self._lock = Lock()

    def read(self, read: Callable[[int], np.ndarray], index: int, key: np.ndarray) -> tuple[np.int32, np.ndarray]:
        """(label, image) of a sample, or of what stands in for it.

        Raises UserError where nothing can stand in, because all images are bad.
        """
        image = self._try(read, index)
        if image is not None:
            return self.labels[index], image
        if not self.replaces:
            return LEFT_OUT, _BLACK_PIXEL
        rng = np.random.default_rng([*key.tolist(), _STREAM])
        for candidates in (np.flatnonzero(self.labels == self.labels[index]), np.arange(len(self.labels))):
            for other in rng.permutation(candidates).tolist():
                image = self._try(read, other)
                if image is not None:
                    return self.labels[other], image
        raise UserError(f"none of the {len(self.labels)} images can be decoded; the first: {self.errors[0]}")

    def _try(self, read: Callable[[int], np.ndarray], index: int) -> np.ndarray | None:
        if index in self.errors:
            return None
        try:
            return read(index)
        except UserError as error:
            self._note(int(index), str(error))
            return None

    def _note(self, index: int, error: str) -> None:
        with self._lock:
            if index in self.errors:  # two threads met it at the same time
                return
            self.errors[index] = error
            number = len(self.errors)
        what = "another image stands in for it" if self.replaces else "it is left out"
        _logger.warning(f"{error}; {what} (skip_bad_images, {number} so far)")


def drop_left_out(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A batch less the samples that are left out; it may be empty."""
    kept = labels != LEFT_OUT
    return (images, labels) if kept.all() else (images[kept], labels[kept])


def _encode_black_pixel() -> np.ndarray:
    content = io.BytesIO()
    Image.new("RGB", (1, 1)).save(content, "BMP")
    return np.frombuffer(content.getvalue(), np.uint8)


_BLACK_PIXEL = _encode_black_pixel()
