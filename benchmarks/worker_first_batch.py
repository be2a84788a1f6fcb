"""A side of imagenet_scale.py: worker_first_batch.py ours|mindcv|timm|walk FOLDER prints seconds and memory as JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

BATCH, SIZE, WORKERS = 64, 224, 2
MODULES = {"ours": ("mindcv_halo",), "mindcv": ("mindcv",), "walk": ("os",)}
MODULES["timm"] = ("timm_without_torchvision", "timm.data.readers.reader_image_folder")


def list_images(side: str, data: str, library: ModuleType) -> Any:
    train = os.path.join(data, "train")
    if side == "walk":
        return list_as_torchvision(train)
    if side == "timm":
        return library.ReaderImageFolder(train)
    dataset = library.create_dataset("imagenet", data, "train", shuffle=True, num_parallel_workers=WORKERS)
    dataset.get_dataset_size()  # as both train.py ask before they plan the rates
    return dataset


def list_as_torchvision(train: str) -> list[tuple[str, int]]:
    """What its ImageFolder does, without its packages."""
    found = []
    for label, name in enumerate(sorted(entry.name for entry in os.scandir(train) if entry.is_dir())):
        for folder, _, files in sorted(os.walk(os.path.join(train, name), followlinks=True)):
            found += [(os.path.join(folder, file), label) for file in sorted(files) if file.lower().endswith(".jpeg")]
    return found


def read_first_batch(library: ModuleType, dataset: Any) -> None:
    transform = library.create_transforms("imagenet", is_training=True, image_resize=SIZE)
    options = {"num_classes": 1000, "transform": transform, "num_parallel_workers": WORKERS}
    loader = library.create_loader(dataset, BATCH, drop_remainder=True, is_training=True, **options)
    images, _ = next(loader.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert images.shape == (BATCH, 3, SIZE, SIZE)


side, data = sys.argv[1:]
library = [import_module(name) for name in MODULES[side]][-1]
started, used = perf_counter(), process_time()
images = list_images(side, data, library)
result = {"listed": perf_counter() - started, "processor": process_time() - used, "first": None}
if side in ("ours", "mindcv"):
    read_first_batch(library, images)
    result["first"] = perf_counter() - started
result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps(result), flush=True)
os._exit(0)  # the loader's threads would go on
