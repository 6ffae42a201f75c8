"""Captions and words of photos, as an author would have written them into a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.likenesses import digests
from clipsearch.catalog.scope import Scope
from clipsearch.catalog.texts import record_texts

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.catalog.texts import Kind


def write(library: Path, kind: Kind, said: dict[str, str]) -> None:
    """Texts by the names of files."""
    with Catalog(library, write=True) as catalog:
        held = {photo.path.name: photo.content for photo in catalog.newest(Scope(), 100)}
        sums = digests(catalog, list(held.values()))
        rows = [(held[name], sums[held[name]], text) for name, text in said.items()]
        record_texts(catalog, kind, "somebody", rows)
