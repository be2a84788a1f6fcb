"""timm's side of speed.py: worker_timm.py MODEL BATCH SIZE inference|training contiguous|channels_last."""

from __future__ import annotations

import sys

import timm_without_torchvision as timm
import torch
from turns import take_turns

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
