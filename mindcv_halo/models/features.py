"""The maps of the stem and of the stages, for detection, segmentation and looking inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mindspore import Tensor, nn

from ..errors import UserError
from .network import HaloNet, check_images


class FeatureExtractor(nn.Cell):
    """Images -> the maps named by `out_indices`: 0 is the stem's, 1 to 4 are the stages'.

    The network's own layers and parameter names; what lies behind the last map asked for is left out.
    `out_channels` and `strides` tell each map's channels, and its pixels of the image per pixel.
    Raises UserError for indices that are no rising sequence out of 0 to 4.
    """

    def __init__(self, network: HaloNet, out_indices: Sequence[int] = (0, 1, 2, 3, 4)):
        super().__init__(auto_prefix=False)  # the parameters keep their names
        spec = network.spec
        out_indices = tuple(out_indices) if isinstance(out_indices, Iterable) else (out_indices,)
        possible = range(len(spec.stages) + 1)
        if any(type(index) is not int for index in out_indices) or not _rises(out_indices, possible):
            raise UserError(
                f"{spec.name}: out_indices {out_indices} must be a rising sequence out of {tuple(possible)}"
            )
        self.spec = spec
        self.in_channels = network.in_channels
        self.image_size = network.image_size
        self.out_indices = out_indices
        self.stem = network.stem
        self.stages = nn.CellList(list(network.stages)[: out_indices[-1]], auto_prefix=False)
        channels = (spec.stem.widths[-1], *(stage.width for stage in spec.stages))
        self.out_channels = [channels[index] for index in out_indices]
        self.strides = [spec.strides[index] for index in out_indices]

    def construct(self, x: Tensor) -> list[Tensor]:
        check_images(x, self.spec, self.in_channels, self.image_size)
        x = self.stem(x)
        maps = [x] if 0 in self.out_indices else []
        for index, stage in enumerate(self.stages, 1):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return maps


def _rises(indices: Sequence[int], possible: range) -> bool:
    return bool(indices) and list(indices) == sorted(set(indices)) and set(indices) <= set(possible)
