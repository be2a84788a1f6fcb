"""How halonet_mini's files were made, with timm 1.0.31 and torch 2.13 in an environment of their own.

timm has no such model: its network is built of timm's blocks (benchmarks/beside_timm/timm_model.py) from the
specification, which an environment with MindSpore prints:

    cd tests/golden && python -c "import json, sys; sys.path.insert(0, '../..')
    from dataclasses import asdict; from mindcv_halo.models.halonet import HALONET_MINI
    print(json.dumps(asdict(HALONET_MINI)))" > spec.json
    PYTHONPATH=..:../../benchmarks/beside_timm PEER_VENV/bin/python make_halonet_mini.py spec.json
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timm_model
import torch
from support.draws import draw_images, draw_labels, draw_weight, sample_places

HERE = Path(__file__).parent
SEED, BATCH, SIZE = 0, 8, 32
spec = json.loads(Path(sys.argv[1]).read_text())
network = timm_model.build(spec, 1000, 3)

state = network.state_dict()
trained = {name for name, _ in network.named_parameters()}
entries = [[name, list(value.shape), "param" if name in trained else "buffer"] for name, value in state.items()]
counts = {"trainable": sum(state[name].numel() for name in trained)}
counts["with_statistics"] = sum(value.numel() for value in state.values() if value.ndim)
lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
head = json.dumps({"model": spec["name"], **counts})[:-1]
(HERE.parent / f"state/timm/{spec['name']}.json").write_text(f'{head}, "entries": [\n{lines}\n]}}\n')

# A batch norm's weights follow from what enters it, which is known when all before it have theirs.
images = torch.tensor(draw_images(SEED, (BATCH, 3, SIZE, SIZE)))
scales: dict[str, float] = {}


def draw_entries(prefix: str, module: torch.nn.Module) -> None:
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    with torch.no_grad():
        for leaf, value in own:
            name = f"{prefix}.{leaf}" if prefix else leaf
            value.copy_(torch.tensor(draw_weight(name, tuple(value.shape), SEED, scales)))


def measure(name: str):
    def hook(module, inputs):
        scales[name] = float(f"{inputs[0].square().mean().sqrt().item():.2g}")
        draw_entries(name, module)

    return hook


norms = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
for name, module in network.named_modules():
    if name not in norms:
        draw_entries(name, module)
handles = [module.register_forward_pre_hook(measure(name)) for name, module in norms.items()]
network.eval()
with torch.no_grad():
    network(images)
for handle in handles:
    handle.remove()

weights = {name: value for name, value in network.state_dict().items() if "num_batches_tracked" not in name}
names = sorted(weights)
labels = draw_labels(SEED, BATCH)
arrays = {
    "w_names": "\n".join(names),
    "w_abs_sum": [weights[name].double().abs().sum().item() for name in names],
    "bn_scale_names": "\n".join(scales),
    "bn_scale_values": list(scales.values()),
    "x_first8": images.flatten()[:8].numpy(),
    "x_abs_sum": images.double().abs().sum().item(),
    "labels": labels,
}

with torch.no_grad():
    single = network(images).double()
watched = ["stem", *(f"stages.{stage}" for stage in range(len(spec["stages"])))]
watched += [name for name, _ in network.named_modules() if name.endswith(".self_attn")]
watched += ["head.global_pool"]
network.double()
seen: dict[str, np.ndarray] = {}
modules = dict(network.named_modules())
handles = [
    modules[name].register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.numpy()}))
    for name in watched
]
with torch.no_grad():
    logits = network(images.double())
for handle in handles:
    handle.remove()
arrays |= {
    "logits": logits.float().numpy(),
    "logits_f32_maxdiff": (logits - single).abs().max().item(),
    "act_names": "\n".join(watched),
}
for name, value in seen.items():
    arrays[f"act/{name}/shape"] = np.array(value.shape, np.int32)
    arrays[f"act/{name}/val"] = value.ravel()[sample_places(SEED, name, value.size)].astype(np.float32)
    arrays[f"act/{name}/stat"] = [value.mean(), value.std(), np.linalg.norm(value)]


def take_step() -> tuple[torch.Tensor, float, dict[str, np.ndarray]]:
    """Logits, loss and gradients in training mode, whose running statistics stay in the network."""
    network.zero_grad()
    found = network(images.to(next(network.parameters()).dtype))
    loss = torch.nn.functional.cross_entropy(found, torch.tensor(labels))
    loss.backward()
    gradients = {name: parameter.grad.double().numpy().copy() for name, parameter in network.named_parameters()}
    return found.detach(), loss.item(), gradients


network.train()
start = {name: value.clone() for name, value in network.state_dict().items()}
logits, loss, gradients = take_step()
statistics = {name: value for name, value in network.state_dict().items() if "running" in name}
names = sorted(gradients)
arrays |= {
    "train/logits": logits.float().numpy(),
    "train/loss": loss,
    "train/grad_names": "\n".join(names),
    "train/grad_l2": [np.linalg.norm(gradients[name]) for name in names],
    "train/grad_first": [gradients[name].flat[0] for name in names],
    "train/bn_names": "\n".join(sorted(statistics)),
    "train/bn_abs_sum": [statistics[name].abs().sum().item() for name in sorted(statistics)],
}
meta = {"model": spec["name"], "source": "timm's blocks", "seed": SEED, "batch": BATCH, "h": SIZE, "w": SIZE}
meta |= {"torch": torch.__version__, "params": counts["trainable"], "timm": version("timm")}
arrays["meta"] = json.dumps(meta)
np.savez_compressed(HERE / f"{spec['name']}_s{SEED}_{SIZE}x{SIZE}_b{BATCH}.npz", **arrays)

# What rounding does to timm itself.
network.load_state_dict(start)
network.float()
_, single_loss, single_gradients = take_step()
worst = max(
    abs(np.linalg.norm(single_gradients[name]) / np.linalg.norm(gradients[name]) - 1)
    for name in names
    if np.linalg.norm(gradients[name]) > 1e-9
)
print(f"timm's float32 beside its float64: loss {abs(single_loss / loss - 1):.1e}, gradients' lengths {worst:.1e}")
