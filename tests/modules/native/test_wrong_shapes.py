"""Every kernel checks the shapes that it is given: a wrong one is an error, never a read beyond an array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kernel_calls import MAPS, call, make_calls
from support.table import check_all
from support.ways import has_bfloat16, has_kernels

from mindcv_halo.native.build import SOURCES
from mindcv_halo.native.operators import load_kernels

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

KERNELS = make_calls()
# (kernel, argument, axis) whose side is free: it belongs to that argument alone.
FREE = {
    ("neighbour_channels", 1, 3),
    *(("mean_pixels", 0, axis) for axis in (1, 2)),
    *(("halo_attention", 0, axis) for axis in (1, 2)),  # queries beyond the map are zeros
    *(("halo_attention", 1, axis) for axis in (1, 2)),  # as long as there are as many blocks
    *(("halo_attention", 5, axis) for axis in (1, 2)),  # and their outputs may be written or not
    *(("halo_attention_backward", 0, axis) for axis in (1, 2)),
}


# (kernel, argument) that may be of bfloat16 beside others of float32.
CONVERTED = {
    *((name, index) for name in ("channels_last", "channels_first", "mean_pixels") for index in (0, 1)),
    *(("mean_pixels_backward", index) for index in (1, 2)),  # the map's numbers are not read
    ("convolution", 0),
}


def test_all_kernels_are_here():
    sources = "\n".join(Path(file).read_text() for file in SOURCES.glob("*.cpp"))
    assert set(re.findall(r"^HALO_KERNEL\((\w+)\)", sources, re.MULTILINE)) == {*KERNELS, "run_plan"}


def test_more_queries_than_a_block_has_pixels(capfd):
    """Their positions would lie before the tables."""
    image, both, table, scales = (1, 4, 4, 8), (1, 2, 2, 16), (3, 4), (2, 16, 2)
    settings = [2, 0, 2, 4, 0, 0, 0]
    forward = [image, both, table, table, settings, image, scales]
    backward = [image, image, both, table, table, scales, settings, image, both, table, table]
    for name, arguments in (("halo_attention", forward), ("halo_attention_backward", backward)):
        assert call(load_kernels(), name, arguments) == 1
    assert capfd.readouterr().err.count("settings are out of their range") == 2


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no instructions for bfloat16")
def test_wrong_shapes_of_bfloat16(capfd):
    """That maps of it are refused as those of float32 are."""

    def check(name: str) -> None:
        arguments = KERNELS[name]
        assert call(load_kernels(), name, arguments, short=True) == 0
        for index in MAPS[name]:
            for other in change(name, index, arguments[index]):
                changed = [*arguments[:index], other, *arguments[index + 1 :]]
                assert call(load_kernels(), name, changed, short=True) == 1, (index, other)
            if (name, index) not in CONVERTED:
                assert call(load_kernels(), name, arguments, index, b"float32", short=True) == 1, index

    check_all(MAPS, lambda name, _: check(name))
    capfd.readouterr()


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name, capfd):
    arguments = KERNELS[name]
    assert call(load_kernels(), name, arguments) == 0
    for index, argument in enumerate(arguments):
        for other in change(name, index, argument):
            changed = [*arguments[:index], other, *arguments[index + 1 :]]
            assert call(load_kernels(), name, changed) == 1, (index, other)
    for index in range(len(arguments)):
        assert call(load_kernels(), name, arguments, index) == 1, f"argument {index} of float16"
        converts = int((name, index) not in CONVERTED)
        assert call(load_kernels(), name, arguments, index, b"bfloat16") == converts, f"argument {index} of bfloat16"
    for fewer in (arguments[:-1], [*arguments, (1,)]):
        assert call(load_kernels(), name, fewer) == 1, len(fewer)
    assert f"{name}: " in capfd.readouterr().err


def change(name: str, index: int, argument: tuple[int, ...] | list[int]) -> Iterator[tuple[int, ...] | list[int]]:
    """More and fewer numbers, on each axis and in all."""
    if isinstance(argument, list):
        yield from ([*argument, 1], argument[:-1])
        return
    for axis, side in enumerate(argument):
        if (name, index, axis) not in FREE:
            for other in (side + 2, side - 2):  # one more or less may have the same half
                if other >= 0:
                    yield (*argument[:axis], other, *argument[axis + 1 :])
    yield (*argument, 2)
