"""MindSpore asked less often what it knows already: the same numbers for a tenth to a fifth less work.

python lean.py [--blocking] SCRIPT [its arguments]: run a script so, as each rank of a job; `--blocking` is for PyNative
mode, where a rank spins else while it waits for another, as conftest.py says.
"""

from __future__ import annotations

import ctypes
import gc
import inspect
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import CodeType, SimpleNamespace
from typing import Any

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import mindspore
import numpy as np
from mindspore.graph._parse import parser


def ask_less() -> None:
    # The signature of an operator's and a cell's __init__ is asked for at each that is made: a fifth.
    remembering = SimpleNamespace(**{**vars(inspect), "signature": cache(Signature)})
    for name in ("mindspore.ops.primitive", "mindspore.graph._utils.cell_attr_register"):
        sys.modules[name].inspect = remembering
    # The lines of a function are, whenever a call of it is compiled; and what is done is logged for nobody: a tenth.
    parser.inspect = SimpleNamespace(**{**vars(inspect), "getsourcelines": find_lines})
    mindspore.log.debug = lambda *_, **__: None
    # The state of NumPy's numbers is, 2500 bytes, for each initial weight: a tenth of making one.
    assert read_state()[1][0] == np.random.get_state()[1][0]
    random = SimpleNamespace(**{**vars(np.random), "get_state": read_state})
    mindspore.common.tensor.np = SimpleNamespace(**{**vars(np), "random": random})
    # What is loaded by now stays: to look through all of it for garbage, at every few networks, is another.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 20)


class Signature:
    """inspect.Signature.bind, by a shorter way where nothing but positions and keywords is to be sorted."""

    def __init__(self, fn: Callable):
        self.whole = inspect.signature(fn)
        parameters = self.whole.parameters.values()
        self.is_plain = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
        self.defaults = {each.name: each.default for each in parameters}
        self.needed = {each.name for each in parameters if each.default is each.empty}

    def bind(self, *args, **kwargs) -> inspect.BoundArguments | Bound:
        given = dict(zip(self.defaults, args, strict=False))
        arguments = given | {name: kwargs[name] for name in self.defaults if name in kwargs}
        is_valid = len(arguments) == len(args) + len(kwargs) and self.needed <= arguments.keys()
        if not self.is_plain or not is_valid:
            return self.whole.bind(*args, **kwargs)
        return Bound(arguments, self.defaults)


@dataclass
class Bound:
    arguments: dict[str, Any]
    defaults: dict[str, Any]

    def apply_defaults(self) -> None:
        self.arguments = {name: self.arguments.get(name, value) for name, value in self.defaults.items()}


def read_state() -> tuple[str, tuple[int]]:
    """What MindSpore looks at of np.random.get_state(): the first number of the generator's state."""
    address = np.random.mtrand._rand._bit_generator.ctypes.state_address
    return "MT19937", (ctypes.c_uint32.from_address(address).value,)


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
    if sys.argv[0] == "--blocking":
        mindspore.runtime.launch_blocking()
        del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
