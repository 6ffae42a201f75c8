"""How many photos there are, by month and by folder; and one of them, with all that is known of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import join
from clipsearch.catalog.connection import sound_values
from clipsearch.catalog.scope import subtree
from clipsearch.catalog.tags import tags_of
from clipsearch.catalog.texts import texts_of
from clipsearch.types import FolderCount, MonthCount, PhotoDetails

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope
    from clipsearch.catalog.texts import Kind


def months(catalog: Catalog, scope: Scope) -> list[MonthCount]:
    """Photos within `scope` by the month they were taken in, those without one last."""
    rows = catalog.rows(
        "SELECT substr(taken, 1, 7) AS month, count(*) FROM photo JOIN content ON content.id = content"
        f" WHERE {scope.where} GROUP BY month ORDER BY month IS NULL, month",
        scope.values,
    )
    with sound_values(catalog.path):
        return [MonthCount(month, int(photos)) for month, photos in rows]


def folders(catalog: Catalog, inside: Path | None) -> list[FolderCount]:
    """The folders right below one, or the indexed ones, by name, with the photos in and below each.

    Args:
        catalog: The library's.
        inside: A folder; None for the indexed ones. One that holds no photo has no folders either.
    """
    roots = catalog.roots()
    if inside is None:
        return [FolderCount(root.path, catalog.count_photos(root.id)) for root in roots]
    root = next((root for root in roots if inside.is_relative_to(root.path)), None)
    if root is None:
        return []
    below = os.fsencode(inside.relative_to(root.path).as_posix())
    low, high = (b"", b"") if below == b"." else subtree(below)
    # What stands between the folder and the next slash; paths are blobs, and x'2F' is a slash.
    rest = f"substr(path, {len(low) + 1})"
    rows = catalog.rows(
        f"SELECT substr({rest}, 1, instr({rest}, x'2F') - 1) AS name, count(*) FROM photo"
        f" WHERE root = ? AND path >= ? AND (path < ? OR ?) AND instr({rest}, x'2F')"
        " GROUP BY name ORDER BY name",
        (root.id, low, high, not high),
    )
    with sound_values(catalog.path):
        return [FolderCount(inside / os.fsdecode(name), int(photos)) for name, photos in rows]


def details(catalog: Catalog, key: int) -> PhotoDetails:
    """All that is known of one photo.

    Raises:
        UsageError: There is none.
    """
    rows = catalog.rows(
        "SELECT root.path, hash, mtime_ns FROM photo JOIN root ON root.id = root"
        " JOIN content ON content.id = content WHERE photo.id = ?",
        (key,),
    )
    photo = catalog.photo(key)
    with sound_values(catalog.path):
        ((root, digest, modified),) = rows
        tags = tags_of(catalog, [photo.content]).get(photo.content, ())
    return PhotoDetails(
        photo,
        join(root),
        bytes(digest),
        _moment(modified),
        tags,
        caption=_text(catalog, "caption", photo.content),
        words=_text(catalog, "words", photo.content),
    )


def _text(catalog: Catalog, kind: Kind, content: int) -> str | None:
    text, _ = texts_of(catalog, kind, [content]).get(content, (None, ""))
    return text


def _moment(modified_ns: int) -> datetime | None:
    if modified_ns < 0:  # waits to be read again
        return None
    try:
        return datetime.fromtimestamp(modified_ns // 1_000_000_000, UTC)
    except (OverflowError, OSError):  # disks hold times that no calendar has
        return None
