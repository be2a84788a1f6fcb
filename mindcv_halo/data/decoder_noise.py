"""Standard error without what C libraries say of images: a line for each damaged JPEG and epoch, without its name.

MindSpore's libjpeg prints through C's `stderr`, and nothing in MindSpore can tell it not to. So that stream of C, and
no other way to standard error, leads through a small process that takes such lines out. Being a process of its own, it
passes on the last words of one that crashes. Python and C++ do not write through that stream.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

# How lines of libjpeg, libpng and libtiff begin.
_NOISE = (
    r"(Corrupt JPEG data|Premature end of JPEG file|Inconsistent progression sequence|Invalid SOS parameters"
    r"|Warning: unknown JFIF revision|Unknown Adobe color transform|libpng (warning|error)"
    r"|(tempfile\.tif|_?TIFF\w+|JPEG\w+|LZW\w+|ZIP\w+|Fax\w+|PackBits\w+|Thunder\w+|NeXT\w+|LogLuv\w+|Old\w+): )"
)
_FILTER = """
import os, re, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)  # it ends when all who write to it have ended
noise = re.compile(os.fsencode(sys.argv[1]))
for line in sys.stdin.buffer:
    if not noise.match(line):
        os.write(2, line)
"""
_LINE_BUFFERED = 1  # glibc's _IOLBF

_filter: subprocess.Popen | None = None


def drop_decoder_noise() -> None:
    """Take the lines of image decoders out of what C code of this process prints on standard error, from now on.

    It does nothing where the C library is not glibc, and where somebody else has put a file in place of sys.stderr.
    """
    global _filter
    if _filter is not None or platform.libc_ver()[0] != "glibc" or not _is_own_stderr():
        return
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    libc.setvbuf.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    command = [sys.executable, "-I", "-S", "-c", _FILTER, _NOISE]
    _filter = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    descriptor = os.dup(_filter.stdin.fileno())  # stays open to the very end
    _filter.stdin.close()
    stream = libc.fdopen(descriptor, b"w")
    libc.setvbuf(stream, None, _LINE_BUFFERED, 0)
    ctypes.c_void_p.in_dll(libc, "stderr").value = stream  # glibc's manual: a variable that may be set like any other


def _is_own_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # it is None, no file, or closed
        return False
