"""Damaged image files against everything that reads images: python tests/drills/fuzz_images.py

2,000 files of every format, each damaged in a way of its own, the same in every run, go through the training loader
(with and without skip_bad_images), the validation loader, Predictor, find_bad_images, and what the server does with an
upload. Each must be decoded, or be refused with an error that names it; it must not end the process, nor fail with
anything but a UserError. The end is a table and exit status 0, or 1 with what went wrong; the files that did it are
kept in --keep.

Each way runs in a process of its own, so that a crash ends that one, is counted, and the next goes on behind the file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from child_cases import try_cases
from PIL import Image

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent)]

from mindcv_halo.data import IMAGE_EXTENSIONS  # noqa: E402

SECONDS = 60  # for one file
WAYS = ("train", "train, skip_bad_images", "validate", "predict", "find_bad_images", "serve")


def draw(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with smooth and with noisy parts."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels[: height // 2] += rng.integers(-20, 20, pixels[: height // 2].shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_good_files() -> dict[str, bytes]:
    """One file of each kind, by its name."""
    picture, large = draw(64, 48), draw(200, 150, 1)
    deep = Image.fromarray((np.asarray(picture)[..., 0].astype(np.uint16) << 8) + 17)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    exif[0x927C] = _encode(picture.resize((32, 24)), "JPEG")  # where cameras keep another image
    kinds: dict[str, tuple[Image.Image, str, dict]] = {
        "baseline.jpg": (picture, "JPEG", {}),
        "full colour.jpg": (picture, "JPEG", {"subsampling": 0, "quality": 95}),
        "half colour.jpg": (picture, "JPEG", {"subsampling": 1}),
        "optimized.jpg": (large, "JPEG", {"optimize": True, "quality": 90}),
        "progressive.jpg": (large, "JPEG", {"progressive": True}),
        "grey progressive.jpg": (picture.convert("L"), "JPEG", {"progressive": True}),
        "grey.jpg": (picture.convert("L"), "JPEG", {}),
        "cmyk.jpg": (picture.convert("CMYK"), "JPEG", {}),
        "restarts.jpg": (large, "JPEG", {"restart_marker_blocks": 3}),
        "exif.jpg": (picture, "JPEG", {"exif": exif.tobytes()}),
        "pixel.jpg": (picture.resize((1, 1)), "JPEG", {}),
        "rgb.png": (picture, "PNG", {}),
        "palette.png": (picture.convert("P"), "PNG", {"transparency": 3}),
        "rgba.png": (picture.convert("RGBA"), "PNG", {"exif": exif.tobytes()}),
        "deep.png": (deep, "PNG", {}),
        "bits.png": (picture.convert("1"), "PNG", {}),
        "still.gif": (picture, "GIF", {}),
        "moving.gif": (picture, "GIF", {"save_all": True, "append_images": [draw(64, 48, 2)]}),
        "lossy.webp": (picture, "WEBP", {}),
        "lossless.webp": (picture.convert("RGBA"), "WEBP", {"lossless": True, "exif": exif.tobytes()}),
        "plain.tif": (picture, "TIFF", {"exif": exif}),
        "lzw.tif": (large, "TIFF", {"compression": "tiff_lzw"}),
        "jpeg.tif": (large, "TIFF", {"compression": "jpeg"}),
        "deflate.tif": (deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "fax.tif": (picture.convert("1"), "TIFF", {"compression": "group4"}),
        "rgb.bmp": (picture, "BMP", {}),
        "palette.bmp": (picture.convert("P"), "BMP", {}),
        "plain.ppm": (picture, "PPM", {}),
        "packed.tga": (picture, "TGA", {"compression": "tga_rle"}),
        "plain.pcx": (picture, "PCX", {}),
        "plain.sgi": (picture, "SGI", {}),
        "still.avif": (picture, "AVIF", {}),
        "wavelets.jp2": (picture, "JPEG2000", {}),
    }
    kinds = {name: kind for name, kind in kinds.items() if Path(name).suffix in IMAGE_EXTENSIONS}
    return {name: _encode(image, image_format, **options) for name, (image, image_format, options) in kinds.items()}


def _encode(image: Image.Image, image_format: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def damage(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """(what was done, the file)"""
    size, head = len(content), min(len(content), 700)
    broken = bytearray(content)
    end = head if rng.random() < 0.6 else size
    start = int(rng.integers(0, end))
    length = int(2 ** rng.uniform(0, 8))
    match int(rng.integers(8)):
        case 0:
            places = rng.integers(0, end, int(rng.integers(1, 4)))
            for place in places:
                broken[place] ^= 1 << int(rng.integers(8))
            what = f"bits flipped at {sorted(places.tolist())}"
        case 1:
            broken[start] = int(rng.choice([0, 1, 0x7F, 0xFF, 0xC0, 0xC4, 0xD9, 0xDA, 0xDB]))
            what = f"byte {start} is {broken[start]:#x}"
        case 2:
            del broken[start:]
            what = f"cut at {start}"
        case 3:
            broken[start : start + length] = bytes(len(broken[start : start + length]))
            what = f"zeros in {start} to {start + length}"
        case 4:
            broken[start:start] = rng.bytes(length)
            what = f"{length} bytes put in at {start}"
        case 5:
            del broken[start : start + length]
            what = f"{length} bytes taken out at {start}"
        case 6:
            first, second = sorted(rng.integers(0, size, 2).tolist())
            length = min(length, second - first)
            swapped = content[second : second + length], content[first : first + length]
            broken[first : first + length], broken[second : second + length] = swapped
            what = f"{length} bytes at {first} and {second} change places"
        case _:
            places = [place for place in range(size - 1) if content[place] == 0xFF and content[place + 1] > 0xBF]
            place = int(rng.choice(places)) if places else start
            broken[place + len(places[:1])] = int(rng.integers(256))
            what = f"the marker at {place} is {broken[place + len(places[:1])]:#x}"
    return what, bytes(broken)


def list_cases(count: int) -> Iterator[tuple[str, str, bytes]]:
    """(name of the good file, what was done, content); case 0 of each kind is not damaged."""
    good = make_good_files()
    names = list(good)
    for number in range(count):
        name = names[number % len(names)]
        if number < len(names):
            yield name, "nothing", good[name]
        else:
            yield name, *damage(good[name], np.random.default_rng(number))


def make_way(way: str, folder: Path) -> Callable[[Path], str]:
    """A function that takes a file in folder/train/a and tells "decoded", or the text of the error."""
    from mindcv_halo import Predictor, create_dataset, create_loader, create_model, create_transforms
    from mindcv_halo.data import find_bad_images
    from mindcv_halo.engine.batches import read_batches
    from mindcv_halo.errors import UserError
    from mindcv_halo.serving.limits import Limits, RefusedError
    from mindcv_halo.serving.upload import decode_upload

    root = str(folder)
    is_training = way.startswith("train")

    def load(_: Path) -> str:
        skips = way.endswith("skip_bad_images")
        dataset = create_dataset("", root, shuffle=is_training, skip_bad_images=skips)
        loader = create_loader(dataset, 2, is_training=is_training, transform=create_transforms("", 32, is_training))
        seen = sum(len(labels) for _, labels in read_batches(loader))
        assert seen == 2, f"{seen} images instead of 2"
        return "".join(dataset.skipped) or "decoded"

    def find(_: Path) -> str:
        return "".join(find_bad_images(root, "train")) or "decoded"

    if way in ("predict", "serve"):
        import mindspore

        checkpoint = str(folder / "model.ckpt")
        mindspore.save_checkpoint(create_model("halonet_test", num_classes=3), checkpoint)
        predictor = Predictor("halonet_test", checkpoint_path=checkpoint, num_classes=3, mode=1, image_resize=32)

    def predict(path: Path) -> str:
        predictor(path)
        return "decoded"

    def serve(path: Path) -> str:
        try:
            predictor(decode_upload(path.read_bytes(), Limits()))
        except (RefusedError, UserError) as error:
            return f"{path}: {error}"  # the answer to the upload, which has no name
        return "decoded"

    return {"predict": predict, "serve": serve, "find_bad_images": find}.get(way, load)


def work(way: str, count: int, first: int) -> None:
    """The cases from number `first` on; a line of JSON before and after each. Runs in a process of its own."""
    from mindcv_halo.errors import UserError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        (folder / "train" / "a").mkdir(parents=True)
        draw(40, 30).save(folder / "train" / "a" / "good.jpg")
        read = make_way(way, folder)
        for number, (kind, what, content) in enumerate(list_cases(count)):
            if number < first:
                continue
            path = folder / "train" / "a" / f"case{Path(kind).suffix}"
            path.write_bytes(content)
            print(json.dumps({"start": number, "what": f"{kind}, {what}"}), flush=True)
            signal.alarm(SECONDS)
            try:
                text = read(path)
            except UserError as error:
                text = str(error)
            except Exception as error:
                text = f"{type(error).__name__}: {error}"[:500]
            signal.alarm(0)
            outcome = "decoded" if text == "decoded" else "named" if str(path) in text else "UNNAMED"
            takes = way != "serve" or path.suffix in (".jpg", ".png", ".gif", ".webp", ".bmp")
            if outcome != "decoded" and what == "nothing" and takes:
                outcome = "GOOD REFUSED"
            if "\n" in text or not text.isprintable():
                outcome = "UNREADABLE TEXT"
            path.unlink()
            print(json.dumps({"end": number, "outcome": outcome, "text": text}), flush=True)


def run(way: str, count: int, keep: Path | None) -> tuple[Counter, list[str]]:
    """Counts of outcomes of a way, and a line about each bad one."""
    counts: Counter = Counter()
    bad = []

    def command(first: int) -> list[str]:
        return [sys.executable, __file__, "--work", way, "--first", str(first), "--files", str(count)]

    def say(text: str) -> None:
        counts["lines on standard error"] += text.count("\n")

    for case in try_cases(command, say):
        outcome = case.report["outcome"] if case.report else "CRASHED"
        counts[outcome] += 1
        if outcome.isupper():
            words = f"{outcome}: {case.report['text']}" if case.report else f"the process ended with {case.status}"
            bad.append(f"{way}: case {case.number}, {case.what}: {words}")
    if keep is not None and bad:
        keep.mkdir(parents=True, exist_ok=True)
        numbers = {int(line.split("case ")[1].split(",")[0]) for line in bad}
        for number, (kind, _, content) in enumerate(list_cases(count)):
            if number in numbers:
                (keep / f"{number}{Path(kind).suffix}").write_bytes(content)
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--only", default="", help="ways whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.files, options.first)
        return 0
    total: Counter = Counter()
    failures = []
    columns = ("decoded", "named", "CRASHED", "lines on standard error")
    print(f"{'':24}{'files':>8}{'decoded':>9}{'named':>7}{'crashes':>9}{'stderr lines':>14}  others")
    for way in WAYS:
        if options.only not in way:
            continue
        counts, bad = run(way, options.files, options.keep)
        total += counts
        failures += bad
        files = sum(counts.values()) - counts["lines on standard error"]
        others = {name: value for name, value in counts.items() if name not in columns}
        cells = (files, *(counts[name] for name in columns))
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, (8, 9, 7, 9, 14), strict=True))
        print(f"{way:24}{row}  {others or ''}", flush=True)
    print("\n".join(failures) or "nothing crashed, and whatever was not decoded was named")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
