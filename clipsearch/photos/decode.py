"""Bytes of a picture → upright RGB pixels, or a reason why not. Safe to call from many threads."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch.errors import PhotoError
from clipsearch.photos.color import to_rgb
from clipsearch.photos.formats import (
    HELD_PIXELS,
    STREAMED_PIXELS,
    check_pixels,
    held_limit,
    open_picture,
    unreadable,
)
from clipsearch.photos.framing import frame, framing
from clipsearch.photos.jxl import is_jxl, jxl_pixels
from clipsearch.photos.metadata import metadata_of, orientation, read_exif
from clipsearch.photos.raw import is_raw, open_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from clipsearch.photos.raw import Shot
    from clipsearch.types import Metadata, Preprocessing

    Size = tuple[int, int]
    Box = tuple[float, float, float, float]

# Pictures of more than this part of their limit are decoded one at a time: eight threads with the largest at
# once would take 12 GB. Below, a thread takes 0.5 GB at most.
_LARGE = 4
LARGE_PICTURE = threading.Lock()
"""Held while a large picture is decoded."""

# Scaled decoding keeps at least this many times the pixels that are needed, on each side. At 2, the final
# pixels of 9-megapixel drone photos differ by 0.4 to 1.2 of 255 levels on average from those of a full
# decode, and decoding is 2.5 times faster; at 4, by 0.2 and 1.7 times; at 1, by 3.
_DRAFT_MARGIN = 2
# ... and never less than for this size: a model with small input then sees photos of screen size exactly as
# OpenCLIP would. At 32 pixels, scores of 300 x 200 photos were off by 0.01; a whole decode takes 1 ms.
_DRAFT_LEAST = 256

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset((5, 6, 7, 8))
# The turns after which the stored picture's end is the upright picture's beginning.
_FROM_RIGHT = frozenset((2, 3, 6, 7))
_FROM_BOTTOM = frozenset((3, 4, 7, 8))


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture, ready for a model.

    Attributes:
        pixels: `(height, width, 3)` uint8 RGB of the size that was asked for; not normalised.
        width: Of the original, upright, pixels.
        height: Of the original, upright, pixels.
        metadata: What the picture says about itself.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    metadata: Metadata


def decode(
    data: bytes, preprocessing: Preprocessing, *, large: AbstractContextManager[object] = LARGE_PICTURE
) -> Decoded:
    """Decode, turn upright, resize and crop as OpenCLIP's own inference transform would.

    JPEGs that are much larger than needed are scaled by the decoder (2 to 3 times faster, about 1 of 255
    levels off on average), of RAW files the preview in them counts, or half the pixels; everything else is
    exact. Transparency lies over white; of an animation, the
    first frame counts; colour profiles are not applied.

    Args:
        data: The file's bytes.
        preprocessing: What the model wants.
        large: Entered while a large picture is decoded.

    Raises:
        PhotoError: Not an image, damaged, truncated, or too many pixels; the message is the reason.
    """

    def needed(size: Size) -> Size:
        width, height = framing(*size, preprocessing).resized
        return max(width, _DRAFT_LEAST), max(height, _DRAFT_LEAST)

    with _picture(data, needed, _DRAFT_MARGIN, large) as picture:
        plan = framing(*picture.size, preprocessing)
        reduced = picture.image.size != picture.size
        pixels = frame(picture.image, picture.extent, plan, preprocessing, reduced=reduced)
    return Decoded(pixels, *picture.original, picture.metadata)


def open_upright(
    data: bytes, *, at_least: int | None, large: AbstractContextManager[object] = LARGE_PICTURE
) -> Image.Image:
    """The picture itself, upright RGB, for thumbnails and previews.

    Args:
        data: The file's bytes.
        at_least: The long side that is needed, in pixels. A large JPEG may then come reduced, its long side
            still at least this; None for full size.
        large: As for `decode`.

    Raises:
        PhotoError: As `decode`.
    """

    def needed(size: Size) -> Size:
        scale = 1.0 if at_least is None else min(1.0, at_least / max(size))
        return round(size[0] * scale), round(size[1] * scale)

    with _picture(data, needed, 1, large) as picture:
        return picture.image


@dataclass(frozen=True, slots=True)
class _Picture:
    image: Image.Image  # upright RGB
    extent: Box  # the part of it that is the picture
    size: Size  # of the picture that was decoded, upright
    original: Size  # the same, but for RAW files, whose previews are smaller
    metadata: Metadata


@contextmanager
def _picture(
    data: bytes, needed: Callable[[Size], Size], margin: int, large: AbstractContextManager[object]
) -> Iterator[_Picture]:
    """Yield the picture, reduced if possible; every failure, the `with` body's too, is a `PhotoError`."""
    opened = _raw if is_raw(data) else _ordinary
    with opened(data, needed, margin, large) as picture:
        yield picture


