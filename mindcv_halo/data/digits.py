"""The handwritten digits that come with scikit-learn, as a folder of PNG images: a real data set without a download."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files.path import find_kind

NUM_IMAGES = 1797
_VAL_EVERY = 5  # of each class, in scikit-learn's order: about 20 %


def prepare_digits(root: str | os.PathLike) -> Path:
    """Write root/digits/{train,val}/{0..9}/NNNN.png once, and return root/digits.

    The images are 8x8 pixels, grey 0..255 (the source has 0..16); NNNN is the position in scikit-learn's data. Every
    fifth image of a class is in `val`. The folder appears only when it is complete.
    Source: E. Alpaydin, C. Kaynak 1998, Optical Recognition of Handwritten Digits, UCI (its test part).

    Raises UserError if scikit-learn is missing, or if root/digits exists with some of its images gone.
    """
    folder = Path(root) / "digits"
    if not find_kind(folder):
        try:
            _write(folder)
        except OSError as error:
            raise UserError(f"data_dir {root}: the digits cannot be written: {error.strerror or error}") from error
    found = sum(1 for _ in folder.glob("*/*/*.png"))
    if found != NUM_IMAGES:
        raise UserError(
            f"{folder} holds {found} images instead of {NUM_IMAGES}; delete the folder, it will be written again"
        )
    return folder


def _write(folder: Path) -> None:
    from PIL import Image

    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the data set 'digits' needs scikit-learn; pip install mindcv_halo[demo]") from None
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".digits-", dir=folder.parent))
    try:
        seen: Counter[int] = Counter()
        for position, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
            seen[label] += 1
            split = "val" if seen[label] % _VAL_EVERY == 0 else "train"
            target = unfinished / split / str(label)
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(target / f"{position:04d}.png")
        unfinished.chmod(0o755)  # mkdtemp lets only the owner in
        try:
            unfinished.rename(folder)
        except OSError:
            if not find_kind(folder):  # else another process was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
