"""MindSpore asked less often what it knows already: the same numbers for a tenth to a fifth less work.

python lean.py SCRIPT [its arguments]: run a script so, as each rank of a job, where PyNative mode runs one operator
after the other: else a rank spins while it waits for another, as conftest.py says.
"""

from __future__ import annotations

import gc
import inspect
import runpy
import sys
from functools import cache
from types import CodeType, SimpleNamespace

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore
from mindspore.graph._parse import parser


def ask_less() -> None:
    # The signature of an operator's and a cell's __init__ is asked for at each that is made: a fifth.
    remembering = SimpleNamespace(**{**vars(inspect), "signature": cache(inspect.signature)})
    for name in ("mindspore.ops.primitive", "mindspore.graph._utils.cell_attr_register"):
        sys.modules[name].inspect = remembering
    # The lines of a function are, whenever a call of it is compiled; and what is done is logged for nobody: a tenth.
    parser.inspect = SimpleNamespace(**{**vars(inspect), "getsourcelines": find_lines})
    mindspore.log.debug = lambda *_, **__: None
    # What is loaded by now stays: to look through all of it for garbage, at every few networks, is another.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 20)


def find_lines(thing: object) -> tuple[list[str], int]:
    """inspect.getsourcelines, which remembers code but no function: that of a closure holds a whole network."""
    code = getattr(thing, "__code__", None)
    return inspect.getsourcelines(thing) if code is None else _find_lines(code.co_filename, code)


@cache
def _find_lines(path: str, code: CodeType) -> tuple[list[str], int]:  # equal code may be of two files
    return inspect.getsourcelines(code)


if __name__ == "__main__":
    ask_less()
    del sys.argv[0]
    mindspore.runtime.launch_blocking()
    runpy.run_path(sys.argv[0], run_name="__main__")
