"""timm's network of a specification of ours: its ByoModelCfg, built from its own layers.

For specifications of 3x3 convolutions and halo attention without gates, groups or a head's convolution, as
halonet_26t's and halonet_mini's are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import timm_without_torchvision  # noqa: E402, F401  before timm
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg  # noqa: E402

_BLOCKS = {"C": "bottle", "A": "self_attn"}


def make_cfg(spec: dict[str, Any]) -> ByoModelCfg:
    """`spec` is dataclasses.asdict of a Spec. Raises ValueError for what it has and the above leaves out."""
    others = {"gate": None, "group_width": None, "expansion": None, "head_width": None}
    others |= {"conv_shortcut": True, "act_after_sum": True}
    odd = [name for name, usual in others.items() if spec[name] != usual]
    letters = {letter for stage in spec["stages"] for letter in stage["pattern"]} - set(_BLOCKS)
    if odd or letters:
        raise ValueError(
            f"{spec['name']} has {', '.join([*odd, *sorted(letters)])}, which timm_model.py does not build"
        )
    halo = spec["halo"]
    window = {name: halo[name] for name in ("block_size", "halo_size", "dim_head", "qk_ratio")}
    stem = spec["stem"]
    return ByoModelCfg(
        blocks=tuple(
            tuple(
                ByoBlockCfg(
                    type=_BLOCKS[letter],
                    d=1,
                    c=stage["width"],
                    s=1 if number else stage["stride"],
                    gs=0,
                    br=stage["inner"] / stage["width"],
                    self_attn_layer="halo" if letter == "A" else "",
                    self_attn_kwargs={**window, "num_heads": stage["num_heads"]} if letter == "A" else None,
                )
                for number, letter in enumerate(stage["pattern"])
            )
            for stage in spec["stages"]
        ),
        stem_chs=stem["widths"][0] if len(stem["widths"]) == 1 else tuple(stem["widths"]),
        stem_type="3x3" if stem["kernel_size"] == 3 else "7x7",
        stem_pool="maxpool" if stem["pool"] else "",
        act_layer=spec["act"],
    )


def build(spec: dict[str, Any], num_classes: int, in_channels: int) -> ByobNet:
    network = ByobNet(make_cfg(spec), num_classes=num_classes, in_chans=in_channels)
    stem = network.stem
    layers = [stem.conv] if len(spec["stem"]["widths"]) == 1 and not spec["stem"]["pool"] else list(stem.children())
    if len(layers) == 1:
        layers[0].stride = (spec["stem"]["strides"][0],) * 2  # timm's stem of one convolution has stride 2 alone
    return network
