"""Two networks trained on Fashion-MNIST with train.py: halonet_mini from its recipe, then halonet_26t.

The images come from the folder in FASHION_MNIST, from where Debian's package dataset-fashion-mnist puts them, or from
that package, fetched and unpacked into .cache without root. Flags for train.py may follow: python examples/fashion.py
--epoch_size 1 --warmup_epochs 0
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from mindcv_halo.config.parse import parse_recipe

ROOT = Path(__file__).parents[1]
PACKAGE = "dataset-fashion-mnist"
PLACE = "usr/share/datasets/fashion-mnist"  # of the images in the package
CACHE = ROOT / ".cache/fashion"
FILES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
RECIPES = ("configs/halonet/halonet_mini_fashion.yaml", "configs/halonet/halonet_26t_fashion.yaml")


def find_images() -> Path:
    given = os.environ.get("FASHION_MNIST")
    if given:
        missing = list_missing(Path(given))
        if missing:
            sys.exit(f"FASHION_MNIST={given} lacks {', '.join(missing)}; put them there, or leave FASHION_MNIST out")
        return Path(given).absolute()
    places = [place for place in (Path("/", PLACE), CACHE / PLACE) if not list_missing(place)]
    return places[0] if places else fetch_package()


def list_missing(place: Path) -> list[str]:
    """The files that a folder does not have, neither as they are nor gzipped."""
    return [name for name in FILES if not any((place / f"{name}{end}").is_file() for end in ("", ".gz"))]


def fetch_package() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=fresh, check=True)
            (archive,) = Path(fresh).glob(f"{PACKAGE}_*.deb")
            subprocess.run(["dpkg", "-x", archive, fresh], check=True)
            shutil.rmtree(CACHE / PLACE, ignore_errors=True)  # what an earlier one left unfinished
            (CACHE / PLACE).parent.mkdir(parents=True, exist_ok=True)
            Path(fresh, PLACE).rename(CACHE / PLACE)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(
            f"the package {PACKAGE} cannot be had ({error}); put the four files of Fashion-MNIST into a folder, and "
            "set FASHION_MNIST to it"
        )
    return CACHE / PLACE


def train(recipe: str, images: Path, flags: list[str]) -> tuple[str, str, float]:
    """The model's name, its top-1 of the last epoch, and minutes."""
    words = ["--config", recipe, "--data_dir", str(images), *flags]
    options = parse_recipe(words)
    start = perf_counter()
    status = run_to_its_end([sys.executable, "train.py", *words])
    minutes = (perf_counter() - start) / 60
    if status:
        sys.exit(status)
    with open(Path(options.run.ckpt_save_dir, "metrics.csv"), encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    model = options.model.model_name
    if len(rows) < options.run.epoch_size:  # train.py was asked to stop, which is no failure to it
        sys.exit(f"{model} ended after {len(rows)} of {options.run.epoch_size} epochs")
    top1 = rows[-1]["top1"]
    return model, f"{float(top1):.2f} %" if top1 else "not measured", minutes


def run_to_its_end(command: list[str]) -> int:
    """The status of a program that hears Ctrl-C as we do, and then finishes its step and saves."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


images = find_images()
os.chdir(ROOT)  # where the recipes lie, and what they name
rows = [train(recipe, images, sys.argv[1:]) for recipe in RECIPES]
print()
for model, top1, minutes in rows:
    print(f"{model}: top-1 {top1} on the test images of Fashion-MNIST, trained in {minutes:.1f} min")
