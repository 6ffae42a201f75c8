"""Which pictures may be decoded in the program's own process: ordinary JPEGs and PNGs of moderate size.

Whatever is in doubt is not plain. That a file is plain says nothing of whether it can be decoded.
"""

from __future__ import annotations

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

# Cameras of 100 megapixels write JPEGs of this size.
_MOST_BYTES = 64_000_000
# Cameras have at most this many, but for a few: 0.5 s to decode, and only the reduced picture is held.
_MOST_PIXELS = 50_000_000
# A PNG is held whole, 4 bytes a pixel and as many again where it is transparent. Screens have at most this
# many.
_MOST_PNG_PIXELS = 16_000_000
# Pixels times scans: each scan of a progressive JPEG is a pass over the whole picture. Encoders make some 10.
_MOST_WORK = 1_000_000_000
# Pillow reads headers in Python, a few microseconds a part, and joins the pieces of EXIF one by one. Cameras
# write some ten segments and at most a few hundred kilobytes before the pixels; PNG encoders a chunk every
# 8 to 64 kB.
_MOST_SEGMENTS = 200
_MOST_HEADER = 2_000_000
_MOST_CHUNKS = 10_000

_MARKER, _START_OF_SCAN = 0xFF, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))


def is_plain(data: bytes) -> bool:
    """Whether decoding these bytes surely ends within seconds and in little memory, by a robust decoder."""
    if len(data) > _MOST_BYTES:
        return False
    try:
        if data.startswith(_JPEG):
            return _is_plain_jpeg(data)
        return data.startswith(_PNG) and _is_plain_png(data)
    except IndexError:  # it ends in the middle
        return False


def _is_plain_jpeg(data: bytes) -> bool:
    at, pixels, progressive, components = 2, 0, False, 0
    for _ in range(_MOST_SEGMENTS):
        if data[at] != _MARKER or at > _MOST_HEADER:
            return False
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = _number(data, at + 5, 2), _number(data, at + 7, 2)
            pixels, progressive, components = width * height, marker in _PROGRESSIVE, data[at + 9]
        elif marker == _START_OF_SCAN:
            # One scan with all components is the only one of a sequential file that is decoded.
            single = not progressive and data[at + 4] == components
            scans = 1 if single else data.count(b"\xff\xda", at)
            return 0 < pixels <= _MOST_PIXELS and pixels * scans <= _MOST_WORK
        at += 2 + _number(data, at + 2, 2)
    return False


def _is_plain_png(data: bytes) -> bool:
    if data[12:16] != b"IHDR" or not 0 < _number(data, 16, 4) * _number(data, 20, 4) <= _MOST_PNG_PIXELS:
        return False
    at = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        if at >= len(data):
            return True
        at += 12 + _number(data, at, 4)
    return False


def _number(data: bytes, at: int, size: int) -> int:
    part = data[at : at + size]
    if len(part) < size:
        raise IndexError
    return int.from_bytes(part, "big")