@contextmanager
def _raw(
    data: bytes, needed: Callable[[Size], Size], margin: int, large: AbstractContextManager[object]
) -> Iterator[_Picture]:
    try:
        with open_raw(data) as shot, ExitStack() as stack:
            if shot.size[0] * shot.size[1] > HELD_PIXELS // _LARGE:
                stack.enter_context(large)
            if shot.preview is not None:
                found = _preview(shot, shot.preview, needed, margin, stack)
                if found is not None:
                    yield replace(found, original=shot.size, metadata=shot.metadata)
                    return
            image = shot.halved()
            extent = (0.0, 0.0, float(image.width), float(image.height))
            yield _Picture(image, extent, image.size, shot.size, shot.metadata)
    except PhotoError:
        raise
    except Exception as error:
        raise PhotoError(unreadable("RAW", error)) from error


def _preview(
    shot: Shot, preview: bytes, needed: Callable[[Size], Size], margin: int, stack: ExitStack
) -> _Picture | None:
    """What the camera has made of a RAW file, where it is large enough; the stack lets go of it."""
    with ExitStack() as trial:
        try:
            found = trial.enter_context(_ordinary(preview, needed, margin, nullcontext(), shot.orientation))
        except PhotoError:  # the pixels of the sensor may still be whole
            return None
        if not shot.suffices(found.size, needed(shot.size)):
            return None
        stack.push(trial.pop_all())
        return found


@contextmanager
def _ordinary(
    data: bytes,
    needed: Callable[[Size], Size],
    margin: int,
    large: AbstractContextManager[object],
    turned: int | None = None,
) -> Iterator[_Picture]:
    """As `_picture`; `turned` is how the pixels lie where they do not say it themselves."""
    with ExitStack() as stack:
        # The decoder of JPEG XL knows no opening without decoding.
        unfolded = (jxl_pixels(data) or 0) if is_jxl(data) else 0
        check_pixels(unfolded, HELD_PIXELS // 2)
        if unfolded > HELD_PIXELS // (2 * _LARGE):
            stack.enter_context(large)
        image = open_picture(data)
        name = image.format or "image"
        try:
            size, held, drafted = image.size, image.width * image.height, None
            if isinstance(image, JpegImageFile):
                size, held, drafted = _reduce(image, data, needed, margin, turned)
            limit = held_limit(image)
            check_pixels(held, limit)
            if held > limit // _LARGE and not unfolded:
                stack.enter_context(large)
            image.load()
            # Only now: Pillow turns a TIFF while loading it, and finds EXIF that follows the pixels of a PNG.
            exif = read_exif(image)
            turn = _turn(image, exif, turned)
            upright = to_rgb(image)
            if turn in _TURNS:
                upright = upright.transpose(_TURNS[turn])
            if drafted is None:
                size, extent = upright.size, (0.0, 0.0, float(upright.width), float(upright.height))
            else:
                extent = _upright_extent(drafted, turn, upright.size)
            yield _Picture(upright, extent, size, size, metadata_of(exif))
        except PhotoError:
            raise
        except Exception as error:
            raise PhotoError(unreadable(name, error)) from error


def _turn(image: ImageFile, exif: Image.Exif, turned: int | None) -> int:
    """How to turn a picture upright, as EXIF counts."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # its decoder has turned it: EXIF repeats what the codestream says (ISO/IEC 18181-2)
    if turned is not None and ExifTags.Base.Orientation not in exif:
        return turned
    return orientation(exif)


def _reduce(
    image: JpegImageFile, data: bytes, needed: Callable[[Size], Size], margin: int, turned: int | None
) -> tuple[Size, int, Box | None]:
    """Ask the decoder for fewer pixels.

    Returns:
        The upright size of the original, the pixels it will hold, and where the original lies in them.
    """
    sideways = _turn(image, read_exif(image), turned) in _SIDEWAYS
    size = image.size[::-1] if sideways else image.size
    check_pixels(size[0] * size[1], STREAMED_PIXELS)
    width, height = (max(1, margin * side) for side in needed(size))
    drafted = image.draft(None, (height, width) if sideways else (width, height))
    held = image.size if _is_streamed(image, data) else size
    return size, held[0] * held[1], None if drafted is None else drafted[1]


def _upright_extent(box: Box, turn: int, size: Size) -> Box:
    """Where the original lies in a reduced picture of `size`, when it lies in `box` before turning.

    A decoder that reduces 2250 rows by 4 gives 563, the last of them half outside the original. Taking it for
    a whole one shifts the picture: 2.0 levels of mean difference on such photos instead of 0.9.
    """
    width, height = box[2:]
    if turn in _SIDEWAYS:
        width, height = height, width
    left = size[0] - width if turn in _FROM_RIGHT else 0.0
    top = size[1] - height if turn in _FROM_BOTTOM else 0.0
    return left, top, left + width, top + height


def _is_streamed(image: JpegImageFile, data: bytes) -> bool:
    """Whether the decoder needs only some rows of this JPEG at a time.

    It does where the one scan carries all components. Progressive files, and those with a scan for each
    component, are held as coefficients of the whole picture (3 to 8 bytes a pixel) however much they are
    scaled down.
    """
    if "progressive" in image.info or image.fp is None:
        return False
    # Pillow stops behind the header of the first scan: marker, length, number of components, ...
    length = 6 + 2 * image.layers
    header = data[image.fp.tell() - length :]
    return header[:3] == bytes((0, length, image.layers))
