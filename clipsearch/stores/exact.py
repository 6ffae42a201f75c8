"""The plain store: all vectors in memory, scored one by one.

It serves the tail (vectors newer than the FAISS file) and small libraries: up to some thousand
vectors, importing FAISS alone (80 ms) takes longer than the whole search here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.stores import Neighbors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class ExactStore:
    """Vectors in memory.

    Args:
        ids: `(n,)` int64, in any order.
        vectors: `(n, dim)` float16 unit rows.
    """

    def __init__(self, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        self._ids = ids
        self._vectors = vectors

    def __len__(self) -> int:
        """How many vectors it holds."""
        return len(self._ids)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """See `VectorStore.search`."""
        ids, vectors = self._ids, self._vectors
        if among is not None:
            kept = np.isin(ids, among)
            ids, vectors = ids[kept], vectors[kept]
        # No matrix product: it wakes threads that go on spinning, and in this size they save nothing.
        return best(ids, np.vecdot(vectors.astype(np.float32), query), k)

    def blocks(self, size: int = 65_536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """See `VectorStore.blocks`."""
        for start in range(0, len(self._ids), size):
            yield self._ids[start : start + size], self._vectors[start : start + size]


def merged(parts: Sequence[Neighbors], k: int) -> Neighbors:
    """The k best of what several searches have found, as `best`."""
    return best(
        np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]), k
    )


def best(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Neighbors:
    """The k highest scores, best first, equal ones by ascending id."""
    if k < len(ids):
        # Everything that ties with the k-th stays in until the ids have decided.
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= kth)
        ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))[:k]
    return Neighbors(ids[order], scores[order])
