"""Frames of videos in the catalog: contents that no file has, of a content that files have.

A video's first frame is the content of its bytes. The others' hashes follow from those bytes and the time, so
copies of a video share its frames, and one that was moved is not embedded again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.connection import sound_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope
    from clipsearch.types import Photo

_VARIABLES = 30_000  # SQLite's bound on `?` in one statement is 32,766


def frame_hash(video: bytes, seconds: float) -> bytes:
    """What a frame is known by, from the SHA-256 of its video's bytes; to a millisecond."""
    return hashlib.sha256(video + f"@{seconds:.3f}".encode()).digest()


def answering(catalog: Catalog, scope: Scope) -> NDArray[np.int64]:
    """Ids of the contents that a photo within `scope` has or, being a video, shows; ascending."""
    sql = f"SELECT content FROM photo WHERE {scope.where}"
    if catalog.rows("SELECT 1 FROM frame LIMIT 1"):
        sql += f" UNION SELECT frame.id FROM photo JOIN frame ON video = photo.content WHERE {scope.where}"
        rows = catalog.rows(f"{sql} ORDER BY 1", (*scope.values, *scope.values))
        with sound_values(catalog.path):
            return np.fromiter((row[0] for row in rows), np.int64, len(rows))
    return catalog.contents(scope)


def shown(catalog: Catalog, contents: Sequence[int], scope: Scope) -> dict[int, list[Photo]]:
    """As `Catalog.photos`, and the videos that show a content, with the time at which they do."""
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, len(contents), _VARIABLES):
        part = [int(content) for content in contents[start : start + _VARIABLES]]
        rows = catalog.rows(
            f"SELECT id, video, seconds FROM frame WHERE id IN ({','.join('?' * len(part))})", part
        )
        with sound_values(catalog.path):
            found |= {int(frame): (int(video), float(seconds)) for frame, video, seconds in rows}
    if not found:
        return catalog.photos(contents, scope)
    holders = {content: found.get(content, (content, None))[0] for content in contents}
    held = catalog.photos(list(dict.fromkeys(holders.values())), scope)
    return {
        content: [
            replace(photo, content=content, seconds=found[content][1]) if content in found else photo
            for photo in held[holder]
        ]
        for content, holder in holders.items()
        if holder in held
    }


def frames_of(catalog: Catalog, content: int) -> list[int]:
    """The contents that a video shows, its own among them; none of a photo."""
    rows = catalog.rows("SELECT id FROM frame WHERE video = ?", (content,))
    return [int(frame) for (frame,) in rows]


def frame_of(catalog: Catalog, video: int, digits: str) -> tuple[bytes, float] | None:
    """Hash and seconds of the frame of a video whose hash begins with hexadecimal digits, if there is one."""
    rows = catalog.rows(
        "SELECT hash, seconds FROM frame JOIN content ON content.id = frame.id WHERE video = ?", (video,)
    )
    with sound_values(catalog.path):
        found = ((bytes(digest), float(seconds)) for digest, seconds in rows)
        return next((one for one in found if one[0].hex().startswith(digits)), None)


def times_of(catalog: Catalog, digest: bytes) -> tuple[float, ...]:
    """When the frames of the video with this hash are shown, ascending; none where any of them is lost."""
    rows = catalog.rows(
        "SELECT seconds, total FROM frame JOIN content ON content.id = video WHERE content.hash = ?"
        " ORDER BY seconds",
        (digest,),
    )
    with sound_values(catalog.path):
        times = tuple(float(seconds) for seconds, _ in rows)
        return times if all(total == len(rows) for _, total in rows) else ()


def videos(catalog: Catalog) -> NDArray[np.int64]:
    """Ids of the contents that are videos, ascending."""
    rows = catalog.rows("SELECT DISTINCT video FROM frame ORDER BY video")
    with sound_values(catalog.path):
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def count_videos(catalog: Catalog) -> int:
    """Files that are videos."""
    return int(catalog.rows("SELECT count(*) FROM photo WHERE content IN (SELECT video FROM frame)")[0][0])
