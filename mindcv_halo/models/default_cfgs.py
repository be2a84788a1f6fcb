"""What each model's published weights expect of an image, where they are, and the accuracy that was published for them.

Keys as in MindCV; mean and std are for pixels of 0 to 255. Accuracy is ImageNet-1k validation, in percent, at
`input_size`: published by `source` and not measured by us.

`file` is the name of the weights in the cache. `size` (bytes) and `sha256` (as many of its first digits as its
publisher tells, at least eight) are None where we do not know them. NAME.TAG are other weights for the model NAME.
"""

from __future__ import annotations

from typing import Any

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)

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

_HUB = "https://huggingface.co/{hub_id}/resolve/main/model.safetensors"
_TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-attn-weights/"
_TIMM_SOURCE = "timm results-imagenet.csv"
_MINDCV_SOURCE = "MindCV configs/halonet/README.md"


def _cfg(size: int = 256, crop_pct: float = 0.95, **published: Any) -> dict[str, Any]:
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


def _timm(release_file: str, hub_id: str, top1: float, top5: float, **others: Any) -> dict[str, Any]:
    """The hub's file needs nothing to be read. The release's needs torch, and its name has its checksum's beginning."""
    return _cfg(
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


default_cfgs: dict[str, dict[str, Any]] = {
    "halonet_26t": _timm("halonet26t_a1h_256-3083328c.pth", "timm/halonet26t.a1h_in1k", 79.134, 94.340),
    "halonet_50t": _timm(
        "halonet50ts_a1h2_256-f3a3daee.pth", "timm/halonet50ts.a1h_in1k", 81.640, 95.612, crop_pct=0.94
    ),
    "halonet_50t.mindcv": _cfg(
        url="https://download.mindspore.cn/toolkits/mindcv/halonet/halonet_50t-533da6be.ckpt",
        file="halonet_50t-533da6be.ckpt",
        sha256="533da6be",
        interpolation="bilinear",
        top1=79.53,
        top5=94.79,
        source=_MINDCV_SOURCE,
    ),
    "halonet_se33t": _timm(
        "sehalonet33ts_256-87e053f9.pth", "timm/sehalonet33ts.ra2_in1k", 80.976, 95.272, crop_pct=0.94
    ),
    "halonet_eca26t": _timm(
        "eca_halonext26ts_c_256-06906299.pth", "timm/eca_halonext26ts.c1_in1k", 79.518, 94.582, crop_pct=0.94
    ),
    "haloregnetz_b": _timm(
        "haloregnetz_c_raa_256-c8ad7616.pth",
        "timm/haloregnetz_b.ra3_in1k",
        81.058,
        95.196,
        size=224,
        crop_pct=0.94,
        mean=HALF,
        std=HALF,
    ),
    "halobotnet_50t": _timm(
        "halo2botnet50ts_a1h2_256-fd9c11a3.pth",
        "timm/halo2botnet50ts_256.a1h_in1k",
        82.084,
        95.658,
        fixed_input_size=True,
    ),
    "lamhalobotnet_50t": _timm(
        "lamhalobotnet50ts_a1h2_256-fe3d9445.pth",
        "timm/lamhalobotnet50ts_256.a1h_in1k",
        81.552,
        95.510,
        fixed_input_size=True,
    ),
    # The H models have no published weights; sizes from the paper's table.
    "halonet_h0": _cfg(256),
    "halonet_h1": _cfg(256),
    "halonet_h2": _cfg(256),
    "halonet_h3": _cfg(320),
    "halonet_h4": _cfg(384),
    "halonet_h5": _cfg(448),
    "halonet_h6": _cfg(512),
    "halonet_h7": _cfg(600),
    "halonet_test": _cfg(64),
}
