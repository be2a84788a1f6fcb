"""A worker's side of the benchmark: one timed step for each line on standard input."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from time import perf_counter

# The bare layer that sides are compared on: a map as in the third stage of halonet_50t, and its heads.
ATTENTION = {"dim": 256, "num_heads": 8, "block_size": 8, "halo_size": 3}


def take_turns(step: Callable[[], None]) -> None:
    """Run `step`, which must wait for its result, whenever asked; at the end report the peak memory."""
    for _ in sys.stdin:
        start = perf_counter()
        step()
        print(perf_counter() - start, flush=True)
    print(json.dumps({"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}), flush=True)
