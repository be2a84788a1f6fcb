"""What of a PNG the pixels depend on."""

from __future__ import annotations

import struct
import zlib

START, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def strip_png(data: bytes) -> bytes:
    """A PNG less the chunks that no pixel depends on, but for EXIF; any other file, and a PNG in disorder, as it is.

    Decoders refuse files for what is wrong in a comment or a colour profile, and complain of it on standard error.
    Pillow does not look at the checksums of pixels: raises ValueError where one of a chunk that is kept is wrong.
    """
    if not data.startswith(START):
        return data
    kept = [START]
    position = len(START)
    while position < len(data):
        if position + 8 > len(data):
            return data
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data) or not kind.isalpha():
            return data
        if kind[:1].isupper() or kind == b"eXIf":  # critical, says the capital
            if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ValueError(f"it is damaged: the checksum of its {kind.decode()} chunk is wrong")
            kept.append(data[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    return data
