"""Which keys a query sees, asked of the operator itself: where its output has a gradient."""

from __future__ import annotations

from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor

from mindcv_halo.models.layers import HaloAttention
from mindcv_halo.report.pictures import make_figure, save_figure
from mindcv_halo.runtime import pynative_mode

SIDE, BLOCK, HALO = 12, 4, 2
QUERIES = ((5, 6), (1, 2), (9, 11))


def find_keys(query: tuple[int, int]) -> np.ndarray:
    """(SIDE, SIDE), true where a pixel of the map has an influence on the query's output."""
    mindspore.set_seed(0)
    attention = HaloAttention(8, num_heads=2, block_size=BLOCK, halo_size=HALO)
    maps = Tensor(np.random.default_rng(0).standard_normal((1, 8, SIDE, SIDE)).astype(np.float32))

    def read_query(x: Tensor) -> Tensor:
        return attention(x)[:, :, query[0], query[1]].sum()

    with pynative_mode():
        return np.abs(mindspore.grad(read_query)(maps).asnumpy()).sum((0, 1)) > 0


def draw(path: Path) -> None:
    from matplotlib.patches import Rectangle

    figure = make_figure(9, 3.4)
    for axes, query in zip(figure.subplots(1, len(QUERIES)), QUERIES, strict=True):
        axes.imshow(find_keys(query), cmap="Oranges", vmin=0, vmax=1.6, extent=(0, SIDE, SIDE, 0))
        top, left = (coordinate // BLOCK * BLOCK for coordinate in query)
        axes.add_patch(Rectangle((left, top), BLOCK, BLOCK, fill=False, edgecolor="#1f4e8c", linewidth=2.5))
        axes.add_patch(Rectangle((query[1], query[0]), 1, 1, facecolor="#1f4e8c"))
        axes.set_xticks(range(0, SIDE + 1, BLOCK))
        axes.set_yticks(range(0, SIDE + 1, BLOCK))
        axes.grid(color="#888888", linewidth=0.8)
        axes.set_title(f"query {query}", fontsize=9)
    figure.suptitle(
        f"blocks of {BLOCK} x {BLOCK}, halo {HALO}: the keys (orange) of a query and of its whole block (blue)",
        fontsize=10,
    )
    save_figure(figure, path)
