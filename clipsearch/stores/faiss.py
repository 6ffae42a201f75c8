"""The FAISS store: an exact inner-product index of float16 vectors in a memory-mapped file.

Its gigabyte for 1,000,000 x 512 lies in the page cache instead of private memory; a float32 index would take
a second to read. FAISS gives a query one core, and lets the others spin meanwhile, so that it takes twice the
processor time. Here each core gets a part of the rows: 6.9 instead of 12.6 ms for 100,000 on two cores.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from clipsearch.machine import usable_cores
from clipsearch.stores import Neighbors
from clipsearch.stores.exact import best, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from numpy.typing import NDArray

_CHUNK = 1 << 20  # bytes that FAISS hands over at a time
_PART = 1 << 24  # bytes: a smaller part of the vectors is scanned sooner than a thread has started


class FaissStore:
    """A store file opened for reading.

    Args:
        path: A file that `build` wrote.

    Raises:
        OSError: The file is missing or is no such index.
    """

    def __init__(self, path: Path) -> None:
        self._index = read(path)
        flat = faiss.downcast_index(getattr(self._index, "index", None))
        check(flat, faiss.IndexScalarQuantizer, path)
        rows = self._index.ntotal
        whole = flat.ntotal == rows and flat.codes.size() == rows * flat.code_size
        outer = (self._index.id_map.size(), self._index.d, self._index.is_trained, self._index.metric_type)
        if not whole or outer != (rows, flat.d, True, flat.metric_type):
            raise OSError(f"a damaged vector index: {path}")
        self._flat = flat

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._flat.d)

    def __len__(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """See `VectorStore.search`."""
        ids = self._ids
        allowed = None if among is None else _mask(among, int(ids.max(initial=-1)) + 1)[ids]

        def scan(start: int, part: Any) -> Neighbors:
            chosen = None if allowed is None else _bitmap(allowed[start : start + part.ntotal])
            with _one_core():
                near = found(part, query, k, faiss.SearchParameters(sel=chosen))
            return Neighbors(ids[start + near.ids], near.scores)

        return merged(self._run(scan), k)

    def _run(self, scan: Callable[[int, Any], Neighbors]) -> list[Neighbors]:
        here, *others = self._parts
        if not others:
            return [scan(*here)]
        running = [self._cores.submit(scan, *part) for part in others]
        return [scan(*here), *(one.result() for one in running)]

    @cached_property
    def _cores(self) -> ThreadPoolExecutor:
        """All but this one."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(len(self._parts) - 1, thread_name_prefix="scan")

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        """A view, for as long as the store is there."""
        ids: NDArray[np.int64] = faiss.rev_swig_ptr(self._index.id_map.data(), len(self))
        return ids

    @cached_property
    def _parts(self) -> list[tuple[int, Any]]:
        """The vectors as one index for each core, with the number of its first row; nothing is copied."""
        flat, rows = self._flat, len(self)
        count = max(1, min(usable_cores(), flat.codes.size() // _PART))
        edges = [rows * number // count for number in range(count + 1)]
        codes = faiss.rev_swig_ptr(flat.codes.data(), flat.codes.size())
        parts = []
        for start, end in pairwise(edges):
            part = faiss.IndexScalarQuantizer(flat.d, faiss.ScalarQuantizer.QT_fp16, flat.metric_type)
            part.is_trained = True
            here = codes[start * flat.code_size : end * flat.code_size]
            part.codes = faiss.MaybeOwnedVectorUInt8.create_view(
                faiss.swig_ptr(here), len(here), flat.codes.owner
            )
            part.ntotal = end - start
            parts.append((start, part))
        return parts

    def blocks(self, size: int = 65_536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """See `VectorStore.blocks`."""
        dim = self._flat.d
        rows = len(self)
        codes = faiss.rev_swig_ptr(self._flat.codes.data(), rows * dim * 2).view("<f2").reshape(rows, dim)
        for start in range(0, rows, size):
            # Copies: a view would dangle once the store is gone, and FAISS cannot tell.
            yield self._ids[start : start + size].copy(), codes[start : start + size].copy()


def read(path: Path) -> Any:
    """The index in a file, its vectors mapped into memory.

    Raises:
        OSError: The file is missing or is no index.
    """
    try:
        return faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:  # a damaged length asks for all the memory there is
        raise OSError(f"not a readable vector index: {path}") from error


def check(index: Any, kind: Any, path: Path) -> None:
    """Refuse an index that is of another kind than ours: not half precision, or damaged in its header.

    FAISS believes what a header says, and would read behind the vectors.

    Raises:
        OSError: It is.
    """
    if not isinstance(index, kind) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise OSError(f"not an index that clipsearch wrote: {path}")
    stored = index.sq
    sizes = {index.code_size, stored.code_size, 2 * index.d}
    half = stored.qtype == faiss.ScalarQuantizer.QT_fp16
    if not half or stored.d != index.d or len(sizes) > 1 or not index.is_trained:
        raise OSError(f"a damaged vector index: {path}")


def write(index: Any, path: Path) -> None:
    """Write an index to a file that only the user can read; flushed to disk on return."""

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    # FAISS itself would not notice that its last bytes found no room: it ignores what `fclose` says.
    with open(path, "wb", opener=private) as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _CHUNK))
        file.flush()
        os.fsync(file.fileno())


def selector(among: NDArray[np.int64]) -> Any:
    """Lets the given ids answer, ascending ones."""
    return _bitmap(_mask(among, 1))


def _mask(among: NDArray[np.int64], least: int) -> NDArray[np.bool_]:
    """Whether an id is one of ascending ones, for `least` of them or more."""
    allowed = np.zeros(max(least, int(among[-1]) + 1 if len(among) else 0), np.bool_)
    allowed[among] = True
    return allowed


def _bitmap(allowed: NDArray[np.bool_]) -> Any:
    # One bit an id: a test costs the same however many are allowed.
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


@contextmanager
def _one_core() -> Iterator[None]:
    """What FAISS does in the body, on this thread, it does alone."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def found(index: Any, query: NDArray[np.float32], k: int, parameters: Any) -> Neighbors:
    """What an index finds for one vector."""
    scores, ids = index.search(query[None], min(k, index.ntotal), params=parameters)
    real = ids[0] >= 0  # FAISS pads with -1 where it has no more
    return best(ids[0][real], scores[0][real], k)


def build(
    path: Path, dim: int, rows: int, blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]]
) -> None:
    """Write a store file; flushed to disk on return.

    Args:
        path: The file.
        dim: Length of a vector.
        rows: How many there will be; a guess costs memory only.
        blocks: `(m,)` ids and `(m, dim)` float16 unit rows.
    """
    flat = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat.is_trained = True  # half precision has nothing to learn
    # Growing step by step, the vectors would lie in memory up to three times.
    flat.codes.resize(rows * flat.code_size)
    flat.codes.resize(0)
    index = faiss.IndexIDMap(flat)
    for ids, vectors in blocks:
        index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)
    write(index, path)
