"""python blocking.py SCRIPT [its arguments]: run a script in a job of several ranks, in PyNative mode.

Else a rank spins while it waits for another, as conftest.py says.
"""

from __future__ import annotations

import runpy
import sys

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore

if __name__ == "__main__":
    mindspore.runtime.launch_blocking()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
