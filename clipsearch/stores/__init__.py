"""Vector stores: find the nearest neighbors of a vector.

A store is a projection of the catalog, never the truth. One file an engine; `exact` (numpy), `faiss`
and `grouped` keep the same contract, checked against numpy in `tests/test_stores.py`:

* vectors are unit rows, score is cosine similarity, higher is better;
* results come best first, equal scores by ascending id;
* padding never leaves the adapter: fewer neighbors than asked for means there are no more.

Only `grouped` may miss a neighbor, in short searches among all; every score is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


class Neighbors(NamedTuple):
    """What a search found, best first.

    Attributes:
        ids: `(m,)` int64.
        scores: `(m,)` float32 cosine similarities, descending.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class VectorStore(Protocol):
    """Finds neighbors among the vectors it was built from."""

    def __len__(self) -> int:
        """How many vectors it holds."""
        ...

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The k nearest neighbors of one vector.

        Args:
            query: `(dim,)` float32, unit length.
            k: At most this many; at least 1.
            among: Ids that may answer, ascending; None for all. The search stays exact.
        """
        ...

    def blocks(self, size: int = 65_536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Every vector, in blocks: `(m,)` ids and `(m, dim)` float16 rows, m at most `size`."""
        ...
