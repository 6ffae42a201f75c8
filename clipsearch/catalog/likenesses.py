"""What the catalog knows of copies, bursts, and of what pictures look like."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsearch.catalog.connection import sound_values, spoken_errors
from clipsearch.types import LIKENESS_BYTES, Likeness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope

# Bound values in one statement.
_PART = 10_000


class Shot(NamedTuple):
    """A content whose camera said when it was taken, on its own clock."""

    content: int
    camera: str
    taken: datetime


def copied(catalog: Catalog, scope: Scope) -> list[int]:
    """Contents that several photos within `scope` have, ascending."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(
            f"SELECT content FROM photo WHERE {scope.where} GROUP BY content HAVING count(*) > 1",
            scope.values,
        )
        return [int(content) for (content,) in rows]


def shots(catalog: Catalog, scope: Scope) -> Iterator[Shot]:
    """Contents within `scope` whose camera and time are known: camera by camera, in the order of time."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(
            "SELECT content, camera, substr(taken, 1, 19) AS moment"
            " FROM (SELECT content, min(path) AS path FROM photo"
            f" WHERE {scope.where} GROUP BY content) AS held"
            " JOIN content ON content.id = held.content"
            " WHERE camera IS NOT NULL AND taken IS NOT NULL ORDER BY camera, moment, path",
            scope.values,
        )
        for content, camera, moment in rows:
            yield Shot(int(content), str(camera), datetime.fromisoformat(moment))


def digests(catalog: Catalog, contents: Sequence[int]) -> dict[int, bytes]:
    """SHA-256 of contents, those that are gone left out."""
    return {
        int(content): bytes(digest)
        for content, digest in _among(catalog, "SELECT id, hash FROM content WHERE id IN", contents)
    }


def known(catalog: Catalog, contents: Sequence[int]) -> dict[int, Likeness]:
    """What is known of how contents look."""
    sql = "SELECT content, hash, contrast, sharpness FROM likeness WHERE content IN"
    with sound_values(catalog.path):
        return {
            int(content): Likeness(_sound(digest), float(contrast), float(sharpness))
            for content, digest, contrast, sharpness in _among(catalog, sql, contents)
        }


def record(catalog: Catalog, found: Mapping[int, tuple[bytes, Likeness]]) -> None:
    """Remember how contents look, each with the SHA-256 of the bytes that were looked at.

    Nothing is kept of a content that has other bytes by now, as after a backup was restored.
    """
    with catalog.atomic():
        catalog.connection.executemany(
            "INSERT OR REPLACE INTO likeness (content, hash, contrast, sharpness)"
            " SELECT id, ?, ?, ? FROM content WHERE id = ? AND hash = ?",
            [(*likeness, content, digest) for content, (digest, likeness) in found.items()],
        )


def drop_photos(catalog: Catalog, photos: Sequence[int]) -> None:
    """Take photos out that are gone from their places; their contents stay until the next `index`."""
    with catalog.atomic():
        catalog.connection.executemany("DELETE FROM photo WHERE id = ?", [(photo,) for photo in photos])


def _among(catalog: Catalog, sql: str, contents: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    with spoken_errors(catalog.path):
        for start in range(0, len(contents), _PART):
            part = contents[start : start + _PART]
            yield from catalog.connection.execute(f"{sql} ({','.join('?' * len(part))})", part)


def _sound(digest: bytes) -> bytes:
    if type(digest) is not bytes or len(digest) != LIKENESS_BYTES:
        raise ValueError("a perceptual hash of another length")
    return digest
