"""Filters as Milvus expressions, with the very meaning that they have in a folder's library.

What the expressions of every server can say, the server checks. What they cannot (patterns of names, parts of
words, distances on a sphere) is checked on the rows that come back, and where the server can narrow down
without leaving one out, it is asked to.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipsearch.catalog.scope import distance_km
from clipsearch.errors import UsageError
from clipsearch.globs import composed, translate
from clipsearch.milvus.fields import NO_MOMENT, path_of, place_of, seconds
from clipsearch.rows import spell_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from clipsearch.types import Filters

    Passes = Callable[[Mapping[str, Any]], bool]

_KM_A_DEGREE = 111.0  # less than it is anywhere: a box is rather too large
_POLE = 90.0
_ROUNDED = 1e-5  # degrees


@dataclass(frozen=True, slots=True)
class Condition:
    """Which rows pass: those that the expression lets pass and every check.

    Attributes:
        where: An expression; empty for all rows.
        checks: Of rows.
        fields: The columns that the checks read.
    """

    where: str = ""
    checks: tuple[Passes, ...] = ()
    fields: tuple[str, ...] = ()

    def passes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row that the expression lets pass does so indeed."""
        return all(check(row) for check in self.checks)


def condition_of(filters: Filters) -> Condition:
    """The condition of filters.

    Raises:
        UsageError: Rows do not have what they ask for.
    """
    if filters.tags:
        raise UsageError("the photos of a Milvus collection have no tags", "leave --tag away")
    expressions = list(_expressions(filters))
    checks = list(_checks(filters))
    fields = tuple(field for _, read in checks for field in read)
    return Condition(both(*expressions), tuple(check for check, _ in checks), fields)


def both(*expressions: str) -> str:
    """What passes all of some expressions; empty ones let everything pass."""
    return " and ".join(f"({one})" for one in expressions if one)


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=False)


def below(folder: Path | str) -> str:
    """Photos in a folder and below; `0` is the character after `/`."""
    prefix = spell_path(os.fspath(folder)).rstrip("/")
    return f"path >= {quoted(prefix + '/')} and path < {quoted(prefix + '0')}"


def between(first: int | None, end: int | None) -> str:
    """Photos taken from one moment on and before another one."""
    bounds = [f"moment > {NO_MOMENT}" if first is None else f"moment >= {first}"]
    return both(*bounds, "" if end is None else f"moment < {end}")


def _expressions(filters: Filters) -> Iterator[str]:
    if filters.inside is not None:
        yield below(filters.inside)
    if filters.after is not None or filters.before is not None:
        yield between(
            None if filters.after is None else seconds(filters.after),
            None if filters.before is None else seconds(filters.before),
        )
    for name in ("camera", "lens"):
        if getattr(filters, name) is not None:
            yield f'{name} != ""'
    if filters.near is not None:
        reach = filters.within / _KM_A_DEGREE + _ROUNDED
        low, high = max(filters.near.latitude - reach, -_POLE), min(filters.near.latitude + reach, _POLE)
        yield f"latitude >= {low:.6f} and latitude <= {high:.6f}"
    if filters.shape is not None:
        yield f'shape == "{filters.shape}"'
    if filters.min_sides is not None:
        yield f"shorter >= {filters.min_sides[0]} and longer >= {filters.min_sides[1]}"
    if filters.min_pixels:
        yield f"pixels >= {filters.min_pixels}"


def _checks(filters: Filters) -> Iterator[tuple[Passes, tuple[str, ...]]]:
    if filters.glob is not None:
        # The name of a file or the end of its path, as in a folder's library.
        pattern = re.compile(f"(?si:(?:.*/)?{translate(filters.glob)})")
        yield lambda row: pattern.match(composed(str(path_of(row)).lstrip("/"))) is not None, ("path",)
    if filters.camera is not None:
        camera = filters.camera.casefold()
        yield lambda row: camera in row["camera_folded"], ("camera_folded",)
    if filters.lens is not None:
        lens = filters.lens.casefold()
        yield lambda row: lens in row["lens_folded"], ("lens_folded",)
    if filters.near is not None:
        near, within = filters.near, filters.within

        def is_near(row: Mapping[str, Any]) -> bool:
            place = place_of(row)
            distance = None if place is None else distance_km(*place, *near)
            return distance is not None and distance <= within

        yield is_near, ("latitude", "longitude")
