"""The grouped store: the same float16 vectors, similar ones together, so that a search reads a few groups.

A FAISS inverted file (Sivic and Zisserman 2003; Jégou et al. 2011): k-means finds the groups' centres, a
query is held against the vectors of the groups whose centres are nearest. Scores are exact; what may be
missed is a neighbor in a group that was not looked into. How many groups a search takes is therefore
measured on questions of the library's own kind when the file is written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import faiss
import numpy as np

from clipsearch.stores.faiss import check, found, read, selector, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.stores import Neighbors, VectorStore

# Of the ten nearest neighbors, the share that a search must find.
RECALL = 0.99
NEAREST = 10
# Searches for more than this many look into every group: what is far down the list lies anywhere.
MOST = 100
# Above this share of the groups the gain is not worth a neighbor missed.
MAX_SHARE = 1 / 3
_GROUPS = 2.0  # times the square root of the vectors
_SAMPLE = 40  # vectors a group, from which its centre is learnt
_ROUNDS = 10  # of k-means
_QUESTIONS = 200  # of the library's own vectors


class Grouping(NamedTuple):
    """How a file was grouped: into how many, how many a search looks into, the share it finds of the best."""

    groups: int
    searched: int
    recall: float


class GroupedStore:
    """A grouped store file opened for reading. Searches among given ids are exact, and so are long ones.

    Args:
        path: A file that `build_grouped` wrote.

    Raises:
        OSError: The file is missing or is no such index.
    """

    def __init__(self, path: Path) -> None:
        self._index = read(path)
        index = self._index
        check(index, faiss.IndexIVFScalarQuantizer, path)
        lists, centres = index.invlists, faiss.downcast_index(index.quantizer)
        if (
            index.by_residual
            or not isinstance(centres, faiss.IndexFlat)
            or centres.metric_type != faiss.METRIC_INNER_PRODUCT
            or not centres.is_trained
            or (centres.d, centres.ntotal, lists.nlist) != (index.d, index.nlist, index.nlist)
            or centres.codes.size() != 4 * index.d * index.nlist
            or not 1 <= index.nprobe <= index.nlist
            or lists.code_size != index.code_size
            or lists.compute_ntotal() != index.ntotal
        ):
            raise OSError(f"a damaged vector index: {path}")

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def __len__(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """See `VectorStore.search`."""
        index = self._index
        if among is None and k <= MOST:
            near = found(index, query, k, faiss.SearchParametersIVF(nprobe=index.nprobe))
            if len(near.ids) == min(k, len(self)):
                return near
        chosen = None if among is None else selector(among)
        return found(index, query, k, faiss.SearchParametersIVF(nprobe=index.nlist, sel=chosen))

    def blocks(self, size: int = 65_536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """See `VectorStore.blocks`; by ascending id, so that a block is a narrow span of the catalog."""
        lists, dim = self._index.invlists, self._index.d
        ids, starts = _members(self._index)
        order = np.argsort(ids)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            places = np.argsort(chosen)  # group by group
            edges = np.searchsorted(chosen[places], starts)
            rows = np.empty((len(chosen), dim), "<f2")
            for group in np.flatnonzero(np.diff(edges)).tolist():
                here = places[edges[group] : edges[group + 1]]
                count = int(starts[group + 1] - starts[group])
                codes = faiss.rev_swig_ptr(lists.get_codes(group), count * dim * 2)
                rows[here] = codes.view("<f2").reshape(count, dim)[chosen[here] - starts[group]]
            yield ids[chosen], rows


def build_grouped(
    path: Path,
    dim: int,
    source: VectorStore,
    texts: NDArray[np.float32],
    advance: Callable[[float], None] = lambda _: None,
) -> Grouping | None:
    """Write a grouped store file, flushed to disk on return; nothing where grouping does not pay.

    Args:
        path: The file.
        dim: Length of a vector.
        source: The vectors.
        texts: `(m, dim)` float32 unit rows: questions as users ask them, which lie apart from the vectors.
        advance: Told now and then which share of the work is done.

    Returns:
        What was found out, or None when no small share of the groups holds enough of the neighbors.
    """
    count = max(1, int(_GROUPS * math.sqrt(len(source))))
    rows = _drawn(source, _SAMPLE * count + _QUESTIONS)
    own, sample = np.split(rows, [_QUESTIONS])
    if len(sample) < count:  # too few to keep questions apart
        sample = rows
    steps = _ROUNDS + 1
    quantizer = faiss.IndexFlatIP(dim)
    for done, centres in enumerate(_centres(sample, count), 1):
        quantizer.reset()
        quantizer.add(centres)
        advance(done / (2 * steps))
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, count, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.is_trained = True  # half precision has nothing to learn
    for ids, vectors in source.blocks():
        index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)
        advance(0.5 + 0.5 * index.ntotal / len(source))
    # A question that is itself among the vectors finds itself: no merit.
    ranks = [_ranks(index, own, NEAREST + 1)[:, 1:], _ranks(index, texts, NEAREST)]
    searched = max(int(np.quantile(part, RECALL, method="inverted_cdf")) for part in ranks) + 1
    if searched > MAX_SHARE * count:
        return None
    index.nprobe = searched
    write(index, path)
    return Grouping(count, searched, min(float((part < searched).mean()) for part in ranks))


def _drawn(source: VectorStore, count: int) -> NDArray[np.float32]:
    """So many of the vectors, or all there are, in no order."""
    random = np.random.default_rng(len(source))
    wanted = np.sort(random.choice(len(source), min(count, len(source)), replace=False))
    parts, start = [], 0
    for ids, vectors in source.blocks():
        first, end = np.searchsorted(wanted, [start, start + len(ids)])
        parts.append(vectors[wanted[first:end] - start].astype(np.float32))
        start += len(ids)
    rows: NDArray[np.float32] = random.permutation(np.concatenate(parts))
    return rows


def _centres(sample: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
    """Unit centres by k-means on the sphere, better from round to round."""
    centres = None
    for _ in range(_ROUNDS):
        # One round a call, so that progress is seen and Ctrl-C is heard.
        rounds = faiss.Kmeans(
            sample.shape[1], count, niter=1, spherical=True, min_points_per_centroid=1, seed=1
        )
        rounds.train(sample, init_centroids=centres)
        centres = rounds.centroids
        yield centres


def _ranks(index: Any, questions: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """For each question and each of its k nearest neighbors, how many groups lie nearer than its own."""
    every = faiss.SearchParametersIVF(nprobe=index.nlist)
    _, nearest = index.search(questions, min(k, index.ntotal), params=every)
    ids, starts = _members(index)
    order = np.argsort(ids)
    places = order[np.searchsorted(ids, nearest, sorter=order)]
    groups = np.searchsorted(starts, places, side="right") - 1
    _, nearness = index.quantizer.search(questions, index.nlist)
    return np.asarray(np.take_along_axis(np.argsort(nearness, axis=1), groups, axis=1))


def _members(index: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of all vectors, group after group, and where each group starts; the end follows."""
    lists = index.invlists
    sizes = [lists.list_size(group) for group in range(index.nlist)]
    ids: Sequence[NDArray[np.int64]] = [
        faiss.rev_swig_ptr(lists.get_ids(group), size) for group, size in enumerate(sizes) if size
    ]
    return np.concatenate(ids), np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
