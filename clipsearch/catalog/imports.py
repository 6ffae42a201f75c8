"""What a catalog has of photos that are about to be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clipsearch.catalog.connection import sound_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.catalog.catalog import Catalog

UNSEEN_NS = -1
"""Modification time of a photo whose file was not looked at: no file has it, so the next `index` reads it."""


class Held(NamedTuple):
    """A photo of the catalog.

    Attributes:
        hash: SHA-256 of its bytes.
        seen: Whether its file was read on this machine.
        embedded: Whether its embedding is there.
    """

    hash: bytes
    seen: bool
    embedded: bool


def held(catalog: Catalog, root: int, paths: Sequence[bytes], model: int) -> dict[bytes, Held]:
    """The photos of a root that have one of these paths, relative to it; at most some ten thousand."""
    rows = catalog.rows(
        "SELECT photo.path, hash, mtime_ns != ?,"
        " EXISTS (SELECT 1 FROM embedding WHERE embedding.content = content.id AND model = ?)"
        " FROM photo JOIN content ON content.id = photo.content"
        f" WHERE root = ? AND photo.path IN ({','.join('?' * len(paths))})",
        (UNSEEN_NS, model, root, *paths),
    )
    with sound_values(catalog.path):
        return {bytes(path): Held(bytes(digest), bool(seen), bool(done)) for path, digest, seen, done in rows}
