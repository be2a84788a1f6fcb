"""Every native kernel under AddressSanitizer and UndefinedBehaviourSanitizer: python tests/drills/sanitize_kernels.py

Builds the kernels once more with both, and calls each, without MindSpore, for maps of many sizes and for many wrong
shapes and settings. Ends with the number of calls, or at the first fault with the sanitizer's report and a status that
is not 0. Takes two minutes, and is not part of `make test`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.kernel_calls import MAPS, call, make_calls, make_pointwise_call  # noqa: E402  now that it can be found

COMPILER = "g++"
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
OTHERS = "-std=c++17 -O2 -march=native -fPIC -shared -pthread"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        sources = sorted(map(str, (ROOT / "mindcv_halo" / "native" / "src").glob("*.cpp")))
        command = [COMPILER, *SANITIZERS.split(), *OTHERS.split(), *sources, "-o", str(library), "-ldl"]
        subprocess.run(command, check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(_find(name) for name in ("libasan.so", "libubsan.so")),
            "ASAN_OPTIONS": "detect_leaks=0",  # primitives of oneDNN are kept for good
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        return subprocess.run([sys.executable, __file__, str(library)], env=environment, check=False).returncode


def call_all(path: str) -> None:
    """In a process that has the sanitizers."""
    library = ctypes.CDLL(path)
    onednn = Path(find_spec("mindspore").origin).parent / "lib" / "libdnnl.so.3"
    if library.use_onednn(str(onednn).encode()):
        raise SystemExit(f"{onednn} does not fit")
    count = 0
    for batch, side, channels, stride, (block, halo) in product(
        (1, 3), (1, 4, 9, 17), (4, 32, 36), (1, 2), ((2, 1), (8, 3), (7, 2))
    ):
        sizes = {"groups": 2, "stride": stride, "kernel": 1 + 2 * (side % 2), "block": block, "halo": halo}
        calls = make_calls(batch, side, side + 2, channels, **sizes, scrambled=stride - 1)
        for name, arguments in calls.items():
            for short in (False, True) if name in MAPS and library.bfloat16_instructions() else (False,):
                count += 1
                if call(library, name, arguments, short=short):
                    raise SystemExit(f"{name} refuses {arguments}")
    for forbidden in range(library.bfloat16_instructions()):
        library.forbid_tiles(forbidden)
        for size in product((1, 3), (1, 7), (1, 9), (32, 96, 1088), (32, 160), (1, 2)):
            count += 1
            if call(library, "convolution", make_pointwise_call(*size), short=True):
                raise SystemExit(f"convolution refuses {size}")
    library.forbid_tiles(0)
    wrong = 0
    for name, arguments in make_calls().items():
        for index, argument in enumerate(arguments):
            if isinstance(argument, tuple):
                for axis, side in enumerate(argument):
                    for other in {side + 1, side + 2, max(0, side - 1), max(0, side - 2)} - {side}:
                        changed = (*argument[:axis], other, *argument[axis + 1 :])
                        wrong += 1
                        call(library, name, [*arguments[:index], changed, *arguments[index + 1 :]])
            else:
                for place, other in product(range(len(argument)), (-1, 0, 1, 2, 3, 5, 1000)):
                    changed_settings = [*argument[:place], other, *argument[place + 1 :]]
                    wrong += 1
                    call(library, name, [*arguments[:index], changed_settings, *arguments[index + 1 :]])
    print(f"{count} calls that fit, {wrong} with something changed: no fault")


def _find(library: str) -> str:
    output = subprocess.run([COMPILER, f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    return output.stdout.strip()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        call_all(sys.argv[1])
    else:
        sys.exit(main())
