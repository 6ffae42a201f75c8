"""A photo as a row of a collection: what `clipsearch.rows` says of it, and what filters ask for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.rows import read_path, spell_path
from clipsearch.stores.milvus import Column
from clipsearch.types import Metadata, Photo, Place, Shape
from clipsearch.url_path import url_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clipsearch.rows import Row

# Not every server has columns that may be empty. These are no moment and no latitude.
NO_MOMENT = -(2**62)
NO_DEGREES = 1_000.0

# Ranges are quicker without an index: among 100,000 paths of a server 2.3.5, 5 ms instead of 700.
COLUMNS = (
    Column("path", "text"),
    Column("hash", "text"),
    Column("content", "integer", indexed=True),
    Column("width", "integer"),
    Column("height", "integer"),
    Column("size", "integer"),
    Column("taken", "text"),
    Column("camera", "text"),
    Column("lens", "text"),
    Column("latitude", "number"),
    Column("longitude", "number"),
    Column("extra", "json"),
    # For filters:
    Column("moment", "integer"),  # seconds of the camera's own clock since 1970
    Column("camera_folded", "text"),
    Column("lens_folded", "text"),
    Column("shape", "text"),
    Column("shorter", "integer"),
    Column("longer", "integer"),
    Column("pixels", "integer"),
)
PHOTO = ("path", "content", "width", "height", "size", "taken", "camera", "lens", "latitude", "longitude")
"""The columns that `photo_of` reads."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the camera's own clock
_SQUARE = 1.02  # cameras' square pictures are off by a few pixels


def content_id(digest: bytes) -> int:
    """The id of a content: the first 63 bits of its SHA-256."""
    return int.from_bytes(digest[:8], "big") >> 1


def seconds(moment: datetime) -> int:
    """What a clock showed, in whole seconds since 1970, whatever its offset."""
    return (moment.replace(tzinfo=None, microsecond=0) - _EPOCH) // (datetime.resolution * 1_000_000)


def shape(width: int, height: int) -> Shape:
    """Wider than high, higher than wide, or neither by more than 2 %."""
    if width > height * _SQUARE:
        return "landscape"
    return "portrait" if height > width * _SQUARE else "square"


def fields_of(row: Row) -> dict[str, Any]:
    """The columns of a photo, and its id."""
    facts = row.metadata
    place = facts.place or Place(NO_DEGREES, NO_DEGREES)
    return {
        "id": row.id,
        "path": spell_path(row.path),
        "hash": row.hash.hex(),
        "content": content_id(row.hash),
        "width": row.width,
        "height": row.height,
        "size": row.size,
        "taken": "" if facts.taken is None else facts.taken.isoformat(),
        "camera": facts.camera or "",
        "lens": facts.lens or "",
        "latitude": place.latitude,
        "longitude": place.longitude,
        "extra": dict(row.extra),
        "moment": NO_MOMENT if facts.taken is None else seconds(facts.taken),
        "camera_folded": (facts.camera or "").casefold(),
        "lens_folded": (facts.lens or "").casefold(),
        "shape": shape(row.width, row.height),
        "shorter": min(row.width, row.height),
        "longer": max(row.width, row.height),
        "pixels": row.width * row.height,
    }


def place_of(fields: Mapping[str, Any]) -> Place | None:
    """Where a photo was taken."""
    latitude, longitude = float(fields["latitude"]), float(fields["longitude"])
    return None if latitude == NO_DEGREES else Place(latitude, longitude)


def path_of(fields: Mapping[str, Any]) -> Path:
    """Where a photo is: a path or a URL."""
    text = read_path(fields["path"])
    return url_path(text) or Path(text)


def photo_of(fields: Mapping[str, Any]) -> Photo:
    """The photo that a row describes."""
    taken = fields["taken"]
    return Photo(
        id=int(fields["id"]),
        content=int(fields["content"]),
        path=path_of(fields),
        width=int(fields["width"]),
        height=int(fields["height"]),
        size=int(fields["size"]),
        metadata=Metadata(
            taken=datetime.fromisoformat(taken) if taken else None,
            camera=fields["camera"] or None,
            lens=fields["lens"] or None,
            place=place_of(fields),
        ),
    )
