"""The peers' models: their parameter lists, and our network for each of them."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mindspore import nn

from mindcv_halo import create_model
from mindcv_halo.models.halonet import HALONET_H1
from mindcv_halo.models.network import HaloNet

STATE = Path(__file__).parents[1] / "state"


@dataclass(frozen=True)
class State:
    """What a peer's checkpoint of one model holds."""

    shapes: dict[str, tuple[int, ...]]
    trainable: int  # numbers that an optimizer changes
    with_statistics: int  # and with batch norm's running means and variances


def read_state(peer: str, model: str) -> State:
    """The state of `model` as `peer` ("timm", "keras" or "mindcv") names it."""
    if peer == "mindcv":
        lines = (STATE / f"mindcv_{model}.txt").read_text().splitlines()
        shapes = {name: ast.literal_eval(shape) for name, _, shape in (line.partition(" ") for line in lines)}
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        statistics = sum(size for name, size in sizes.items() if ".moving_" in name)
        return State(shapes, sum(sizes.values()) - statistics, sum(sizes.values()))
    content = json.loads((STATE / peer / f"{model}.json").read_text())
    shapes = {name: tuple(shape) for name, shape, _ in content["entries"]}
    return State(shapes, content["trainable"], content["with_statistics"])


def list_states() -> list[tuple[str, str]]:
    """(peer, model) of every parameter list that we keep."""
    files = sorted(STATE.glob("*/*.json"))
    return [*((path.parent.name, path.stem) for path in files), ("mindcv", "halonet_50t")]


def build_network(peer: str, model: str) -> nn.Cell:
    """Our network for a peer's model, in the peer's dialect."""
    if (peer, model) == ("timm", "halonet_h1"):  # not the H1 of the paper's table: 8 heads throughout, ReLU
        stages = tuple(replace(stage, num_heads=8) for stage in HALONET_H1.stages)
        return HaloNet(replace(HALONET_H1, act="relu", stages=stages))
    return create_model(model, dialect=peer)
