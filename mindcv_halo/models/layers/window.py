"""Which pixels make a block's window: index tables in numpy, made once per map size.

A map of height x width pixels is cut into blocks of block_size pixels a side, those at the bottom and right may stick
out of it. A block's window reaches halo_size pixels beyond the block on each side: window = block_size + 2 * halo_size.
"""

from __future__ import annotations

from functools import cache

import numpy as np


def num_blocks(size: int, block_size: int) -> int:
    """Blocks that cover `size` pixels."""
    return -(-size // block_size)


@cache
def window_pixels(height: int, width: int, block_size: int, halo_size: int) -> np.ndarray:
    """The pixel y * width + x at each window position, or height * width for a position outside the map.

    Shape (blocks, window * window), int32; blocks and window positions row by row.
    """
    rows = _window_coordinates(height, block_size, halo_size)[:, None, :, None]
    columns = _window_coordinates(width, block_size, halo_size)[None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = np.where(inside, rows * width + columns, height * width)
    return pixels.reshape(-1, (block_size + 2 * halo_size) ** 2).astype(np.int32)


@cache
def pixel_places(height: int, width: int, block_size: int, halo_size: int) -> np.ndarray:
    """Where each pixel lies in the windows, as places in window_pixels(...).reshape(-1): (height * width, most), int32.

    A pixel in fewer than `most` windows has the number of all places in the rest of its row.
    """
    pixels = window_pixels(height, width, block_size, halo_size).reshape(-1)
    order = np.argsort(pixels, kind="stable")[: np.count_nonzero(pixels < height * width)]
    counts = np.bincount(pixels[order], minlength=height * width)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.full((height * width, counts.max()), len(pixels), np.int32)
    places[pixels[order], ranks] = order
    return places


def _window_coordinates(size: int, block_size: int, halo_size: int) -> np.ndarray:
    """Coordinates along one axis, (blocks, window); some lie outside [0, size)."""
    starts = np.arange(num_blocks(size, block_size)) * block_size - halo_size
    return starts[:, None] + np.arange(block_size + 2 * halo_size)
