"""Optional kernels in C++ for CPUs, compiled on demand; the models in ../models run without them."""

from .accelerate import accelerate
from .build import NativeUnavailableError
from .operators import load_kernels
from .precision import name_bfloat16_instructions

__all__ = ["NativeUnavailableError", "accelerate", "load_kernels", "name_bfloat16_instructions"]
