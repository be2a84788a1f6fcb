"""Where a pixel's query looked: the attention weights of one halo-attention layer over the window of one block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from mindspore import Tensor

from ..errors import UserError
from ..runtime import pynative_mode, to_array
from .layers.halo_attention import HaloAttention
from .network import HaloNet, check_images


class Box(NamedTuple):
    """Rows top to bottom and columns left to right; `bottom` and `right` lie just outside."""

    top: int
    left: int
    bottom: int
    right: int

    def scaled(self, factor: int) -> Box:
        """In pixels that are `factor` times smaller."""
        return Box(*(side * factor for side in self))


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """What one query weighed in one layer.

    The layer's map has a pixel for each `stride` x `stride` pixels of the image. A window may reach beyond the map;
    what it finds there are zeros, whose weight counts as any other unless the network masks them.
    """

    layer: str
    stride: int
    image_size: tuple[int, int]  # height, width
    map_size: tuple[int, int]
    query: Box  # the one pixel of the map whose query this is
    block: Box  # in pixels of the map, as the window
    window: Box
    weights: np.ndarray  # float32, (heads, window, window); each head's sum is 1

    @property
    def image_query(self) -> Box:
        """As `query`, in pixels of the image; likewise the next two."""
        return self.query.scaled(self.stride)

    @property
    def image_block(self) -> Box:
        return self.block.scaled(self.stride)

    @property
    def image_window(self) -> Box:
        return self.window.scaled(self.stride)

    @property
    def inside(self) -> np.ndarray:
        """Which positions of the window lie on the map: bool, (window, window)."""
        rows = np.arange(self.window.top, self.window.bottom)
        columns = np.arange(self.window.left, self.window.right)
        height, width = self.map_size
        return np.logical_and.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))


class AttentionProbe:
    """Images -> (logits, the map that enters each halo attention): what `read` needs, in one pass of the network.

    `layers` are the names of the layers: those of their blocks, as in the names of the parameters. Everything runs in
    PyNative mode, whatever mode MindSpore is in: a graph of its own would take longer to compile than to run, and
    MindSpore 2.10's compiler crashed on it in processes that had compiled many others.
    Raises UserError for a network without halo attention, and one of MindCV's dialect, whose keys mix the positions of
    a window.
    """

    def __init__(self, network: HaloNet):
        if not isinstance(network, HaloNet):
            raise UserError(f"attention maps are read from a HaloNet, not from a {type(network).__name__}")
        self.network = network
        self.spec = network.spec
        if network.dialect.scrambled_windows:
            raise UserError(
                f"{self.spec.name}: in the dialect {network.dialect.name} a key mixes positions of its window, so "
                "that weights belong to no place; attention maps exist in the other dialects only"
            )
        blocks = {f"stages.{i}.{j}": block for i, stage in enumerate(network.stages) for j, block in enumerate(stage)}
        attentions = {name: getattr(block.mix, "attention", None) for name, block in blocks.items()}
        self.attentions = {name: cell for name, cell in attentions.items() if isinstance(cell, HaloAttention)}
        self.layers = tuple(self.attentions)
        if not self.layers:
            raise UserError(f"{self.spec.name}: this network has no halo attention to look at")

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        check_images(images, self.spec, network.in_channels, network.built_size)
        maps = []
        with pynative_mode():
            x = network.stem(images)
            for i, stage in enumerate(network.stages):
                for j, block in enumerate(stage):
                    if f"stages.{i}.{j}" in self.attentions:
                        maps.append(network.channels_first(block.reduce(x)))
                    x = block(x)
            return network.forward_head(network.channels_first(network.final_conv(x))), *maps

    def find(self, layer: int | str) -> int:
        """The layer's place in `layers`; it may be a place itself, counted from the end if negative."""
        if layer in self.layers:
            return self.layers.index(layer)
        count = len(self.layers)
        if isinstance(layer, bool) or not isinstance(layer, Integral) or not -count <= layer < count:
            raise UserError(
                f"{self.spec.name}: layer {layer!r} must be one of {', '.join(self.layers)}, or a number of at least "
                f"{-count} and below {count}"
            )
        return int(layer) % count

    def read(
        self, map_: Tensor, image_size: tuple[int, int], layer: int | str = -1, query: Sequence[int] | None = None
    ) -> AttentionMap:
        """The weights of the query at the pixel (y, x) of the image, by default its middle.

        map_: what enters this layer's attention, for one image; image_size: height and width of that image.
        Raises UserError for a layer that does not exist, and a pixel outside the image.
        """
        name = self.layers[self.find(layer)]
        attention, stride = self.attentions[name], self._stride(name)
        query = check_query(query, image_size)
        map_size = tuple(map_.shape[2:])
        size, reach = attention.block_size, attention.halo_size
        step = size // attention.query_size  # pixels of the map for each query
        # A network that pools its odd maps has no pixel of the map for the last ones of the image.
        pixel = [min(place // stride, length - 1) for place, length in zip(query, map_size, strict=True)]
        block = [place // size for place in pixel]
        inner = [place % size // step for place in pixel]  # the query's place among those of its block
        _, columns = attention.grid(*map_size)

        with pynative_mode():
            weights_NTQK = to_array(attention.attend(map_)[0])
        weights = weights_NTQK[:, block[0] * columns + block[1], inner[0] * attention.query_size + inner[1]]
        top, left = (place * size for place in block)
        row, column = top + inner[0] * step, left + inner[1] * step
        return AttentionMap(
            layer=name,
            stride=stride,
            image_size=tuple(image_size),
            map_size=map_size,
            query=Box(row, column, row + 1, column + 1),
            block=Box(top, left, top + size, left + size),
            window=Box(top - reach, left - reach, top + size + reach, left + size + reach),
            weights=weights.reshape(-1, attention.window, attention.window),
        )

    def _stride(self, layer: str) -> int:
        """Of the map that the layer's attention sees."""
        stage, block = (int(part) for part in layer.split(".")[1:])
        return self.spec.strides[stage if block == 0 else stage + 1]


def attention_maps(
    model: HaloNet, image: Tensor | np.ndarray, layer: int | str = -1, query: Sequence[int] | None = None
) -> AttentionMap:
    """Where the query at pixel (y, x) of an image looked, in one halo attention of `model`.

    Args:
        image: as the network takes it: (channels, height, width), or a batch of one.
        layer: a name out of list_attention_layers(model), or its place there; by default the last.
        query: row and column in the image; by default its middle.

    It runs in PyNative mode, which compiles nothing.
    Raises UserError for a layer or a pixel that does not exist, and a network that is in training.
    """
    probe = AttentionProbe(model)
    if model.training:
        raise UserError(f"{model.spec.name} is in training, where batch norm sees the batch; call set_train(False)")
    image = image if isinstance(image, Tensor) else Tensor(np.asarray(image, np.float32))
    batch = image if image.ndim == 4 else image.expand_dims(0)
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise UserError(f"attention maps are of one image, (channels, height, width); this has the shape {image.shape}")
    place = probe.find(layer)
    size = tuple(batch.shape[2:])
    check_query(query, size)
    _, *maps = probe(batch)
    return probe.read(maps[place], size, layer, query)


def list_attention_layers(model: HaloNet) -> tuple[str, ...]:
    """Names of the layers with halo attention, from the first to the last."""
    return AttentionProbe(model).layers


def read_layer(text: str) -> int | str:
    """A layer as AttentionProbe.find takes it, from a text: a number where it is one, else a name."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def check_query(query: Sequence[int] | None, image_size: tuple[int, int]) -> tuple[int, int]:
    """The pixel (y, x), or the middle of the image for None. Raises UserError for one outside the image."""
    height, width = image_size
    if query is None:
        return height // 2, width // 2
    if len(query) != 2:
        raise UserError(f"query {tuple(query)} must be two numbers: the row and the column of a pixel")
    y, x = query
    if not (0 <= y < height and 0 <= x < width):
        raise UserError(
            f"query {y} {x} lies outside the image of {height} x {width} pixels; rows count from 0 to {height - 1}, "
            f"columns from 0 to {width - 1}"
        )
    return int(y), int(x)
