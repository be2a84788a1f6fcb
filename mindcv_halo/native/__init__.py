"""Optional kernels in C++ for CPUs, compiled on demand; the models in ../models run without them."""

from .accelerate import accelerate
from .build import NativeUnavailableError
from .operators import load_kernels

__all__ = ["NativeUnavailableError", "accelerate", "load_kernels"]
