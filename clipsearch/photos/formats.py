"""Which formats are read, and how big a picture may be: bytes → an opened, not yet decoded Pillow image."""

from __future__ import annotations

import functools
import importlib
import io
import re
import struct
import warnings
from typing import TYPE_CHECKING

from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.jxl import is_jxl, open_jxl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL.ImageFile import ImageFile

    Factory = Callable[[io.BytesIO, str], ImageFile]
    Accept = Callable[[bytes], bool | str]

HELD_PIXELS = 160_000_000
"""Most pixels that may be in memory at once.

Pillow holds 4 bytes a pixel. Measured at this limit: 0.6 GB for RGB, 1.1 for 16-bit grey and HEIF, 1.4 for
AVIF, 1.3 to 1.9 where transparency is laid over white. It lets the largest cameras through (151 megapixels)
and stops small files that unfold into gigabytes.
"""

STREAMED_PIXELS = 1_000_000_000
"""Most pixels of a picture that is scaled down while it is decoded (sequential JPEG).

Only the reduced picture is held, 80 MB at this limit, so it bounds time: seconds. Stitched panoramas pass.
"""

# Formats whose pixels count double against the limit: their decoders hold 16 to 19 bytes a pixel.
_HEAVY_FORMATS = frozenset(("JPEG2000", "WEBP", "JXL"))
_HEAVY = 2

# What Pillow decodes in Python (QOI, plain PPM, run-length BMP, uncompressed DDS) takes 2 to 5 s a megapixel,
# in which no other thread moves; 5 megapixels are enough for that.
_SLOW = 32

# Photographs and the formats that they are edited, scanned and archived in. Left out of what Pillow reads:
# icons (they are decoded while being opened, before any bound can be checked), drawings and printer languages
# (EPS starts Ghostscript), game textures other than DDS, science formats. MPO, the format of many
# camera JPEGs, is read as the JPEG that it begins with. The order matters where signatures overlap: AVIF
# before HEIF.
_PLUGINS = (
    ("JPEG", "PIL.JpegImagePlugin"),
    ("PNG", "PIL.PngImagePlugin"),
    ("WEBP", "PIL.WebPImagePlugin"),
    ("AVIF", "PIL.AvifImagePlugin"),
    ("HEIF", "pillow_heif.HeifImagePlugin"),
    ("GIF", "PIL.GifImagePlugin"),
    ("TIFF", "PIL.TiffImagePlugin"),
    ("BMP", "PIL.BmpImagePlugin"),
    ("DIB", "PIL.BmpImagePlugin"),
    ("JPEG2000", "PIL.Jpeg2KImagePlugin"),
    ("PPM", "PIL.PpmImagePlugin"),
    ("PSD", "PIL.PsdImagePlugin"),
    ("QOI", "PIL.QoiImagePlugin"),
    ("DDS", "PIL.DdsImagePlugin"),
    ("SGI", "PIL.SgiImagePlugin"),
    ("DCX", "PIL.DcxImagePlugin"),
    ("PCX", "PIL.PcxImagePlugin"),
    ("PCD", "PIL.PcdImagePlugin"),
    ("TGA", "PIL.TgaImagePlugin"),
    ("JXL", "clipsearch.photos.jxl"),
)
_SIGNATURES_LIE_WITHIN = 2052


def open_picture(data: bytes) -> ImageFile:
    """Recognise a picture by its content and read its header; pixels are decoded later, by `load()`.

    Raises:
        PhotoError: Not a picture of a known format, or its header is damaged.
    """
    _silence_pillow()
    beginning = data[:_SIGNATURES_LIE_WITHIN]
    first_failure = ""
    for name, factory, accept in _readers():
        if not _accepts(accept, beginning):
            continue
        try:
            return factory(io.BytesIO(data), "")
        except PhotoError:
            raise
        except Exception as error:  # noqa: BLE001 - of any kind: ZeroDivisionError, KeyError, ...
            first_failure = first_failure or unreadable(name, error)
    if first_failure:
        raise PhotoError(first_failure)
    if not data.strip(b"\0"):
        raise PhotoError("nothing but zero bytes" if data else "empty file")
    raise PhotoError("not an image of a known format")


