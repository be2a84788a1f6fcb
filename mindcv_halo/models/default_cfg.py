"""What a model's published weights expect of an image, where they are, and the accuracy that was published for them.

Keys as in MindCV; mean and std are for pixels of 0 to 255. Accuracy is ImageNet-1k validation, in percent, at
`input_size`: published by `source` and not measured by us.

`file` is the name of the weights in the cache, or in this package where `url` begins with PACKAGED. `size` (bytes) and
`sha256` (as many of its first digits as its publisher tells, at least eight) are None where we do not know them.
"""

from __future__ import annotations

from typing import Any

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)
FASHION_MNIST_MEAN = (0.2860 * 255,) * 3  # of its grey in each colour
FASHION_MNIST_STD = (0.3530 * 255,) * 3

# What MindCV takes for granted of a model whose cfg does not say it: for models of people's own.
ASSUMED: dict[str, Any] = {
    "url": "",
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "fixed_input_size": False,
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}

PACKAGED = "package:"  # what begins the url of weights that travel with this package
_HUB = "https://huggingface.co/{hub_id}/resolve/main/model.safetensors"
_TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-attn-weights/"
_TIMM_SOURCE = "timm results-imagenet.csv"


def make_cfg(size: int = 256, crop_pct: float = 0.95, **published: Any) -> dict[str, Any]:
    return {
        "url": "",
        "file": "",
        "size": None,
        "sha256": None,
        "num_classes": 1000,
        "input_size": (3, size, size),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": crop_pct,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "first_conv": "stem.conv1.conv",
        "classifier": "classifier",
        "top1": None,
        "top5": None,
        "source": "",
        **published,
    }


def packaged_cfg(file: str, sha256: str, size: int, **others: Any) -> dict[str, Any]:
    return make_cfg(size, url=PACKAGED + file, file=file, sha256=sha256, **others)


def timm_cfg(release_file: str, hub_id: str, top1: float, top5: float, **others: Any) -> dict[str, Any]:
    """The hub's file needs nothing to be read. The release's needs torch, and its name has its checksum's beginning."""
    return make_cfg(
        url=_HUB.format(hub_id=hub_id),
        file=f"{hub_id.removeprefix('timm/')}.safetensors",
        hub_id=hub_id,
        release_url=_TIMM_RELEASE + release_file,
        release_sha256=release_file.removesuffix(".pth").rpartition("-")[2],
        top1=top1,
        top5=top5,
        source=_TIMM_SOURCE,
        **others,
    )
