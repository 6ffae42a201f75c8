"""Which photos a query may answer with, as one SQL condition on the `photo` table."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from clipsearch.globs import composed, translate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clipsearch.catalog.catalog import Root
    from clipsearch.types import Filters


_EARTH_KM = 6371.0088  # mean radius, IUGG
# Cameras' square pictures are off by a few pixels.
_SHAPES = {
    "landscape": "width > height * 1.02",
    "portrait": "height > width * 1.02",
    "square": "width <= height * 1.02 AND height <= width * 1.02",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """A condition on `photo` rows with its bound values.

    Attributes:
        where: SQL, always safe to put behind WHERE or AND.
        values: For its `?`, in order.
        everything: True when no photo is left out, so that no set of ids need be built.
    """

    where: str = "1"
    values: tuple[object, ...] = ()
    everything: bool = True


def scope_of(filters: Filters, roots: Sequence[Root], offline: Sequence[Root] = ()) -> Scope:
    """Photos that pass the filters and whose root can be reached now."""
    conditions: list[str] = []
    values: list[object] = []
    if offline:
        conditions.append(f"photo.root NOT IN ({','.join('?' * len(offline))})")
        values.extend(root.id for root in offline)
    if filters.inside is not None:
        condition, bound = _inside(filters.inside, roots)
        conditions.append(condition)
        values.extend(bound)
    for condition, described in _described(filters):
        conditions.append(condition)
        values.extend(described)
    if not conditions:
        return Scope()
    return Scope(" AND ".join(conditions), tuple(values), everything=False)


def _described(filters: Filters) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Conditions on what a photo's path and its picture say."""
    if filters.glob is not None:
        yield "photo.path REGEXP ?", (_pattern(filters.glob),)
    facts = [(condition, bound) for condition, bound in _facts(filters) if bound is not None]
    if facts:
        where = " AND ".join(condition for condition, _ in facts)
        yield f"photo.content IN (SELECT id FROM content WHERE {where})", tuple(chain(*(b for _, b in facts)))
    bearing = "SELECT content_tag.content FROM content_tag JOIN tag ON tag.id = content_tag.tag"
    for tag in filters.tags:
        yield f"photo.content IN ({bearing} WHERE folded(name) = folded(?))", (tag,)


def _facts(filters: Filters) -> Iterator[tuple[str, tuple[object, ...] | None]]:
    """Conditions on a content, each with its values; None where it is not asked for."""

    def one(value: object) -> tuple[object, ...] | None:
        return None if value is None else (value,)

    # What the camera's own clock said, to the second; the offset behind it is left out.
    yield "substr(taken, 1, 19) >= ?", one(filters.after and filters.after.isoformat(timespec="seconds"))
    yield "substr(taken, 1, 19) < ?", one(filters.before and filters.before.isoformat(timespec="seconds"))
    yield "instr(folded(camera), folded(?))", one(filters.camera)
    yield "instr(folded(lens), folded(?))", one(filters.lens)
    near = None if filters.near is None else (*filters.near, filters.within)
    yield "distance_km(latitude, longitude, ?, ?) <= ?", near
    yield _SHAPES.get(filters.shape or "", ""), None if filters.shape is None else ()
    yield "min(width, height) >= ? AND max(width, height) >= ?", filters.min_sides
    yield "width * height >= ?", one(filters.min_pixels or None)


def _pattern(glob: str) -> bytes:
    """A regular expression for the whole of a path relative to its root."""
    # A name, wherever it lies; or the end of a path.
    return os.fsencode(f"(?si:(?:.*/)?{translate(glob)})")


def teach(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that scopes use."""
    connection.create_function("regexp", 2, _matches, deterministic=True)
    connection.create_function("folded", 1, _folded, deterministic=True)
    connection.create_function("distance_km", 4, distance_km, deterministic=True)


def _matches(pattern: bytes, path: bytes) -> bool:
    return _compiled(pattern).match(composed(os.fsdecode(path))) is not None


@lru_cache(maxsize=8)
def _compiled(pattern: bytes) -> re.Pattern[str]:
    return re.compile(os.fsdecode(pattern))


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def distance_km(
    latitude: float | None, longitude: float | None, other_latitude: float, other_longitude: float
) -> float | None:
    """Along a great circle of a sphere of the earth's mean radius (haversine): 0.5 % off at most."""
    if latitude is None or longitude is None:
        return None
    one, other = math.radians(latitude), math.radians(other_latitude)
    turn = math.radians(other_longitude - longitude)
    chord = math.sin((other - one) / 2) ** 2 + math.cos(one) * math.cos(other) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, chord)))


def _inside(folder: Path, roots: Sequence[Root]) -> tuple[str, list[object]]:
    """Photos in `folder` or below: whole roots that lie in it, and a range of paths in the root around it."""
    choices: list[str] = []
    values: list[object] = []
    for root in roots:
        if root.path.is_relative_to(folder):
            choices.append("photo.root = ?")
            values.append(root.id)
        elif folder.is_relative_to(root.path):
            low, high = subtree(os.fsencode(folder.relative_to(root.path).as_posix()))
            choices.append("(photo.root = ? AND photo.path >= ? AND photo.path < ?)")
            values.extend((root.id, low, high))
    return f"({' OR '.join(choices)})" if choices else "0", values


def subtree(folder: bytes) -> tuple[bytes, bytes]:
    """The half-open range of relative paths below a folder; `0` is the byte after `/`."""
    return folder + b"/", folder + b"0"
