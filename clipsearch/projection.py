"""All embeddings of a library, ready to search: the FAISS file, and the tail it does not have yet.

The catalog is the truth. The file beside it is written anew only when the tail, or the share of
contents that are gone, has grown past a bound; until then newer vectors are read from the catalog
and scored exactly. So ten photos added to a million cost ten embeddings, not a gigabyte written,
and a file that is missing, torn or of another state costs a sentence, never a result.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.catalog import ProjectionStamp
from clipsearch.errors import LibraryWriteError
from clipsearch.stores import Neighbors
from clipsearch.stores.exact import ExactStore, best

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.stores import VectorStore
    from clipsearch.types import Listeners, Model

# Reading 5,000 vectors of 512 from SQLite and scoring them takes about 15 ms; opening FAISS takes
# 80 ms for its import alone. Below this many, no file is written.
MIN_TAIL = 5_000
# Share of the whole that may be new, or gone, before the file is written anew.
MAX_SHARE = 0.1


class Projection:
    """The vectors of one model, opened for queries.

    Args:
        catalog: The truth.
        folder: Where the store's files lie.
        key: The model's id in the catalog.
        model: Its identity.
        listeners: Told when a file cannot be used.
    """

    def __init__(self, catalog: Catalog, folder: Path, key: int, model: Model, listeners: Listeners) -> None:
        self._stores: list[VectorStore] = []
        after = 0
        stamp = catalog.projection(key)
        store = None if stamp is None else open_store(folder, stamp)
        while store is None and stamp != (newer := catalog.projection(key)):
            # Replaced by a writer just now: the catalog named the new file before the old one went.
            stamp = newer
            store = None if stamp is None else open_store(folder, stamp)
        if stamp is not None and store is not None:
            self._stores.append(store)
            after = stamp.last
        elif stamp is not None:
            listeners.tell(
                f"the vector index {folder / stamp.file} is missing or damaged; searching the catalog"
                " itself, which is slower. The next `clipsearch index` writes it anew"
            )
        # Read later than the stamp, and complete all the same: ids of embeddings only grow.
        blocks = list(catalog.vectors(model, key, after=after))
        if blocks:
            self._stores.append(
                ExactStore(
                    np.concatenate([ids for _, ids, _ in blocks]),
                    np.concatenate([rows for *_, rows in blocks]),
                )
            )

    def __len__(self) -> int:
        """Vectors that can answer, those of contents that are gone included."""
        return sum(len(store) for store in self._stores)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The k nearest contents of one unit vector; see `VectorStore.search`."""
        parts = [store.search(query, k, among) for store in self._stores]
        if not parts:
            return Neighbors(np.empty(0, np.int64), np.empty(0, np.float32))
        return best(
            np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]), k
        )

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Every vector; see `VectorStore.blocks`."""
        for store in self._stores:
            yield from store.blocks()


def open_store(folder: Path, stamp: ProjectionStamp) -> VectorStore | None:
    """The file that a stamp names, or None when it is not what it should be."""
    path = folder / stamp.file
    try:
        if path.stat().st_size != stamp.bytes:
            return None
        from clipsearch.stores.faiss import FaissStore

        store = FaissStore(path)
    except OSError:
        return None
    return store if len(store) == stamp.rows else None


def refresh(catalog: Catalog, folder: Path, key: int, model: Model, *, lost: bool = True) -> bool:
    """Write the store's file anew if it is due: unusable, too far behind, or too full of dead vectors.

    Contents that no photo has are dropped from the catalog first: their grace, in which a file that
    comes back is not embedded again, ends here. The new file is complete on disk before the catalog
    names it, and the old one is deleted after.

    Args:
        catalog: Opened for writing.
        folder: The library's.
        key: The model's id in the catalog.
        model: Its identity.
        lost: Whether contents may have lost their last photo since the last call: counting them takes
            seconds at a million.

    Returns:
        Whether a file was written.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    stamp = catalog.projection(key)
    last = stamp.last if stamp else 0
    held = stamp.rows if stamp else 0
    tail = catalog.count_embeddings(key, after=last)
    bound = max(MIN_TAIL, MAX_SHARE * held)
    broken = stamp is not None and open_store(folder, stamp) is None
    dead = catalog.count_contents(living=False) if lost and held else 0
    if not broken and tail <= bound and dead <= bound:
        return False
    catalog.drop_orphans()
    _write(catalog, folder, key, model)
    return True


def _write(catalog: Catalog, folder: Path, key: int, model: Model) -> None:
    from clipsearch.stores.faiss import build

    rows = last = 0

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        nonlocal rows, last
        for newest, ids, vectors in catalog.vectors(model, key):
            rows += len(ids)
            last = newest
            yield ids, vectors

    draft = folder / f"vectors-{key}.tmp"
    try:
        build(draft, model.dim, blocks())
        final = folder / f"vectors-{key}-{last}.faiss"
        draft.replace(final)
        _flush_folder(folder)
    except (OSError, RuntimeError) as error:  # FAISS reports a failed write as RuntimeError
        with suppress(OSError):
            draft.unlink()
        raise LibraryWriteError(
            f"the vector index cannot be written in {folder} ({error})",
            "photos and embeddings are safe; make room and run: clipsearch index",
        ) from error
    catalog.set_projection(key, ProjectionStamp(final.name, final.stat().st_size, rows, last))
    # Older files, and drafts that a killed run left behind.
    for path in folder.glob(f"vectors-{key}*"):
        if path != final:
            with suppress(OSError):  # on Windows a reader may still have it mapped: swept next time
                path.unlink()


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
