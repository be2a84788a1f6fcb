"""A worker's side of the benchmark: one turn for each line on standard input."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from time import perf_counter, sleep

# The bare layer that sides are compared on: a map as in the third stage of halonet_50t, and its heads.
ATTENTION = {"dim": 256, "num_heads": 8, "block_size": 8, "halo_size": 3}
PAUSE = 0.2  # seconds in which threads of the worker before stop to wait for work


def take_turns(step: Callable[[], object], least: float = 0.0) -> None:
    """Run `step`, which must wait for its result, whenever asked; at the end report the peak memory.

    A turn reports the seconds of a step: of one, or the mean of as many as take `least` seconds, after one that is not
    counted, as the caches hold another worker's data.
    """
    last = 2 * least
    for _ in sys.stdin:
        sleep(PAUSE)
        if last < least:
            step()
        start, count = perf_counter(), 0
        while count == 0 or perf_counter() - start < least:
            step()
            count += 1
        last = (perf_counter() - start) / count
        print(last, flush=True)
    print(json.dumps({"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}), flush=True)
