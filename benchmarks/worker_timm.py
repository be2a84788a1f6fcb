"""timm's side of speed.py: worker_timm.py MODEL BATCH SIZE inference|training contiguous|channels_last."""

from __future__ import annotations

import sys
from types import ModuleType


class _Absent(ModuleType):
    """torchvision has no CPU build that fits; timm imports names from it, and the models use none of them."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {mode: number for number, mode in enumerate(_MODES)})


_MODES = ("NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS")
_PARTS = ("ops", "ops.misc", "transforms", "transforms.functional", "datasets", "models", "utils")
for _name in ("torchvision", *(f"torchvision.{part}" for part in (*_PARTS, "models.feature_extraction"))):
    _module = _Absent(_name)
    _module.__path__ = []
    sys.modules[_name] = _module
    parent, _, child = _name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, _module)

import timm  # noqa: E402
import torch  # noqa: E402
from turns import take_turns  # noqa: E402

model, batch_size, size, work = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
layout = torch.channels_last if sys.argv[5] == "channels_last" else torch.contiguous_format
network = timm.create_model(model).to(memory_format=layout)
images = torch.randn(batch_size, 3, size, size).to(memory_format=layout)
labels = torch.arange(batch_size)


def infer() -> None:
    with torch.inference_mode():
        network(images).sum().item()


def train() -> None:
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    loss.item()


if work == "inference":
    network.eval()
    take_turns(infer)
else:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    take_turns(train)
