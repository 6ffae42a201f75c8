"""How many photos there are, by month and by folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clipsearch.catalog.connection import sound_values
from clipsearch.catalog.scope import subtree
from clipsearch.types import FolderCount, MonthCount

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope


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
