"""Training and validation on archives and MindRecord files of images are those on the folder, to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.hostile_archives import pack_tar, pack_zip
from support.records import read_folder, write_record
from support.small_run import CLASSES

from mindcv_halo import engine
from mindcv_halo.config import make_recipe
from mindcv_halo.data import find_bad_images
from mindcv_halo.models.weights import read_weights


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder.parent)): path.read_bytes() for path in folder.glob("*/*/*.png")}


def pack(kind: str, folder: Path, place: Path) -> Path:
    """The images of a folder in an archive, or each split of it in a MindRecord of two parts: what data_dir names."""
    write = {"zip": pack_zip, "tar": pack_tar}.get(kind)
    if write:
        archive = place.with_suffix(f".{kind}")
        archive.write_bytes(write(read_files(folder)))
        return archive
    for split in ("train", "val"):
        write_record(place / f"{split}.mindrecord", read_folder(folder / split), num_parts=2)
    return place


@pytest.mark.parametrize("kind", ["zip", "MindRecord"])
def test_a_run_goes_on_with_its_images_packed(kind, flags, plain_run, image_folder, tmp_path):
    """Its second epoch ends as that of the folder did."""
    run = shutil.copytree(plain_run.last_checkpoint.parent, tmp_path / "run")
    (run / "halonet_test_state-2_0.safetensors").unlink()
    packed = pack(kind, image_folder, tmp_path / "images")
    result = engine.train(make_recipe({**flags, "data_dir": str(packed), "resume": "True"}))
    assert result.metrics == plain_run.metrics
    weights, expected = (read_weights(str(each.last_checkpoint)) for each in (result, plain_run))
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["tar", "MindRecord"])
def test_validation_of_packed_images(kind, flags, plain_run, image_folder, tmp_path):
    """With the report, whose worst mistakes show what lies in the file, and say where."""
    packed = pack(kind, image_folder, tmp_path / "images")
    flags = {**flags, "data_dir": str(packed), "ckpt_path": str(plain_run.last_checkpoint)}
    metrics = engine.validate(make_recipe(flags), str(tmp_path / "report"))
    assert metrics == engine.validate(make_recipe({**flags, "data_dir": str(image_folder)}))
    page = (tmp_path / "report" / "report.html").read_text()
    num_mistakes = round(5 * len(CLASSES) * (1 - metrics.top1 / 100))
    place = f"{packed}/{image_folder.name}/val/" if kind == "tar" else f"{packed}/val.mindrecord"
    assert page.count("<figure>") == page.count(place) == num_mistakes
    assert not find_bad_images(str(packed), "val")
