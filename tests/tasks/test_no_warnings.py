"""No command shows a warning of Python's, with the path of a source file, whatever images and names it meets."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from support.small_run import command

from mindcv_halo.cli import main
from mindcv_halo.data.quiet_pillow import quiet_pillow

CLASSES = ("猫", "$a_b$", "line\nbreak", "long " * 30)
FLAGS = {"model": "halonet_test", "image_resize": "32", "device_target": "CPU", "mode": "1"}


def make_images() -> dict[str, bytes]:
    """Names and contents of what Pillow warns of, and reads."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    large = image.resize((300, 210))
    found = {
        "palette.gif": encode(image.quantize(16), "GIF", transparency=0),
        "palette.png": encode(image.quantize(16), "PNG", transparency=bytes(range(16))),
        "large.gif": encode(large, "GIF"),
        "large.png": encode(large, "PNG"),
        "exif.jpg": encode(image, "JPEG", exif=b"Exif\0\0" + b"II*\0\x08\0\0\0\x05\0" + b"\x0f\x01\x02\0"),
    }
    frames = bytearray(encode(image, "PNG", save_all=True, append_images=[image.rotate(180)]))
    count = frames.find(b"acTL")
    frames[count + 4 : count + 8] = bytes(4)
    frames[count + 12 : count + 16] = zlib.crc32(frames[count : count + 12]).to_bytes(4, "big")
    found["frames.png"] = bytes(frames)
    return found | {
        f"tail_{name}": content + b"tail" for name, content in found.items()
    }  # with a tail JPEG and PNG go through Pillow too


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("warned")
    for split in ("train", "val"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for file, content in make_images().items():
                if name == CLASSES[0] or file.startswith("palette"):
                    (root / split / name / file).write_bytes(content)
    return root


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Pillow takes images for large that are not; every warning would be heard."""
    before = ms.get_context("mode")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    yield
    ms.set_context(mode=before)


def listen(run) -> list[str]:
    """What is warned of while it runs, wherever."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        run()
    return sorted({f"{warning.filename}: {warning.message}" for warning in heard})


def read_all(folder: Path) -> None:
    for file in sorted((folder / "val" / CLASSES[0]).iterdir()):
        with Image.open(file) as image:
            image.getexif()
            image.convert("RGB")


def test_pillow_warns_of_these(folder):
    heard = " ".join(listen(lambda: read_all(folder)))
    for text in ("Transparency expressed in bytes", "decompression bomb", "Corrupt EXIF data", "Invalid APNG"):
        assert text in heard


def test_no_command_shows_a_warning(folder, tmp_path):
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    data = {**FLAGS, "data_dir": str(folder), "batch_size": "16"}
    weights = {"ckpt_path": str(run / "halonet_test_last.ckpt")}
    fit = {"epoch_size": "1", "warmup_epochs": "0", "val_while_train": "True", "ckpt_save_dir": str(run)}
    output = {"format": "csv", "output": str(tmp_path / "predictions.csv")}
    explained = [str(folder / "val" / CLASSES[0] / name) for name in ("palette.gif", "tail_exif.jpg")]
    commands = [
        command("train", {**data, **fit, "auto_augment": "randaug-m9-n2-mstd0.5-inc1"}),
        command("validate", {**data, **weights, "report": str(tmp_path / "report")}),
        [*command("infer", {**FLAGS, **weights, **output}), str(folder / "val")],
        [*command("infer", {**FLAGS, **weights, "explain": str(pictures)}), *explained],
    ]
    for words in commands:
        statuses = []
        heard = listen(lambda words=words, statuses=statuses: statuses.append(main(words)))
        assert (statuses, heard) == ([0], []), words[0]
    assert len(list(pictures.iterdir())) == 2


def test_uploads_are_quiet(folder, tmp_path):
    pytest.importorskip("starlette")
    from mindcv_halo.serving.limits import Limits
    from mindcv_halo.serving.upload import decode_upload

    limits = Limits(max_pixels=70_000)
    files = sorted((folder / "val" / CLASSES[0]).iterdir())
    assert listen(lambda: [decode_upload(file.read_bytes(), limits) for file in files]) == []


def test_only_pillow_is_quiet_and_only_meanwhile():
    def warn_as(module: str) -> None:
        warnings.warn_explicit("look out", UserWarning, f"{module}.py", 1, module)

    def run() -> None:
        with quiet_pillow():
            with quiet_pillow():
                warn_as("PIL.Image")
            warn_as("PIL.TiffImagePlugin")
            warn_as("PILLAR")
        warn_as("PIL.Image")

    before = list(warnings.filters)
    assert listen(run) == ["PIL.Image.py: look out", "PILLAR.py: look out"]
    assert warnings.filters == before
