"""Our own side of imagenet_scale.py: worker_imagenet.py list|resume|memory|epochs FOLDER prints what it finds as JSON.

list: seconds of the list of images, once a line comes in, and of the processor. resume: seconds to the first batch of
an epoch that goes on at several places. memory: MB that a full pipeline takes. epochs: MB of a training run after each.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parents[1]))

from mindcv_halo import engine  # noqa: E402
from mindcv_halo.config import make_recipe  # noqa: E402
from mindcv_halo.data import create_dataset, create_loader, create_transforms, split_epoch  # noqa: E402
from mindcv_halo.data.epoch_parts import Loader  # noqa: E402
from mindcv_halo.data.image_folder import scan_image_folder  # noqa: E402
from mindcv_halo.engine.batches import read_batches  # noqa: E402
from mindcv_halo.engine.train import TrainingRun  # noqa: E402

BATCH, SIZE, WORKERS = 64, 256, 2
BATCHES = 40  # that fill all queues
EPOCHS = 20
AUGMENTATION = {"auto_augment": "randaug-m9-n2-mstd0.5-inc1", "re_prob": 0.25}


def main() -> None:
    work, folder = sys.argv[1:]
    print(json.dumps(WORKS[work](folder)), flush=True)
    os._exit(0)  # a pipeline's threads would go on


def list_images(folder: str) -> dict[str, float]:
    print("ready", flush=True)
    sys.stdin.readline()
    started, used = perf_counter(), process_time()
    scan_image_folder(folder, "train")
    return {"listed": perf_counter() - started, "processor": process_time() - used}


def resume(folder: str) -> dict[str, float]:
    """Seconds to the first batch, by where it is; the worst place is the last batch of a part."""
    loader = make_loader(folder)
    size, part = loader.get_dataset_size(), min(loader.batches_per_part, loader.get_dataset_size())
    middle = size // 2 // part * part
    places = {"0 %": 0, "50 %": size // 2, "99 %": size * 99 // 100, "worst": min(middle + part, size) - 1}
    next(read(loader, 0))  # what is imported at the first use is not the epoch's
    return {name: first_batch(loader, place) for name, place in places.items()} | {"part": part}


def first_batch(loader: Loader, place: int) -> float:
    started = perf_counter()
    next(read(loader, place))
    return perf_counter() - started


def measure_memory(folder: str) -> float:
    loader = make_loader(folder)
    before = resident()
    batches = read(loader, 0)
    return max(resident() - before for _ in islice(batches, BATCHES))


def train(folder: str) -> list[float]:
    """halonet_test in graph mode, validated after every epoch."""
    memory: list[float] = []
    finish_epoch = TrainingRun.finish_epoch

    def finish_and_note(run: TrainingRun) -> None:
        finish_epoch(run)
        memory.append(resident())

    TrainingRun.finish_epoch = finish_and_note
    recipe = {"model": "halonet_test", "data_dir": f"{folder}/images", "image_resize": 64, "batch_size": BATCH}
    recipe |= {"epoch_size": EPOCHS, "warmup_epochs": 1, "lr": 0.01, "mixup": 0.8, "num_parallel_workers": WORKERS}
    recipe |= {"val_while_train": True, "ckpt_save_dir": f"{folder}/run", "device_target": "CPU", **AUGMENTATION}
    engine.train(make_recipe(recipe))
    return memory


def make_loader(folder: str) -> Loader:
    transform = create_transforms("imagenet", SIZE, is_training=True, **AUGMENTATION)
    dataset = create_dataset("imagenet", folder, "train", num_parallel_workers=WORKERS)
    options = {"mixup": 0.8, "num_classes": 1000, "transform": transform, "num_parallel_workers": WORKERS}
    return create_loader(dataset, BATCH, True, True, **options)


def read(loader: Loader, place: int):
    return (batch for part in split_epoch(loader, 0, 0, first_batch=place) for batch in read_batches(part))


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


WORKS = {"list": list_images, "resume": resume, "memory": measure_memory, "epochs": train}

if __name__ == "__main__":
    main()
