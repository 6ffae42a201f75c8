"""Concepts in the catalog, each for the model whose embeddings it was learned from."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.connection import sound_values, spoken_errors
from clipsearch.types import Concept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Learned:
    """What is stored of a concept.

    Attributes:
        vector: `(dim,)` float32, unit length.
        slope: Beside texts, a photo's dot product with `vector` counts as a cosine of `slope` times that ...
        offset: ... and this added.
    """

    vector: NDArray[np.float32]
    slope: float
    offset: float


def record_concept(
    catalog: Catalog, model: int, name: str, learned: Learned, *, liked: int, unliked: int
) -> bool:
    """Keep a concept, instead of one of the same name; returns whether there was one."""
    blob = learned.vector.astype("<f4").tobytes()
    with catalog.atomic():
        execute = catalog.connection.execute
        found = execute("DELETE FROM concept WHERE model = ? AND name = ?", (model, name)).rowcount
        execute(
            "INSERT INTO concept (model, name, vector, checksum, slope, offset, liked, unliked, learned)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                model,
                name,
                blob,
                zlib.crc32(blob),
                learned.slope,
                learned.offset,
                liked,
                unliked,
                datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )
    return bool(found)


def drop_concept(catalog: Catalog, model: int, name: str) -> bool:
    """Take a concept out; returns whether there was one."""
    with catalog.atomic():
        rows = catalog.connection.execute("DELETE FROM concept WHERE model = ? AND name = ?", (model, name))
        return bool(rows.rowcount)


def concepts(catalog: Catalog, model: int) -> list[Concept]:
    """The concepts of a model, by name."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(
            "SELECT name, liked, unliked, learned FROM concept WHERE model = ? ORDER BY name", (model,)
        ).fetchall()
        return [
            Concept(str(name), int(liked), int(unliked), datetime.fromisoformat(when))
            for name, liked, unliked, when in rows
        ]


def concept(catalog: Catalog, model: int, name: str) -> Learned | None:
    """One concept, None where there is none.

    Raises:
        LibraryDamagedError: It is not as it was written.
    """
    with spoken_errors(catalog.path), sound_values(catalog.path):
        row = catalog.connection.execute(
            "SELECT vector, checksum, slope, offset, dim FROM concept JOIN model ON model.id = model"
            " WHERE model = ? AND concept.name = ?",
            (model, name),
        ).fetchone()
        if row is None:
            return None
        blob, checksum, slope, offset, dim = row
        if type(blob) is not bytes or len(blob) != 4 * dim or zlib.crc32(blob) != checksum:
            raise ValueError(f"the concept {name!r}")
        return Learned(np.frombuffer(blob, "<f4").astype(np.float32), float(slope), float(offset))
