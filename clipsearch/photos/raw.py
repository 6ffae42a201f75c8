"""RAW files of cameras: the preview that the camera put in, where it is large enough, else half the pixels.

LibRaw reads them, through rawpy; EXIF is read by Pillow, as nearly all of these files are TIFFs at heart.
"""

from __future__ import annotations

import io
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.extras import RAW
from clipsearch.photos.formats import HELD_PIXELS, check_pixels
from clipsearch.photos.metadata import metadata_of
from clipsearch.types import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    Size = tuple[int, int]

# Where a file that is no plain TIFF says what it is.
_SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIRO"),  # Olympus, and the next two
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # Panasonic
    (0, b"FOVb"),  # Sigma
    (0, b"\0MRM"),  # Minolta
    (4, b"ftypcrx "),  # Canon CR3
    (6, b"HEAPCCDR"),  # Canon CRW
    (8, b"CR\x02"),  # Canon CR2
    (8, b"IIII"),  # Phase One
)
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
# The tags of TIFF/EP and DNG by which the others are known: they say how the sensor's pixels lie, or which
# version of DNG this is.
_PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 262, 330, 50706
_SENSOR = frozenset((32803, 34892))
_LONG, _MOST_DIRECTORIES, _MOST_TAGS = 4, 12, 500
# LibRaw's turns, as EXIF counts them.
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}
# Previews are cropped a little, beside the sensor.
_NEARLY = 0.9


@dataclass(frozen=True, slots=True)
class Shot:
    """A RAW file that was opened.

    Attributes:
        size: Of the whole picture, upright, pixels.
        orientation: How its pixels are to be turned upright, as EXIF counts.
        metadata: What it says about itself.
        preview: A JPEG that the camera put in; its pixels may or may not say how they are to be turned.
        raw: rawpy's own object.
    """

    size: Size
    orientation: int
    metadata: Metadata
    preview: bytes | None
    raw: Any

    def halved(self) -> Image.Image:
        """Half the pixels on each side, upright RGB, in the colours that the camera meant."""
        return Image.fromarray(
            self.raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8, no_auto_bright=False)
        )

    def suffices(self, preview: Size, needed: Size) -> bool:
        """Whether a preview of this size is as good as what is needed, or as half of the pixels."""
        wanted = min(max(needed), max(self.size) // 2)
        return max(preview) >= _NEARLY * wanted


def is_raw(data: bytes) -> bool:
    """Whether these are the bytes of a RAW file."""
    if any(data.startswith(signature, at) for at, signature in _SIGNATURES):
        return True
    order = _TIFF.get(data[:4])
    if order is None:
        return False
    try:
        return _has_sensor(data, order)
    except struct.error:  # it ends in the middle
        return False


def _has_sensor(data: bytes, order: str) -> bool:
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    directories = [first]
    for at in directories:  # which grows meanwhile
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(min(count, _MOST_TAGS)):
            place = at + 2 + 12 * entry
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, place)
            if tag == _DNG_VERSION:
                return True
            if tag == _PHOTOMETRIC and struct.unpack_from(f"{order}H", data, place + 8)[0] in _SENSOR:
                return True
            if tag == _SUB_DIRECTORIES and kind in {_LONG, 13} and values < _MOST_DIRECTORIES:
                (there,) = struct.unpack_from(f"{order}I", data, place + 8)
                below = (there,)
                if values > 1:
                    below = struct.unpack_from(f"{order}{values}I", data, there)
                if len(directories) < _MOST_DIRECTORIES:
                    directories.extend(below)
    return False


@contextmanager
def open_raw(data: bytes) -> Iterator[Shot]:
    """Open a RAW file; nothing of its pixels is decoded yet.

    Raises:
        PhotoError: LibRaw does not know it, it is damaged or has too many pixels, or rawpy is not installed.
    """
    try:
        import rawpy
    except ImportError as error:
        raise RAW.missing() from error
    try:
        raw = rawpy.imread(io.BytesIO(data))
    except rawpy.LibRawError as error:
        raise PhotoError(_unreadable(error)) from error
    try:
        sizes = raw.sizes
        check_pixels(sizes.raw_width * sizes.raw_height, HELD_PIXELS)
        turn = _ORIENTATIONS.get(sizes.flip, 1)
        width, height = sizes.iwidth, sizes.iheight
        preview = _preview(raw, rawpy)
        size = (height, width) if turn > 4 else (width, height)  # noqa: PLR2004 - 5 to 8 lie on their side
        yield Shot(size, turn, _metadata(data, preview, raw), preview, raw)
    except rawpy.LibRawError as error:
        raise PhotoError(_unreadable(error)) from error
    finally:
        raw.close()


def _preview(raw: Any, rawpy: Any) -> bytes | None:
    try:
        thumbnail = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    return bytes(thumbnail.data) if thumbnail.format is rawpy.ThumbFormat.JPEG else None


def _metadata(data: bytes, preview: bytes | None, raw: Any) -> Metadata:
    """From the file's own EXIF; else from its preview's; else what LibRaw has found."""
    said = [metadata_of(exif) for exif in _exif(data, preview)]
    taken = next((one.taken for one in said if one.taken), None)
    lens = next((one.lens for one in said if one.lens), None)
    if taken is None and raw.other.timestamp.year > 1970:  # noqa: PLR2004 - the zero of its clock
        taken = raw.other.timestamp.replace(tzinfo=None, microsecond=0)
    return Metadata(
        taken=taken,
        camera=next((one.camera for one in said if one.camera), None),
        lens=lens or " ".join(raw.lens.model.split())[:100] or None,
        place=next((one.place for one in said if one.place), None),
    )


def _exif(data: bytes, preview: bytes | None) -> Iterator[Image.Exif]:
    blocks = [data]
    if data[:4] not in _TIFF and data[:2] in {b"II", b"MM"}:  # a TIFF with another number in its head
        blocks = [(b"II*\0" if data[:2] == b"II" else b"MM\0*") + data[4:]]
    elif data.startswith(b"ftypcrx ", 4):
        blocks = list(_canon_boxes(data))
    for block in blocks:
        exif = Image.Exif()
        with suppress(Exception):  # broken EXIF is no EXIF
            exif.load(block)
            yield exif
    if preview is not None:
        with suppress(Exception), Image.open(io.BytesIO(preview)) as picture:
            yield picture.getexif()


def _canon_boxes(data: bytes) -> Iterator[bytes]:
    """The TIFFs in a CR3, which hold the directories of EXIF one by one."""
    head = data[: 1 << 20]
    for name in (b"CMT1", b"CMT2"):
        at = head.find(name)
        if at >= 4:  # noqa: PLR2004 - the length in front of the name
            yield data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


def _unreadable(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    words = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    printable = "".join(char for char in words if char.isprintable())[:120]
    return f"unreadable RAW ({printable})" if printable else "unreadable RAW"
