"""The maps of the stem and of the stages, for detection, segmentation and looking inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mindspore import Tensor, nn

from ..errors import UserError
from .feature_info import ALL_MAPS, FeatureInfo, find_out_indices
from .network import HaloNet, check_images

__all__ = ["ALL_MAPS", "FeatureExtractWrapper", "FeatureExtractor"]


class FeatureExtractor(nn.Cell):
    """Images -> the maps named by `out_indices`: 0 is the stem's, 1 to 4 are the stages'.

    Negative indices count from the end. The network's own layers and parameter names; what lies behind the last map
    asked for is left out. `out_channels` and `strides` tell each map's channels, and its pixels of the image per pixel;
    `feature_info` has both, and the cell that it comes from.
    Raises UserError for indices that are no rising sequence out of 0 to 4, and for what is no HaloNet, or one that
    `accelerate` changed.
    """

    def __init__(self, network: HaloNet, out_indices: Sequence[int] = ALL_MAPS):
        super().__init__(auto_prefix=False)  # the parameters keep their names
        if not isinstance(network, HaloNet):
            raise UserError(
                f"FeatureExtractor: {type(network).__name__} is no HaloNet; for others there is FeatureExtractWrapper"
            )
        spec = network.spec
        if type(network).channels_first is not HaloNet.channels_first:
            raise UserError(
                f"features of {spec.name}: the network runs on native kernels already; make the FeatureExtractor of a "
                "new one, and accelerate that"
            )
        out_indices = find_out_indices(spec.name, out_indices, len(spec.stages) + 1)
        self.spec = spec
        self.dialect = network.dialect
        self.mask_padding = network.mask_padding
        self.in_channels = network.in_channels
        self.built_size = network.built_size
        self.out_indices = out_indices
        self.stem = network.stem
        self.stages = nn.CellList(list(network.stages)[: out_indices[-1]], auto_prefix=False)
        self.feature_info = network.feature_info.only(out_indices)
        self.out_channels, self.strides = self.feature_info.channels(), self.feature_info.reduction()
        self.default_cfg = network.default_cfg
        self.pretrained_cfg = network.pretrained_cfg

    def construct(self, x: Tensor) -> list[Tensor]:
        check_images(x, self.spec, self.in_channels, self.built_size)
        x = self.stem(x)
        maps = []
        if 0 in self.out_indices:
            x, kept = self.keep(x)
            maps.append(kept)
        for index, stage in enumerate(self.stages, 1):
            x = stage(x)
            if index in self.out_indices:
                x, kept = self.keep(x)
                maps.append(kept)
        return maps

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map between the layers, for what comes after it, and as `channels_first` has it."""
        return x, self.channels_first(x)

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

    `out_indices` count the entries of `feature_info`, negative ones from the end; by default all of the first five.
    `out_channels` and `strides` tell each map's channels and reduction, `feature_info` is what the network says of
    them; timm's keys are understood too. The network's own cells and parameter names; what lies behind the last map
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
        self.returns_list = isinstance(net, HaloNet | FeatureExtractor) or bool(getattr(net, "is_rewritten", False))
        info = _check_info(net, info, () if self.returns_list else ("name",))
        indices = find_out_indices(f"features of {type(net).__name__}", out_indices, len(info))
        self.feature_info = info = info.only(indices)
        self.out_channels, self.strides = info.channels(), info.reduction()
        if isinstance(net, HaloNet):
            self.net = FeatureExtractor(net, indices)
            self.return_index = tuple(range(len(indices)))
        elif self.returns_list:
            self.net = net
            self.return_index = indices
        else:
            self.net, self.return_index = _cut(net, info.module_name())

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


def _check_info(net: nn.Cell, info: Sequence[dict[str, Any]], others: tuple[str, ...]) -> FeatureInfo:
    """What a network says of its maps. Raises UserError where it does not say it as it should."""
    if not isinstance(info, list | tuple) or not all(isinstance(item, dict) for item in info):
        raise UserError(f"features of {type(net).__name__}: its feature_info {info!r} must be a list of dictionaries")
    found = FeatureInfo(info)
    for item in found:
        for key in ("chs", *others):
            if key not in item:
                raise UserError(
                    f"features of {type(net).__name__}: its feature_info has {item!r}, which has no {key}; give each "
                    "map one"
                )
    return found


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
    if list(places) != sorted(set(places)):
        raise UserError(
            f"features of {type(net).__name__}: its feature_info names {', '.join(names)}, its cells run in the order "
            f"{', '.join(order)}; bring the maps into that order, each once"
        )
    return nn.CellList([cells[name] for name in order[: max(places) + 1]], auto_prefix=False), places


def _list_cells(net: nn.Cell, flatten: bool) -> Iterator[tuple[str, nn.Cell]]:
    for name, cell in net.name_cells().items():
        if flatten and isinstance(cell, nn.SequentialCell):
            yield from ((f"{name}.{inner}", child) for inner, child in cell.name_cells().items())
        else:
            yield name, cell
