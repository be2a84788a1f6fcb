"""Reading windows out of maps. Axes: M maps, P pixels, K places in all windows, D width."""

from __future__ import annotations

from mindspore import Tensor, get_context, nn, ops


class WindowReader(nn.Cell):
    """The pixel at each place, zeros where it lies outside the map: (M, P, D) -> (M, K, D).

    `pixels` and `places` are the tables of window.py, flattened.
    """

    def construct(self, x_MPD: Tensor, pixels: Tensor, places: Tensor) -> Tensor:
        return ops.gather(_append_zeros(x_MPD), pixels, 1)


class GatheringWindowReader(WindowReader):
    """The same with a gradient that is read too, at each pixel's places, and added up.

    MindSpore's own transposes it twice around a scatter, which on a device adds in no fixed order; on a CPU that is the
    faster one.
    """

    def bprop(self, x_MPD: Tensor, pixels: Tensor, places: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        maps, size, depth = x_MPD.shape
        copies = ops.gather(_append_zeros(dout), places, 1).reshape(maps, size, -1, depth)
        return copies.sum(2), ops.zeros_like(pixels), ops.zeros_like(places)


def make_window_reader() -> WindowReader:
    return WindowReader() if get_context("device_target") == "CPU" else GatheringWindowReader()


def _append_zeros(x_MPD: Tensor) -> Tensor:
    maps, _, depth = x_MPD.shape
    return ops.concat((x_MPD, ops.zeros((maps, 1, depth), x_MPD.dtype)), 1)
