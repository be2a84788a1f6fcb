"""Either side of pipeline.py: worker_pipeline.py mindcv_halo|mindcv FOLDER BATCH WORKERS, one epoch per turn.

One script serves both, as mindcv_halo has MindCV's functions under MindCV's names. Each epoch has an iterator of its
own, so that no batch is prepared outside of its side's turn.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from turns import take_turns  # noqa: E402

package, folder, batch_size, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
side = import_module(package)
transforms = side.create_transforms(
    "imagenet",
    is_training=True,
    image_resize=256,
    scale=(0.08, 1.0),
    ratio=(0.75, 1.333),
    hflip=0.5,
    interpolation="bilinear",
    auto_augment="randaug-m9-n2-mstd0.5-inc1",
    re_prob=0.25,
    re_max_attempts=1,
)
loader = side.create_loader(
    side.create_dataset("imagenet", folder, "train", shuffle=True, num_parallel_workers=workers),
    batch_size,
    drop_remainder=True,
    is_training=True,
    mixup=0.8,
    cutmix_prob=1.0,  # as in train.py: the probability that a batch is mixed, by either
    num_classes=1000,
    transform=transforms,
    num_parallel_workers=workers,
)


def read_epoch() -> None:
    for images, labels in loader.create_tuple_iterator(num_epochs=1, output_numpy=True):
        assert images.shape == (batch_size, 3, 256, 256) and labels.shape == (batch_size, 1000)


take_turns(read_epoch)
