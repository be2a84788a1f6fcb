"""The weights, inputs and labels behind the golden files, drawn again from names and shapes alone.

Every draw has its own generator, seeded with (seed, CRC-32 of the entry's name), so that the order does not matter.
Names are the peer's own: timm's, or Keras's on its torch backend.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of one entry."""
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def draw_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int, norm_scales: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """A whole state dict in float32; `norm_scales` maps a batch norm (its name without the leaf) to its RMS input."""
    return {name: draw_weight(name, tuple(shape), seed, norm_scales) for name, shape in shapes.items()}


def draw_weight(name: str, shape: tuple[int, ...], seed: int, norm_scales: Mapping[str, float]) -> np.ndarray:
    """One entry of a state dict in float32; the rule goes by the entry's name and rank."""
    stem, _, leaf = name.rpartition(".")
    numbers = generator(seed, name)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.float32)
    if leaf == "running_var":
        return np.float32(norm_scales[stem] ** 2 * (0.8 + 0.4 * numbers.random(shape)))
    normal = numbers.standard_normal(shape)
    if leaf == "running_mean":
        return np.float32(0.1 * norm_scales[stem] * normal)
    if leaf in ("height_rel", "width_rel"):
        return np.float32(normal * shape[1] ** -0.5)
    if leaf in ("pos_emb_h", "pos_emb_w"):
        return np.float32(normal * shape[0] ** -0.5)
    if len(shape) == 1 and leaf == "weight":
        closes_block = stem.endswith(("conv3_1x1.bn", "_3_bn"))
        return np.float32((0.5 if closes_block else 1.0) * (1 + 0.1 * normal))
    if len(shape) == 1:
        return np.float32(0.1 * normal)
    fan_in = np.prod(shape[1:])
    return np.float32(normal * gain(name) * fan_in**-0.5)


def gain(name: str) -> int:
    """Larger weights for the classifier and the attention projections, so that neither ends up near uniform."""
    if name.startswith(("head.fc", "predictions")):
        return 4
    if any(part in name for part in ("self_attn.", "haloquery", "halokey_value", "mhsa_qkv")):
        return 2
    return 1


def draw_images(seed: int, shape: Iterable[int]) -> np.ndarray:
    """The input batch (B, 3, H, W) in float32."""
    return generator(seed, "input").standard_normal(tuple(shape)).astype(np.float32)


def draw_labels(seed: int, batch: int) -> np.ndarray:
    """The class of each sample, below 1000."""
    return (37 * np.arange(batch) + 11 + seed) % 1000


def sample_places(seed: int, name: str, size: int) -> np.ndarray:
    """The 512 flat indices at which activation `name` is recorded."""
    return generator(seed, f"idx:{name}").integers(0, size, 512)
