"""Our exported files of a model with random weights, for the sides of a benchmark that run files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SAVE = """
import sys, mindcv_halo
from mindcv_halo.models.weights import save_network
save_network(mindcv_halo.create_model(sys.argv[1]), sys.argv[2])
"""


def save_random(model: str, checkpoint: Path) -> None:
    """Write the checkpoint of a new network."""
    subprocess.run([sys.executable, "-c", _SAVE, model, checkpoint], cwd=ROOT, check=True)


def export(model: str, checkpoint: Path, target: Path, batch_size: int, image_size: int) -> str:
    """Write and compare the file, and return what export.py says of how far it is from the network."""
    flags = {
        **{"model": model, "ckpt_path": checkpoint, "output": target, "batch_size": batch_size},
        **{"image_resize": image_size, "device_target": "CPU"},
    }
    words = [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
    done = subprocess.run([sys.executable, ROOT / "export.py", *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
