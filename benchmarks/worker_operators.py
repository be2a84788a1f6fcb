"""Milliseconds of a step by kind of operator: worker_operators.py inference|training MODEL BATCH, as JSON.

MindSpore's profiler measures them on a CPU. An operator of our own is named after the cell that calls it.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import mindspore  # noqa: E402
from mindspore.profiler import ProfilerActivity, profile, tensorboard_trace_handler  # noqa: E402
from worker_ours import make_step  # noqa: E402

STEPS = 3
CELLS = r"(Convolution|BatchNorm|HaloKernel|MaxPool|MeanPixels|ChannelGate|MoveChannels)/Custom-op\d+$"


def name_operator(row: dict[str, str]) -> str:
    cell = re.search(CELLS, row["full_op_name"])
    name = cell[1] if cell else row["op_type"]
    return f"{name}, backward" if cell and row["full_op_name"].startswith("Gradients") else name


work, model, batch_size = sys.argv[1:4]
mindspore.set_device("CPU")
mindspore.set_context(mode=mindspore.GRAPH_MODE)
step = make_step(work, model, int(batch_size), 256, "native", frozen=False)  # else inference is one operator
step()
with tempfile.TemporaryDirectory() as folder:
    with profile(activities=[ProfilerActivity.CPU], on_trace_ready=tensorboard_trace_handler(folder)):
        for _ in range(STEPS):
            step()
    file = next(Path(folder).rglob("cpu_op_detail_info_*.csv"))
    totals: Counter[str] = Counter()
    for row in csv.DictReader(file.open()):
        totals[name_operator(row)] += float(row["op_total_time(ms)"]) / STEPS
print(json.dumps(dict(totals.most_common())))
