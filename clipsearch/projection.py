"""All embeddings of a library, ready to search: the vector files, and the tail they do not have yet.

The catalog is the truth. The tail is read from it and scored exactly, and so is what a file should hold that
is missing, torn or says something else: that costs a sentence, never a result. `vector_files` writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.half_units import are_units
from clipsearch.stores.exact import ExactStore, merged
from clipsearch.vector_files import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog, Segment
    from clipsearch.stores import Neighbors, VectorStore
    from clipsearch.types import Listeners, Model

# Of the best matches of a file, so many are held against the catalog. FAISS and numpy add up the same
# products in another order.
_HELD_AGAINST = 100
_TOLERANCE = 1e-4
_BLOCK = 16_384  # rows in single precision at once: 32 MB of 512 numbers


class Projection:
    """The vectors of one model, opened for queries.

    Args:
        catalog: The truth.
        folder: Where the stores' files lie.
        key: The model's id in the catalog.
        model: Its identity.
        listeners: Told when a file cannot be used.

    Attributes:
        is_damaged: Whether something had to be told.
    """

    def __init__(self, catalog: Catalog, folder: Path, key: int, model: Model, listeners: Listeners) -> None:
        self._catalog, self._folder, self._key, self._model = catalog, folder, key, model
        self._listeners = listeners
        self.is_damaged = False
        self._stores: list[VectorStore] = []
        # Those of the stores that are files, which may say something else than the catalog.
        self._files: dict[int, Segment] = {}
        segments = catalog.segments(key)
        opened = [open_store(folder, segment, model.dim) for segment in segments]
        while None in opened and segments != (newer := catalog.segments(key)):
            # Replaced by a writer just now: the catalog named the new files before the old ones went.
            segments = newer
            opened = [open_store(folder, segment, model.dim) for segment in segments]
        for segment, store in zip(segments, opened, strict=True):
            if store is None:
                self._stores.append(self._instead(segment))
            else:
                self._files[len(self._stores)] = segment
                self._stores.append(store)
        # Read later than the segments, and complete all the same: ids of embeddings only grow.
        self._stores.append(self._read(segments[-1].last if segments else 0))

    def _read(self, after: int, until: int | None = None) -> ExactStore:
        lost: list[int] = []
        blocks = list(
            self._catalog.vectors(self._model, self._key, after=after, until=until, damaged=lost.append)
        )
        if lost:
            self._tell(
                f"{sum(lost):,} of the embeddings in {self._catalog.path} are damaged and left out;"
                " have them made again: clipsearch doctor --repair"
            )
        if not blocks:
            return ExactStore(np.empty(0, np.int64), np.empty((0, self._model.dim), np.float16))
        ids, rows = (np.concatenate(parts) for parts in list(zip(*blocks, strict=True))[1:])
        return ExactStore(ids, rows)

    def _instead(self, segment: Segment) -> ExactStore:
        """What a file should hold that cannot be used, with a word about it."""
        self._tell(
            f"the vector index {self._folder / segment.file} is missing or damaged; searching the catalog"
            " itself, which is slower. The next `clipsearch index` writes it anew"
        )
        return self._read(segment.first, segment.last)

    def _tell(self, sentence: str) -> None:
        self.is_damaged = True
        self._listeners.tell(sentence)

    def __len__(self) -> int:
        """Vectors that can answer, those of contents that are gone included."""
        return sum(len(store) for store in self._stores)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The k nearest contents of one unit vector; see `VectorStore.search`."""
        parts = [store.search(query, k, among) for store in self._stores]
        for number in list(self._files):
            if not self._agrees(parts[number], query):
                self._stores[number] = self._instead(self._files.pop(number))
                parts[number] = self._stores[number].search(query, k, among)
        return merged(parts, k)

    def _agrees(self, found: Neighbors, query: NDArray[np.float32]) -> bool:
        """Whether the best that a file has found are in the catalog what the file says they are.

        A flipped bit in a file of the right size shows here, where it lets a photo answer that should not,
        and costs some microseconds a photo. One that keeps a photo from answering is found by
        `clipsearch doctor`.
        """
        ids = found.ids[:_HELD_AGAINST].tolist()
        # Contents that are gone stay in the file for a while.
        vectors = self._catalog.vectors_of(ids, self._key)
        if not vectors:
            return True
        scores = dict(zip(ids, found.scores.tolist(), strict=False))
        said = np.array([scores[content] for content in vectors], np.float32)
        true = np.vecdot(np.stack(list(vectors.values())).astype(np.float32), query)
        return bool((np.abs(true - said) < _TOLERANCE).all())

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every vector, in `(n,)` ids and `(n, dim)` rows; see `VectorStore.blocks`."""
        for number, store in enumerate(self._stores):
            for ids, rows, units in _widened(store.blocks(_BLOCK)):
                if number in self._files and not units.all():
                    self._tell(
                        f"the vector index {self._folder / self._files[number].file} is damaged: asking the"
                        " catalog itself. Have it written anew: clipsearch doctor --repair"
                    )
                    yield self._corrected(ids, rows, units)
                else:
                    yield ids, rows

    def _corrected(
        self, ids: NDArray[np.int64], rows: NDArray[np.float32], units: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """A block with the catalog's vectors instead of those that are no unit vectors."""
        known = units.copy()
        for place in np.flatnonzero(~units).tolist():
            vector = self._catalog.vector(int(ids[place]), self._key)
            if vector is not None:
                rows[place], known[place] = vector, True
        return ids[known], rows[known]


def _widened(
    blocks: Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]]:
    """Blocks in single precision, and which rows are units: each is made while the one before is used."""
    from concurrent.futures import ThreadPoolExecutor

    def widen() -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]] | None:
        block = next(blocks, None)
        if block is None:
            return None
        ids, stored = block
        rows = stored.astype(np.float32)
        return ids, rows, are_units(rows)

    with ThreadPoolExecutor(1, thread_name_prefix="widen") as ahead:
        following = ahead.submit(widen)
        while (block := following.result()) is not None:
            following = ahead.submit(widen)
            yield block
