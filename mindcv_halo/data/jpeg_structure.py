"""Whether MindSpore's decoder can be trusted with a JPEG.

Wherever libjpeg reports an error, MindSpore 2.10's decoder ends the process (a segmentation fault or a division by
zero). What can be one stands in the segments between the markers; of damage in the compressed data libjpeg only warns.
So all segments of a file are checked before MindSpore sees it, at a hundredth of the cost of decoding it.

Source of the rules: ITU-T T.81 (1992), annexes B (segments), C (Huffman tables) and G (progressive scans).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

START, END = b"\xff\xd8", b"\xff\xd9"

# The second bytes of the markers.
_FIRST_RESTART = 0xD0  # of eight
_END, _SCAN, _QUANTISATION, _HUFFMAN, _RESTART_INTERVAL, _COMMENT = 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; all with Huffman codes
_PROGRESSIVE = 0xC2
_JFIF, _ADOBE = 0xE0, 0xEE
_APPLICATIONS = range(0xE0, 0xF0)

_MOST_BLOCKS = 10  # of all components in a unit of an interleaved scan
_MOST_SCANS = 500  # a small file of many scans takes hours
_UNKNOWN = -1


def find_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels of a JPEG of 8 bits a sample whose segments are sound throughout; None for any other.

    What comes behind the end marker of the image is not looked at.
    """
    try:
        return _walk(data)
    except (IndexError, ValueError, struct.error):  # a segment that is shorter than its own counts say
        return None


@dataclass
class _Decoder:
    """What a decoder knows at a point of the file."""

    quantisation: set[int] = field(default_factory=set)  # numbers of the tables so far
    huffman: set[int] = field(default_factory=set)  # the same, plus 16 for those of AC coefficients
    size: tuple[int, int] = (0, 0)
    is_progressive: bool = False
    components: dict[int, tuple[int, int]] = field(default_factory=dict)  # blocks in a unit, quantisation table
    precision: dict[int, list[int]] = field(default_factory=dict)  # of components seen: their coefficients' last bits
    has_restarts: bool = False
    num_scans: int = 0


def _walk(data: bytes) -> tuple[int, int] | None:
    state = _Decoder()
    ends: np.ndarray | None = None
    position = len(START)
    if not data.startswith(START):
        return None
    while True:
        if data[position] != 0xFF:
            return None
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == _END:
            return state.size if state.components.keys() == state.precision.keys() and state.components else None
        (length,) = struct.unpack_from(">H", data, position)
        body = data[position + 2 : position + length]
        position += length
        if length < 2 or position >= len(data) or not _read_segment(state, marker, body):
            return None
        if marker == _SCAN:
            if ends is None:
                ends = _find_ends(data, state.has_restarts)
            position += int(ends[position:].argmax())  # at the same byte if there is none, which is no marker then


def _find_ends(data: bytes, has_restarts: bool) -> np.ndarray:
    """Whether compressed data ends at a byte, because a marker other than a restart begins there: bool."""
    content = np.frombuffer(data, np.uint8)
    ends, following = content[:-1] == 0xFF, content[1:]
    ends &= following != 0
    if has_restarts:
        ends &= (following & 0xF8) != _FIRST_RESTART
    return ends


def _read_segment(state: _Decoder, marker: int, body: bytes) -> bool:
    """Take a segment in; whether it is sound."""
    if marker == _SCAN:
        return _read_scan(state, body)
    if marker == _QUANTISATION:
        tables = _read_quantisation(body)
        state.quantisation |= tables or set()
        return tables is not None
    if marker == _HUFFMAN:
        tables = _read_huffman(body)
        state.huffman |= tables or set()
        return tables is not None
    if marker in _FRAMES:
        return not state.components and _read_frame(state, marker, body)
    if marker == _RESTART_INTERVAL:
        state.has_restarts = True
        return len(body) == 2
    if marker == _JFIF and body.startswith(b"JFIF\0"):
        return len(body) >= 14 and body[5] in (1, 2)  # libjpeg complains of other versions
    if marker == _ADOBE and body.startswith(b"Adobe"):
        return len(body) >= 12 and body[11] in (0, 1, 2)  # ... and of other colours
    return marker in _APPLICATIONS or marker == _COMMENT