def format_name(data: bytes) -> str:
    """What a picture is, by its first bytes; `picture` where they do not tell."""
    beginning = data[:_SIGNATURES_LIE_WITHIN]
    return next((name for name, _, accept in _readers() if _accepts(accept, beginning)), "picture")


def held_limit(image: ImageFile) -> int:
    """Most pixels that may be held of a picture that was opened, but not loaded yet."""
    if any(tile[0] in Image.DECODERS for tile in image.tile):  # codecs written in Python
        return HELD_PIXELS // _SLOW
    return HELD_PIXELS // (_HEAVY if image.format in _HEAVY_FORMATS else 1)


def check_pixels(pixels: int, limit: int) -> None:
    """Refuse too big a picture.

    Raises:
        PhotoError: More pixels than the limit; the reason has both numbers.
    """
    if pixels > limit:
        raise PhotoError(
            f"{pixels / 1e6:,.0f} megapixels, the limit for such a picture is {limit / 1e6:,.0f}"
        )


def unreadable(name: str, error: Exception) -> str:
    """One honest line about a picture of format `name` that its decoder gave up on."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{name} that unfolds into too many pixels"
    if isinstance(error, MemoryError):
        return f"not enough memory for this {name}"
    said = " ".join(str(error).split())
    if "truncated" in said.lower():
        return f"truncated {name}"
    # Pillow wraps what its parsers stumble over; only its own words and those of the decoders are for people.
    if not isinstance(
        error.__cause__ or error, (OSError, ValueError, SyntaxError, NotImplementedError, RuntimeError)
    ):
        return f"damaged {name}"
    printable = "".join(char for char in said if char.isprintable())[:120]
    return f"unreadable {name} ({printable})" if printable else f"damaged {name}"


def _accepts(accept: Accept, beginning: bytes) -> bool:
    try:
        # A string says that the format is known but its decoder was not built in.
        return accept(beginning) is True
    except (struct.error, IndexError):  # fewer bytes than a signature
        return False


def _looks_like_tga(beginning: bytes) -> bool:
    # The format has no signature, so be strict about its first fields: or icons pass for a TGA.
    with_palette, kind = beginning[1], beginning[2]
    if with_palette:
        return with_palette == 1 and kind in (1, 9)
    return kind in (2, 3, 10, 11) and not any(beginning[3:8])


def _looks_like_pcd(beginning: bytes) -> bool:
    return beginning[2048:2052] == b"PCD_"


# Pillow tries these two on anything.
_OWN_SIGNATURES: dict[str, Accept] = {"TGA": _looks_like_tga, "PCD": _looks_like_pcd}


def _readers() -> Iterator[tuple[str, Factory, Accept]]:
    # One by one, so that a program that meets only JPEGs never loads the decoders of the others.
    for name, module_name in _PLUGINS:
        factory, accept = _reader(name, module_name)
        if accept is not None:
            yield name, factory, accept


@functools.cache
def _reader(name: str, module_name: str) -> tuple[Factory, Accept | None]:
    # Straight to the plugins instead of Image.open: it names a damaged PNG as such instead of "cannot
    # identify", and knows no bound but the process-wide Image.MAX_IMAGE_PIXELS (179 megapixels, also for a
    # JPEG that would be scaled down to one), which many threads cannot change around a call.
    if name == "JXL":  # whose plugin is an extra
        return open_jxl, is_jxl
    module = importlib.import_module(module_name)
    if name == "HEIF":
        module.register_heif_opener()
    factory, pillows_accept = Image.OPEN[name]
    if name == "JPEG":
        factory = module.JpegImageFile  # Pillow's own choice would look for an MPO's further frames
    return factory, _OWN_SIGNATURES.get(name, pillows_accept)


_PILLOW_MODULES = re.compile(r"PIL\.|pillow_heif\.|pillow_jxl\.")
_SILENCE = ("ignore", None, Warning, _PILLOW_MODULES, 0)


def _silence_pillow() -> None:
    # Warnings about corrupt EXIF and the like would land between the lines of a progress bar.
    # warnings.catch_warnings swaps the filters of the whole process, so threads that use it undo each other:
    # one lasting filter instead.
    if _SILENCE not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES.pattern)
