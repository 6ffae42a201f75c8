"""The models of a library side by side: what each has, and taking one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import MISSING
from clipsearch.catalog.connection import spoken_errors
from clipsearch.catalog.tags import drop_unused
from clipsearch.types import LibraryModel

if TYPE_CHECKING:
    from clipsearch.catalog.catalog import Catalog
    from clipsearch.types import Model


def held_models(catalog: Catalog) -> list[tuple[int, Model]]:
    """Id and identity of the models that queries may use, the default one first.

    One whose first run ended before it had embedded anything is none of them.
    """
    held = {
        int(key)
        for (key,) in catalog.rows(
            "SELECT id FROM model WHERE current OR EXISTS (SELECT 1 FROM embedding WHERE model = model.id)"
        )
    }
    return [(key, model) for key, model in reversed(catalog.models()) if key in held]


def is_alone(catalog: Catalog) -> bool:
    """Whether a library has at most one model, which then has an embedding of every photo."""
    return len(catalog.rows("SELECT 1 FROM model LIMIT 2")) < 2  # noqa: PLR2004 - one and another


def count_missing(catalog: Catalog, key: int) -> int:
    """Photos that a model has no embedding of, or not of all their frames."""
    return int(catalog.rows(f"SELECT count(*) FROM photo WHERE {MISSING}", (key, key))[0][0])


def describe(catalog: Catalog, key: int, model: Model, *, is_default: bool) -> LibraryModel:
    """What a model has, and what it lacks."""
    embeddings = catalog.count_embeddings(key)
    missing = count_missing(catalog, key)
    return LibraryModel(
        source=model.source,
        fingerprint=model.fingerprint,
        dim=model.dim,
        is_default=is_default,
        photos=catalog.count_photos() - missing,
        missing=missing,
        bytes=embeddings * 2 * model.dim + sum(segment.bytes for segment in catalog.segments(key)),
    )


def count_tagged(catalog: Catalog, key: int) -> int:
    """Contents whose tags come from a model."""
    sql = "SELECT count(*) FROM tagged WHERE model = ? AND content IN (SELECT content FROM content_tag)"
    return int(catalog.rows(sql, (key,))[0][0])


def drop_model(catalog: Catalog, key: int) -> None:
    """Take out all that follows from a model, and the model itself; its files have no name then."""
    with catalog.atomic():
        execute = catalog.connection.execute
        execute(
            "DELETE FROM content_tag WHERE content IN (SELECT content FROM tagged WHERE model = ?)", (key,)
        )
        for table in ("tagged", "concept", "projection", "embedding"):
            execute(f"DELETE FROM {table} WHERE model = ?", (key,))
        execute("DELETE FROM model WHERE id = ?", (key,))
        drop_unused(catalog)


def give_back(catalog: Catalog) -> None:
    """Return the room of what was taken out to the disk.

    Raises:
        LibraryWriteError: There is not enough for the copy that this takes; nothing has changed.
    """
    with spoken_errors(catalog.path):
        catalog.connection.execute("VACUUM")
        catalog.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
