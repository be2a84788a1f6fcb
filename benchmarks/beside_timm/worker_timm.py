"""timm's side of beside_timm.py, in PyTorch: worker_timm.py losses|accuracy|cost FOLDER PRECISION.

PRECISION is float32, float64, or bfloat16, which is autocast's; with " compiled" behind it torch.compile runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import timm_model  # also makes benchmarks/ a place to import from
import torch
from batches import normalise, read_job, steps
from safetensors.torch import load_file
from turns import take_turns

EVALUATED = 500  # images at a time


def make_step(job: dict, folder: Path, precision: str) -> tuple[torch.nn.Module, Callable]:
    """The network with the job's weights, and what takes one step: (images, labels, rate) -> loss."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = timm_model.build(job["spec"], job["num_classes"], job["in_channels"])
    network.load_state_dict(load_file(folder / "timm.safetensors"))
    network = network.to(dtype).to(memory_format=torch.channels_last).train()
    run = torch.compile(network) if precision.endswith("compiled") else network
    decayed = [parameter for name, parameter in network.named_parameters() if name in job["decayed"]]
    others = [parameter for name, parameter in network.named_parameters() if name not in job["decayed"]]
    groups = [{"params": decayed, "weight_decay": job["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=job["rates"][0], eps=1e-8)

    def step(images, labels, rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = torch.from_numpy(images).to(dtype).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bfloat16")):
            logits = run(x)
        loss = torch.nn.functional.cross_entropy(
            logits.to(dtype), torch.from_numpy(labels).long(), label_smoothing=job["label_smoothing"]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return network, step


def count_right(network: torch.nn.Module, data: dict, precision: str) -> int:
    dtype = next(network.parameters()).dtype
    network.eval()
    right = 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bfloat16")):
        for start in range(0, len(data["test_images"]), EVALUATED):
            images = torch.from_numpy(normalise(data["test_images"][start : start + EVALUATED])).to(dtype)
            labels = torch.from_numpy(data["test_labels"][start : start + EVALUATED])
            right += int((network(images).argmax(1) == labels).sum())
    return right


if __name__ == "__main__":
    work, folder, precision = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    job, data = read_job(folder)
    network, step = make_step(job, folder, precision)
    if work == "cost":
        images, labels = next(steps(job, data))
        take_turns(lambda: step(images, labels, job["rates"][0]), least=0.3)
    else:
        batches = zip(steps(job, data), job["rates"], strict=True)
        losses = [step(images, labels, rate) for (images, labels), rate in batches]
        result = {"losses": losses}
        if work == "accuracy":
            result["right"] = count_right(network, data, precision)
        print(json.dumps(result))
