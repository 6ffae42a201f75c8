"""Pairs of vectors that are near each other, among all: groups instead of all against all.

k-means puts vectors into cells; each vector is compared, exactly, with those it shares a cell with, for the
few cells whose centres are nearest to it. Pairs as near as duplicates are nearly always share one: see
`benchmarks/duplicates.py` for the share that is found and the time that it takes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.float16]

# Vectors that are compared all with all: 20,000 of 512 take seconds.
_ONE_CELL = 20_000
_CELL = 500  # vectors in a cell, before neighbours are let in
_CELLS_EACH = 3
_SAMPLE = 40  # vectors a cell, from which its centre is learnt
_ROUNDS = 8  # of k-means
_STRIP = 256  # rows of a product that are held at once
_BLOCK = 65_536
# Partners that are kept of one vector in one cell. What is left out is no loss: the next one of a kind is
# always among them, so that a thousand hang together.
MOST_PARTNERS = 16


def near_pairs(rows: Rows, floor: float, advance: Callable[[int, int], None]) -> NDArray[np.int64]:
    """Pairs of vectors whose cosine similarity is at least `floor`.

    Args:
        rows: `(n, dim)` float16 unit rows, in memory or mapped; they are read a cell at a time.
        floor: Cosine similarity.
        advance: Told of vectors compared, and of how many.

    Returns:
        `(m, 2)` different row numbers, the lower first, no pair twice, ascending.
    """
    count = len(rows)
    cells = _cells(rows, advance)
    total = sum(map(len, cells))
    done = 0
    found: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for cell in cells:
        vectors = rows[cell].astype(np.float32)
        for start in range(0, len(cell), _STRIP):
            # With those that follow; those before have been compared with it.
            one, other = _partners(vectors[start : start + _STRIP] @ vectors[start:].T, floor)
            found.append(cell[one + start] * count + cell[other + start])
            done += min(_STRIP, len(cell) - start)
            advance(count * done // total, count)
    keys = np.unique(np.concatenate(found))
    return np.stack([keys // count, keys % count], axis=1) if count else np.empty((0, 2), np.int64)


def _partners(scores: NDArray[np.float32], floor: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows go with which later columns; row r is column r, too."""
    scores[np.tri(*scores.shape, dtype=np.bool_)] = -np.inf
    near = scores >= floor
    crowded = np.flatnonzero(np.count_nonzero(near, axis=1) > MOST_PARTNERS)
    if len(crowded):
        first = near[crowded].argmax(axis=1)
        best = np.argpartition(-scores[crowded], MOST_PARTNERS, axis=1)[:, :MOST_PARTNERS]
        near[crowded] = False
        near[crowded[:, None], best] = True
        near[crowded, first] = True
    one, other = np.nonzero(near)
    return one, other


def _cells(rows: Rows, advance: Callable[[int, int], None]) -> list[NDArray[np.int64]]:
    """Row numbers of each cell, ascending."""
    count, dim = rows.shape
    if count <= _ONE_CELL:
        return [np.arange(count)]
    import faiss

    number = count // _CELL
    random = np.random.default_rng(count)
    sample = rows[np.sort(random.choice(count, min(count, _SAMPLE * number), replace=False))].astype(
        np.float32
    )
    centres = None
    for _ in range(_ROUNDS):
        # One round a call, so that Ctrl-C is heard.
        rounds = faiss.Kmeans(dim, number, niter=1, spherical=True, min_points_per_centroid=1, seed=1)
        rounds.train(sample, init_centroids=centres)
        centres = rounds.centroids
        advance(0, count)
    index = faiss.IndexFlatIP(dim)
    index.add(centres)
    nearest = np.empty((count, _CELLS_EACH), np.int32)
    for start in range(0, count, _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float32)
        _, nearest[start : start + len(block)] = index.search(block, _CELLS_EACH)
        advance(0, count)
    cell_of = nearest.ravel()
    order = np.argsort(cell_of, kind="stable")
    edges = np.searchsorted(cell_of[order], np.arange(number + 1))
    return [order[start:end] // _CELLS_EACH for start, end in pairwise(edges)]
