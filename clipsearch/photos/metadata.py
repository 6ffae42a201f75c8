"""What a picture says about itself: EXIF. Broken EXIF is no EXIF; it never costs the picture.

Tags are those of EXIF 2.32 (CIPA DC-008-2019).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from clipsearch.types import Metadata, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATE = re.compile(r"\s*(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
_OFFSET = re.compile(r"\s*([+-])(\d\d):?(\d\d)")

# Photography is of 1826; cameras with an unset clock and broken files give years like 0 or 1.
_FIRST_YEAR = 1826

_ORIENTATIONS = range(1, 9)
_LONGEST_NAME = 100  # of a camera or a lens

# EXIF 2.32, tables 4 and 8: the moment of the shot, of the scan, of the last change of the file, each with
# its offset.
_TAKEN_TAGS = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    (ExifTags.Base.DateTime, ExifTags.Base.OffsetTime),
)


def read_exif(image: Image.Image) -> Image.Exif:
    """EXIF of an opened picture, in any format that carries it; empty if there is none or it is broken."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - of any kind: SyntaxError, struct.error, KeyError, ...
        return Image.Exif()


def orientation(exif: Image.Exif) -> int:
    """How to turn the picture upright: 1 to 8 as EXIF counts; 1, not at all, when it does not say."""
    try:
        value: object = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - values are parsed when asked for, see read_exif
        return 1
    return value if isinstance(value, int) and value in _ORIENTATIONS else 1


def metadata_of(exif: Image.Exif) -> Metadata:
    """All that the catalog keeps of a picture's EXIF; what is missing, empty or impossible is None."""
    shot = _directory(exif, ExifTags.IFD.Exif)
    return Metadata(
        taken=_taken(shot, exif), camera=_camera(exif), lens=_lens(shot, exif), place=_place(exif)
    )


def _directory(exif: Image.Exif, which: ExifTags.IFD) -> Mapping[int, object]:
    try:
        return exif.get_ifd(which)
    except Exception:  # noqa: BLE001 - see read_exif
        return {}


def _taken(shot: Mapping[int, object], exif: Image.Exif) -> datetime | None:
    """When the picture was taken, to the second: naive unless the camera wrote its offset from UTC.

    The first usable of DateTimeOriginal, DateTimeDigitized and DateTime. Zeros, blanks and impossible dates
    count as not written.
    """
    for date_tag, offset_tag in _TAKEN_TAGS:
        taken = _date(_text(date_tag, shot, exif))
        if taken is not None:
            return taken.replace(tzinfo=_offset(_text(offset_tag, shot, exif)))
    return None


def _camera(exif: Image.Exif) -> str | None:
    """`Maker Model`, the maker left away where the model begins with its first word."""
    maker, model = _name(_text(ExifTags.Base.Make, exif)), _name(_text(ExifTags.Base.Model, exif))
    if maker and model and model.split()[0].lower() != maker.split()[0].lower():
        return f"{maker} {model}"
    return model or maker or None


def _lens(shot: Mapping[int, object], exif: Image.Exif) -> str | None:
    return _name(_text(ExifTags.Base.LensModel, shot, exif)) or None


def _place(exif: Image.Exif) -> Place | None:
    """Where the picture was taken; 0, 0 is what cameras without a fix write."""
    gps = _directory(exif, ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "S", 90)
    longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "W", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return Place(latitude, longitude)


def _degrees(gps: Mapping[int, object], tag: int, sign_tag: int, negative: str, most: int) -> float | None:
    """Degrees, minutes and seconds as degrees, to a centimetre; None when they are none."""
    try:
        degrees, minutes, seconds = (float(part) for part in gps[tag])  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - see read_exif
        return None
    value = round(degrees + minutes / 60 + seconds / 3600, 7)
    if not (math.isfinite(value) and 0 <= value <= most):
        return None
    return -value if _text(sign_tag, gps).strip().upper().startswith(negative) else value


def _date(text: str) -> datetime | None:
    match = _DATE.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    if year < _FIRST_YEAR:
        return None
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the camera's wall clock
    except ValueError:
        return None


def _offset(text: str) -> timezone | None:
    if text.strip().upper() == "Z":
        return UTC
    match = _OFFSET.match(text)
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        return timezone(-offset if sign == "-" else offset)
    except ValueError:  # a day or more
        return None


def _name(text: str) -> str:
    """A name as it is shown: what cannot be printed, and blanks around it, left away; of bounded length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_NAME]


def _text(tag: int, *directories: Mapping[int, object]) -> str:
    """The tag as text from the first directory that has it, for some programs put it in the wrong one."""
    for directory in directories:
        # Values are parsed when asked for, and each may be broken by itself.
        with suppress(Exception):
            value = directory[tag]
            if isinstance(value, bytes):
                value = value.decode("ascii", "replace")
            if isinstance(value, str):
                return value.replace("\0", " ")
    return ""