@lru_cache(256)  # most files have one of a few tables
def _read_quantisation(body: bytes) -> frozenset[int] | None:
    tables = set()
    while body:
        is_wide, number = divmod(body[0], 16)
        size = 1 + 64 * (1 + is_wide)
        if is_wide > 1 or number > 3 or len(body) < size:
            return None
        tables.add(number)
        body = body[size:]
    return frozenset(tables)


@lru_cache(256)
def _read_huffman(body: bytes) -> frozenset[int] | None:
    tables = set()
    while body:
        kind, number = divmod(body[0], 16)
        counts = body[1:17]
        values = body[17 : 17 + sum(counts)]
        if kind > 1 or number > 3 or len(counts) < 16 or len(values) < sum(counts) or len(values) > 256:
            return None
        if kind == 0 and max(values, default=0) > 15:
            return None
        free = 1  # codes of this many bits that no shorter one begins
        for count in counts:
            free = 2 * free - count
            if free < 0:
                return None
        tables.add(16 * kind + number)
        body = body[17 + len(values) :]
    return frozenset(tables)


def _read_frame(state: _Decoder, marker: int, body: bytes) -> bool:
    precision, height, width, count = struct.unpack_from(">BHHB", body)
    if precision != 8 or not height or not width or count not in (1, 3, 4) or len(body) != 6 + 3 * count:
        return False
    parts = [
        (number, *divmod(sampling, 16), table) for number, sampling, table in zip(*[iter(body[6:])] * 3, strict=True)
    ]
    widest, tallest = max(part[1] for part in parts), max(part[2] for part in parts)
    for _, across, down, table in parts:
        if not (1 <= across <= 4 and 1 <= down <= 4) or widest % across or tallest % down or table > 3:
            return False
    state.size = width, height
    state.is_progressive = marker == _PROGRESSIVE
    state.components = {number: (across * down, table) for number, across, down, table in parts}
    return len(state.components) == count


def _read_scan(state: _Decoder, body: bytes) -> bool:
    count = body[0]
    first, last, bits = body[1 + 2 * count :]
    before, after = divmod(bits, 16)
    chosen = dict(zip(body[1 : 1 + 2 * count : 2], body[2 : 1 + 2 * count : 2], strict=True))
    state.num_scans += 1
    if not count or len(chosen) != count or not chosen.keys() <= state.components.keys():
        return False
    if count > 1 and sum(state.components[number][0] for number in chosen) > _MOST_BLOCKS:
        return False
    if state.is_progressive:
        band_is_sound = last == 0 if first == 0 else (count == 1 and first <= last <= 63)
        bits_are_sound = after <= 13 and before in (0, after + 1)
        if not band_is_sound or not bits_are_sound or state.num_scans > _MOST_SCANS:
            return False
    elif (first, last, bits) != (0, 63, 0):
        return False
    for number, tables in chosen.items():
        if state.components[number][1] not in state.quantisation:
            return False
        uses_dc, uses_ac = first == 0 and not before, last > 0
        if (uses_dc and tables // 16 not in state.huffman) or (uses_ac and 16 + tables % 16 not in state.huffman):
            return False
        if not state.is_progressive:
            if number in state.precision:
                return False
            state.precision[number] = []
            continue
        known = state.precision.setdefault(number, [_UNKNOWN] * 64)
        expected = [before or _UNKNOWN] * (last + 1 - first)
        if known[first : last + 1] != expected or (first and known[0] == _UNKNOWN):
            return False
        known[first : last + 1] = [after] * (last + 1 - first)
    return True
