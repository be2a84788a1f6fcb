"""What decoders complain of is dropped, and nothing else."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, io, os, sys
import numpy as np
from PIL import Image
from mindspore.dataset import vision
from mindcv_halo.data.decoder_noise import drop_decoder_noise

content = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(content, "JPEG")
damaged = content.getvalue()[:-500] + b"\\xff\\xd9"
libc = ctypes.CDLL(None)
libc.fputs.argtypes = ctypes.c_char_p, ctypes.c_void_p

def decode():
    vision.Decode()(np.frombuffer(damaged, np.uint8))

def say(text):
    libc.fputs(text, ctypes.c_void_p.in_dll(libc, "stderr").value)

decode()
for _ in range(2):
    drop_decoder_noise()
decode()
print("from Python", file=sys.stderr, flush=True)
os.write(2, b"to the descriptor\\n")
say(b"libpng warning: iCCP: known incorrect sRGB profile\\n")
say(b"from C\\n")
say(b"last words, without an end")
libc.fflush(None)
os.kill(os.getpid(), 9)
"""


def test_only_decoders_are_silenced():
    """The process is killed at the end, and nothing that it said before is lost."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == -9 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Corrupt JPEG data: ")  # before: the damage is one that libjpeg complains of
    assert sorted(lines[1:]) == ["from C", "from Python", "last words, without an end", "to the descriptor"]
