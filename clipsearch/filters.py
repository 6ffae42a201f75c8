"""Filters from words, as a person types them: dates, sizes, places."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from clipsearch.errors import UsageError
from clipsearch.matches import NEAR_KM, Filters, Place
from clipsearch.roots import absolute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clipsearch.matches import Shape

_MOMENT = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d?)(?:-(?P<day>\d\d?)(?:[T ](?P<hour>\d\d?):(?P<minute>\d\d))?)?)?"
)
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_PLACE = re.compile(rf"\s*({_NUMBER})°?\s*([NS]?)\s*[, ]\s*({_NUMBER})°?\s*([EW]?)\s*", re.IGNORECASE)
_DISTANCE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(km|m|mi|)\s*", re.IGNORECASE)
_KILOMETRES = {"km": 1.0, "": 1.0, "m": 0.001, "mi": 1.609344}
_SIDES = re.compile(r"\s*(\d+)\s*[x\u00d7]\s*(\d+)\s*", re.IGNORECASE)
_PIXELS = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*MP\s*", re.IGNORECASE)
_LONGER = re.compile(r"\s*(\d+)\s*(?:px)?\s*")
# No photo is larger, and no number in the database.
_MOST_PIXELS = 2**62


def parse(
    *,
    inside: Path | str | None = None,
    glob: str | None = None,
    after: str | None = None,
    before: str | None = None,
    on: str | None = None,
    camera: str | None = None,
    lens: str | None = None,
    near: str | None = None,
    within: str | None = None,
    shape: Shape | None = None,
    min_size: str | None = None,
    tags: Sequence[str] = (),
) -> Filters:
    """Filters from what was typed.

    Args:
        inside: A folder.
        glob: See `Filters`.
        after: A year, month, day or minute (`2023`, `2023-05`, `2023-05-17`, `2023-05-17T18:30`): from its
            beginning on.
        before: Likewise: until right before it begins.
        on: Likewise: from its beginning to its end; together with the others, both hold.
        camera: See `Filters`.
        lens: See `Filters`.
        near: Latitude and longitude in degrees: `38.7,-9.1` or `38.7N 9.1W`.
        within: Of `near`: a distance, `20km`, `500m`, `12mi` or a number of kilometres.
        shape: See `Filters`.
        min_size: `1920x1080` (whichever way the photo is turned), `3000` (the longer side) or `8MP`.
        tags: See `Filters`.

    Raises:
        UsageError: One of them cannot be read, or they let nothing pass.
    """
    start = None if after is None else period(after)[0]
    end = None if before is None else period(before)[0]
    if on is not None:
        first, last = period(on)
        start = first if start is None else max(first, start)
        end = last if end is None else min(last, end)
    if start is not None and end is not None and start >= end:
        raise UsageError("no moment is in these dates", "--after takes the earlier one, --before the later")
    if within is not None and near is None:
        raise UsageError("a distance from nowhere", "say from where: --near 38.7,-9.1")
    sides, pixels = (None, 0) if min_size is None else size(min_size)
    return Filters(
        inside=None if inside is None else absolute(inside),
        glob=_some(glob, "a pattern"),
        after=start,
        before=end,
        camera=_some(camera, "a camera's name"),
        lens=_some(lens, "a lens's name"),
        near=None if near is None else place(near),
        within=NEAR_KM if within is None else distance(within),
        shape=shape,
        min_sides=sides,
        min_pixels=pixels,
        tags=tuple(tag.strip() for tag in tags if _some(tag, "a tag")),
    )


def _some(text: str | None, what: str) -> str | None:
    if text is not None and not text.strip():
        raise UsageError("an empty filter", f"give {what}")
    return text


def period(text: str) -> tuple[datetime, datetime]:
    """When a year, month, day or minute begins, and when the next one does; naive.

    Raises:
        UsageError: It is none.
    """
    match = _MOMENT.fullmatch(text.strip())
    wrong = UsageError(f"not a date: {text!r}", "write 2023, 2023-05, 2023-05-17 or 2023-05-17T18:30")
    if match is None:
        raise wrong
    try:
        year, month, day, hour, minute = (None if part is None else int(part) for part in match.groups())
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0)  # noqa: DTZ001 - wall clock
        if minute is not None:
            return start, start + timedelta(minutes=1)
        if day is not None:
            return start, start + timedelta(days=1)
        if month is not None:
            return start, start.replace(year=start.year + month // 12, month=month % 12 + 1)
        return start, start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        raise wrong from None


def place(text: str) -> Place:
    """A point on the earth.

    Raises:
        UsageError: It is none.
    """
    match = _PLACE.fullmatch(text)
    if match is not None:
        latitude, south, longitude, west = match.groups()
        found = Place(
            -float(latitude) if south.upper() == "S" else float(latitude),
            -float(longitude) if west.upper() == "W" else float(longitude),
        )
        if abs(found.latitude) <= 90 and abs(found.longitude) <= 180:  # noqa: PLR2004 - degrees
            return found
    raise UsageError(f"not a place: {text!r}", "write latitude and longitude in degrees: 38.7,-9.1")


def distance(text: str) -> float:
    """Kilometres.

    Raises:
        UsageError: It is no distance.
    """
    match = _DISTANCE.fullmatch(text)
    if match is None:
        raise UsageError(f"not a distance: {text!r}", "write 20km, 500m or 12mi")
    return float(match[1]) * _KILOMETRES[match[2].lower()]


def size(text: str) -> tuple[tuple[int, int] | None, int]:
    """Pixels of the shorter and the longer side at least, or None; and pixels in all at least.

    Raises:
        UsageError: It is no size.
    """
    sides, pixels = None, 0
    if match := _SIDES.fullmatch(text):
        one, other = int(match[1]), int(match[2])
        sides = min(one, other), max(one, other)
    elif match := _LONGER.fullmatch(text):
        sides = 0, int(match[1])
    elif match := _PIXELS.fullmatch(text):
        pixels = round(float(match[1]) * 1e6)
    else:
        raise UsageError(f"not a size: {text!r}", "write 1920x1080, 3000 (the longer side) or 8MP")
    if max(pixels, *(sides or (0,))) > _MOST_PIXELS:
        raise UsageError(f"no photo is as large as {text}", "write 1920x1080, 3000 (the longer side) or 8MP")
    return sides, pixels
