"""JPEG XL: what its header says before anything is decoded, and the decoder, which comes with an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.photos.extras import JXL

if TYPE_CHECKING:
    import io

    from PIL.ImageFile import ImageFile

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# ISO/IEC 18181-1, A.3 (SizeHeader): bits of a number by its selector, and the ratios of width to height.
_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def is_jxl(beginning: bytes) -> bool:
    """Whether a file that begins like this is a JPEG XL."""
    return beginning.startswith((_CODESTREAM, _CONTAINER))


def jxl_pixels(data: bytes) -> int | None:
    """How many pixels a JPEG XL claims to have; None where that cannot be told."""
    at = 0 if data.startswith(_CODESTREAM) else _codestream(data)
    if at is None:
        return None
    bits = _Bits(int.from_bytes(data[at + 2 : at + 18], "little"))
    small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if small else 1 + bits.take(_BITS[bits.take(2)])
    if ratio := bits.take(3):
        wide, high = _RATIOS[ratio - 1]
        return height * (height * wide // high)
    return height * (8 * (1 + bits.take(5)) if small else 1 + bits.take(_BITS[bits.take(2)]))


class _Bits:
    """A number, from its lowest bit on."""

    def __init__(self, rest: int) -> None:
        self._rest = rest

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value


def _codestream(data: bytes) -> int | None:
    """Where the codestream begins in a container of boxes (ISO/IEC 18181-2)."""
    at = 0
    while at + 16 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind in {b"jxlc", b"jxlp"}:
            begin = at + head + (4 if kind == b"jxlp" else 0)
            return begin if data.startswith(_CODESTREAM, begin) else None
        if length < head:
            return None
        at += length
    return None


def open_jxl(stream: io.BytesIO, name: str) -> ImageFile:
    """Decode a JPEG XL: its plugin knows no other way to open one.

    Raises:
        PhotoError: The plugin is not installed.
    """
    try:
        import pillow_jxl.JpegXLImagePlugin

        plugin = pillow_jxl.JpegXLImagePlugin
    except ImportError as error:
        raise JXL.missing() from error
    plugin.DECODE_THREADS = 0  # as many threads as cores already read
    picture: ImageFile = plugin.JXLImageFile(stream, name)
    return picture
