"""Seconds until a new process has made its first step: worker_start.py inference|training MODEL [CACHE_FOLDER].

Prints them as JSON: from the first import of mindcv_halo on, and of these the ones that compiling and the step took.
With a folder, graphs are kept there and read again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

STARTED = perf_counter()
sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import mindspore  # noqa: E402
from worker_ours import make_step  # noqa: E402

work, model, *folder = sys.argv[1:]
mindspore.set_device("CPU")
mindspore.set_context(mode=mindspore.GRAPH_MODE)
if folder:
    mindspore.set_context(enable_compile_cache=True, compile_cache_path=folder[0])
step = make_step(work, model, 8, 256, "native")
built = perf_counter()
step()
print(json.dumps({"seconds": perf_counter() - built, "since_import": perf_counter() - STARTED}))
