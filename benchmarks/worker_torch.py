"""The side of bench.py in PyTorch: worker_torch.py WORK MODEL BATCH SIZE VARIANT float32|bfloat16.

VARIANT is eager, channels_last, compiled, compiled_plain or lucidrains.

WORK is inference, training, or attention: a bare layer, forward and backward. Models and layers are timm's, the layer
lucidrains' where that is asked for. `compiled` is torch.compile on channels-last maps, with the constants of inference
folded and packed (freezing), `compiled_plain` on plain ones, for models whose layers refuse channels-last. In bfloat16
the forward pass is under torch.autocast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import timm_without_torchvision as timm
import torch
from turns import ATTENTION, take_turns


def make_attention(batch_size: int, size: int, variant: str) -> Callable[[], object]:
    dim, heads = ATTENTION["dim"], ATTENTION["num_heads"]
    window = {"block_size": ATTENTION["block_size"], "halo_size": ATTENTION["halo_size"]}
    if variant == "lucidrains":
        from halonet_pytorch import HaloAttention

        layer = HaloAttention(dim=dim, **window, dim_head=dim // heads, heads=heads)
    else:
        from timm.layers.halo_attn import HaloAttn

        layer = HaloAttn(dim, num_heads=heads, **window)
    layout = torch.channels_last if variant in ("channels_last", "compiled") else torch.contiguous_format
    layer = layer.to(memory_format=layout)
    run = torch.compile(layer) if variant == "compiled" else layer
    maps = torch.randn(batch_size, dim, size, size).to(memory_format=layout).requires_grad_()

    slope = torch.randn(batch_size, dim, size, size).to(memory_format=layout)

    def step() -> None:
        layer.zero_grad()
        maps.grad = None
        run(maps).backward(slope)
        maps.grad.sum().item()

    return step


def make_step(work: str, model: str, batch_size: int, size: int, variant: str, precision: str) -> Callable[[], object]:
    if work == "attention":
        return make_attention(batch_size, size, variant)
    layout = torch.contiguous_format if variant in ("eager", "compiled_plain") else torch.channels_last
    network = timm.create_model(model).to(memory_format=layout).train(work == "training")
    images = torch.randn(batch_size, 3, size, size).to(memory_format=layout)
    labels = torch.arange(batch_size)
    run = network
    if variant.startswith("compiled"):
        from torch._inductor import config

        config.freezing = work == "inference"
        run = torch.compile(network)

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return run(images).float()

    def infer() -> None:
        with torch.no_grad() if variant.startswith("compiled") else torch.inference_mode():
            forward().sum().item()

    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)

    def train() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return infer if work == "inference" else train


if __name__ == "__main__":
    work, model, batch_size, size, variant, precision = sys.argv[1:7]
    take_turns(make_step(work, model, int(batch_size), int(size), variant, precision), least=0.3)
