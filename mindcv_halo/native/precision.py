"""In which numbers the maps between kernels are stored; parameters, sums and statistics are float32 in any case."""

from __future__ import annotations

import warnings

import mindspore

from ..errors import unknown_name
from .operators import load_kernels

PRECISIONS = {"float32": mindspore.float32, "bfloat16": mindspore.bfloat16}
_INSTRUCTIONS = ("", "AVX-512 BF16", "AMX")  # by the number of src/halo_attention_bfloat16.cpp


def name_bfloat16_instructions() -> str:
    """What this processor multiplies bfloat16 with: "AMX", "AVX-512 BF16", or "" where it cannot."""
    return _INSTRUCTIONS[load_kernels().bfloat16_instructions()]


def choose_precision(precision: str) -> str:
    """`precision`, or float32 with a warning where the processor would be slower with it than without.

    Raises UserError for an unknown name.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "bfloat16" and not name_bfloat16_instructions():
        warnings.warn(
            "precision bfloat16: this processor has no instructions for it (AMX or AVX-512 BF16); float32 is computed",
            stacklevel=3,
        )
        return "float32"
    return precision
