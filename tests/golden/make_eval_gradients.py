"""How halonet_h1_eval_gradients.npz was made, with timm 1.0.31 and torch 2.13 in an environment of their own.

In training mode two images a batch norm make halonet_h1's gradients chaotic in float32: timm's own float32 is up to 27
% off its float64. With the running statistics of evaluation mode they are not, and show every layer's gradient to be
right.

    cd tests/golden && PYTHONPATH=..:../../benchmarks PEER_VENV/bin/python make_eval_gradients.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import timm_without_torchvision as timm
import torch
from support.draws import draw_images, draw_labels, draw_weights

HERE = Path(__file__).parent
state = json.loads((HERE.parent / "state/timm/halonet_h1.json").read_text())
golden = np.load(HERE / "halonet_h1_s0_256x256_b2.npz")
scales = dict(zip(str(golden["bn_scale_names"]).split("\n"), golden["bn_scale_values"].tolist(), strict=True))
weights = draw_weights({name: tuple(shape) for name, shape, _ in state["entries"]}, 0, scales)

network = timm.create_model("halonet_h1")
network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
network.eval().double()
images = torch.tensor(draw_images(0, (2, 3, 256, 256))).double()
loss = torch.nn.functional.cross_entropy(network(images), torch.tensor(draw_labels(0, 2)))
loss.backward()
gradients = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
names = sorted(gradients)
np.savez_compressed(
    HERE / "halonet_h1_eval_gradients.npz",
    loss=loss.item(),
    names="\n".join(names),
    length=[np.linalg.norm(gradients[name]) for name in names],
    first=[gradients[name].flat[0] for name in names],
)
