"""The maps of the stem and of the stages, for detection, segmentation and looking inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mindspore import Tensor, nn

from ..errors import UserError
from .network import HaloNet, check_images

ALL_MAPS = (0, 1, 2, 3, 4)


class FeatureExtractor(nn.Cell):
    """Images -> the maps named by `out_indices`: 0 is the stem's, 1 to 4 are the stages'.

    The network's own layers and parameter names; what lies behind the last map asked for is left out.
    `out_channels` and `strides` tell each map's channels, and its pixels of the image per pixel.
    Raises UserError for indices that are no rising sequence out of 0 to 4.
    """

    def __init__(self, network: HaloNet, out_indices: Sequence[int] = ALL_MAPS):
        super().__init__(auto_prefix=False)  # the parameters keep their names
        spec = network.spec
        out_indices = tuple(out_indices) if isinstance(out_indices, Iterable) else (out_indices,)
        possible = range(len(spec.stages) + 1)
        if any(type(index) is not int for index in out_indices) or not _rises(out_indices, possible):
            raise UserError(
                f"{spec.name}: out_indices {out_indices} must be a rising sequence out of {tuple(possible)}"
            )
        self.spec = spec
        self.dialect = network.dialect
        self.mask_padding = network.mask_padding
        self.in_channels = network.in_channels
        self.built_size = network.built_size
        self.out_indices = out_indices
        self.stem = network.stem
        self.stages = nn.CellList(list(network.stages)[: out_indices[-1]], auto_prefix=False)
        channels = (spec.stem.widths[-1], *(stage.width for stage in spec.stages))
        self.out_channels = [channels[index] for index in out_indices]
        self.strides = [spec.strides[index] for index in out_indices]

    def construct(self, x: Tensor) -> list[Tensor]:
        check_images(x, self.spec, self.in_channels, self.built_size)
        x = self.stem(x)
        maps = [self.channels_first(x)] if 0 in self.out_indices else []
        for index, stage in enumerate(self.stages, 1):
            x = stage(x)
            if index in self.out_indices:
                maps.append(self.channels_first(x))
        return maps

    def channels_first(self, x: Tensor) -> Tensor:
        """A map from between the layers as (B, C, H, W), which it is; native kernels have another order inside."""
        return x


class FeatureExtractWrapper(nn.Cell):
    """Images -> the maps that a network's `feature_info` names, a list, as MindCV's class of this name.

    Takes a model of create_model, and any cell that has

    - `feature_info`: a list of {"chs": channels, "reduction": pixels of the image per pixel, "name": cell}, one for
      each map that can be had, in the order in which the network makes them,
    - cells that run one after another in the order in which they were made; a SequentialCell among them counts as one,
      or with an attribute `flatten_sequential` as those inside it ("feature.1"),
    - or `is_rewritten`: its `construct` returns all maps itself.

    `out_indices` count the entries of `feature_info`; by default all of the first five. `out_channels` and `strides`
    tell each map's channels and reduction. The network's own cells and parameter names; what lies behind the last map
    asked for is left out. Raises UserError for a network that does not say its maps, and for maps that do not exist.
    """

    def __init__(self, net: nn.Cell, out_indices: Sequence[int] = ALL_MAPS):
        super().__init__(auto_prefix=False)
        info = getattr(net, "feature_info", None)
        if not info:
            raise UserError(
                f"features of {type(net).__name__}: it has no feature_info; give it a list with "
                '{"chs": channels, "reduction": stride, "name": cell} for each map'
            )
        indices = tuple(out_indices) if isinstance(out_indices, Iterable) else (out_indices,)
        if indices == ALL_MAPS:
            indices = ALL_MAPS[: len(info)]
        if any(type(index) is not int for index in indices) or not _rises(indices, range(len(info))):
            raise UserError(
                f"features of {type(net).__name__}: out_indices {indices} must be a rising sequence out of "
                f"{tuple(range(len(info)))}"
            )
        self.out_channels = [info[index]["chs"] for index in indices]
        self.strides = [info[index].get("reduction") for index in indices]
        self.returns_list = isinstance(net, HaloNet) or bool(getattr(net, "is_rewritten", False))
        if isinstance(net, HaloNet):
            self.net = FeatureExtractor(net, indices)
            self.return_index = tuple(range(len(indices)))
        elif self.returns_list:
            self.net = net
            self.return_index = indices
        else:
            self.net, self.return_index = _cut(net, [info[index]["name"] for index in indices])

    def construct(self, x: Tensor) -> list[Tensor]:
        maps = []
        if self.returns_list:
            found = self.net(x)
            for index in self.return_index:
                maps.append(found[index])
        else:
            for index, cell in enumerate(self.net):
                x = cell(x)
                if index in self.return_index:
                    maps.append(x)
        return maps


def _cut(net: nn.Cell, names: list[str]) -> tuple[nn.CellList, tuple[int, ...]]:
    """The cells of a network up to the last that is named, and which of them are named."""
    cells = dict(_list_cells(net, bool(getattr(net, "flatten_sequential", False))))
    order = list(cells)
    missing = [name for name in names if name not in cells]
    if missing:
        raise UserError(
            f"features of {type(net).__name__}: its feature_info names {missing[0]}, its cells are {', '.join(order)}; "
            "correct the name, or set flatten_sequential"
        )
    places = tuple(order.index(name) for name in names)
    return nn.CellList([cells[name] for name in order[: max(places) + 1]], auto_prefix=False), places


def _list_cells(net: nn.Cell, flatten: bool) -> Iterator[tuple[str, nn.Cell]]:
    for name, cell in net.name_cells().items():
        if flatten and isinstance(cell, nn.SequentialCell):
            yield from ((f"{name}.{inner}", child) for inner, child in cell.name_cells().items())
        else:
            yield name, cell


def _rises(indices: Sequence[int], possible: range) -> bool:
    return bool(indices) and list(indices) == sorted(set(indices)) and set(indices) <= set(possible)
