"""Two networks trained on Fashion-MNIST with train.py: halonet_mini from its recipe, then halonet_26t.

The images come from the folder in FASHION_MNIST, from where Debian's package dataset-fashion-mnist puts them, or from
that package, fetched and unpacked into .cache without root. Flags for train.py may follow: python examples/fashion.py
--epoch_size 1 --warmup_epochs 0
"""

import csv
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from mindcv_halo.config import make_recipe, read_recipe

ROOT = Path(__file__).parents[1]
PACKAGE = "dataset-fashion-mnist"
PLACE = "usr/share/datasets/fashion-mnist"  # of the images in the package
CACHE = ROOT / ".cache/fashion"
RECIPES = ("configs/halonet/halonet_mini_fashion.yaml", "configs/halonet/halonet_26t_fashion.yaml")


def find_images() -> Path:
    given = os.environ.get("FASHION_MNIST")
    places = [Path(given)] if given else [Path("/", PLACE), CACHE / PLACE]
    for place in places:
        if any((place / f"train-images-idx3-ubyte{end}").is_file() for end in ("", ".gz")):
            return place
    if given:
        sys.exit(f"FASHION_MNIST={given} holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz; correct it")
    return fetch_package()


def fetch_package() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=CACHE, check=True)
        archive = max(CACHE.glob(f"{PACKAGE}_*.deb"), key=lambda path: path.stat().st_mtime)
        subprocess.run(["dpkg", "-x", archive, CACHE], check=True)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(
            f"the package {PACKAGE} cannot be had ({error}); put the four files of Fashion-MNIST into a folder, and "
            "set FASHION_MNIST to it"
        )
    return CACHE / PLACE


def train(recipe: str, images: Path, flags: list[str]) -> tuple[str, float, float]:
    """The model's name, its top-1 of the last epoch in percent, and minutes."""
    options = make_recipe(read_recipe(ROOT / recipe))
    folder = Path(options.run.ckpt_save_dir)
    command = [sys.executable, "train.py", "--config", recipe, "--data_dir", str(images), *flags]
    start = perf_counter()
    subprocess.run(command, cwd=ROOT, check=True)
    minutes = (perf_counter() - start) / 60
    with open(ROOT / folder / "metrics.csv", encoding="utf-8", newline="") as table:
        last = list(csv.DictReader(table))[-1]
    return options.model.model_name, float(last["top1"]), minutes


images = find_images()
rows = [train(recipe, images, sys.argv[1:]) for recipe in RECIPES]
print()
for model, top1, minutes in rows:
    print(f"{model}: top-1 {top1:.2f} % on the test images of Fashion-MNIST, trained in {minutes:.1f} min")
