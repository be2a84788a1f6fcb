"""Multiply-accumulates of one image, as JSON: macs.py SIZE MODEL ..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mindcv_halo import create_model  # noqa: E402  before MindSpore

# isort: split

import mindspore  # noqa: E402

from mindcv_halo.models.macs import count_macs  # noqa: E402

mindspore.set_device("CPU")
size = int(sys.argv[1])
print(json.dumps({model: count_macs(create_model(model), (size, size)) for model in sys.argv[2:]}))
