"""The vector files beside the catalog: segments of bounded size, each a span of its embeddings.

What is new is written as a further segment, once it has grown past a bound. So ten photos added to a million
cost ten embeddings, not a gigabyte written. Writing takes the memory of one segment, however many photos
there are; killed anywhere, the catalog names files that are complete.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import Segment
from clipsearch.errors import LibraryWriteError
from clipsearch.new_file import flush_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.stores import VectorStore
    from clipsearch.types import Model

# Reading 5,000 vectors of 512 from SQLite and scoring them takes about 15 ms; opening FAISS takes
# 80 ms for its import alone. Below this many, no file is written.
MIN_TAIL = 5_000
# A tail this long costs a cold query 0.2 s and 50 MB, however small a share of the whole it is.
MAX_TAIL = 50_000
# Share of the whole that may be new, or gone, before files are written.
MAX_SHARE = 0.1
# Bytes of vectors in one file: a million of 512 dimensions.
SEGMENT = 1 << 30
# Rows read at a time: at 65,536, a million of 512 dimensions take 1.5 GB to write, at this 1.2, of which the
# segment itself is 1.0; smaller ones save little more.
_BLOCK = 16_384


def open_store(folder: Path, segment: Segment, dim: int) -> VectorStore | None:
    """The file of a segment, or None when it is not what it should be."""
    path = folder / segment.file
    try:
        if path.stat().st_size != segment.bytes:
            return None
        from clipsearch.stores.faiss import FaissStore
        from clipsearch.stores.grouped import GroupedStore

        store = GroupedStore(path) if segment.grouped else FaissStore(path)
    except OSError:
        return None
    return store if (len(store), store.dim) == (segment.rows, dim) else None


@dataclass(frozen=True, slots=True)
class Span:
    """Embeddings `first + 1..last` on their way into segments; `kept` is the one that stays as it is."""

    first: int
    last: int
    rows: int
    kept: Segment | None = None


def refresh(catalog: Catalog, folder: Path, key: int, model: Model, *, lost: bool = True) -> bool:
    """Write what is due: segments that are unusable or too full of dead vectors, and a tail grown too long.

    Contents that no photo has are dropped from the catalog first: their grace, in which a file that
    comes back is not embedded again, ends here.

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
    segments = catalog.segments(key)
    sweep(folder, key, segments)
    held = sum(segment.rows for segment in segments)
    bound = max(MIN_TAIL, MAX_SHARE * held)
    tail = _tail(catalog, key, segments)
    broken = {segment for segment in segments if open_store(folder, segment, model.dim) is None}
    dead = 0
    if lost and held:
        dead = held - sum(catalog.surviving(key, segments)) + catalog.count_contents(living=False)
    if not broken and tail.rows <= min(bound, MAX_TAIL) and dead <= bound:
        return False
    catalog.drop_orphans()
    spans: list[Span] = []
    for segment, rows in zip(segments, catalog.surviving(key, segments), strict=True):
        is_stale = dead > bound and segment.rows - rows > MAX_SHARE * segment.rows
        kept = None if segment in broken or is_stale else segment
        spans = _joined(spans, Span(segment.first, segment.last, rows, kept), _room(model))
    if tail.rows > min(bound, MAX_TAIL):
        spans = _joined(spans, _tail(catalog, key, segments), _room(model))
    publish(catalog, folder, key, _written(catalog, folder, key, model, spans))
    return True


def repack(catalog: Catalog, folder: Path, key: int, model: Model, *, exact: bool = False) -> None:
    """Bring the vectors into as few segments as they fit; with `exact`, those that are grouped, too.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    segments = catalog.segments(key)
    spans: list[Span] = []
    for segment, rows in zip(segments, catalog.surviving(key, segments), strict=True):
        is_stale = (exact and segment.grouped) or open_store(folder, segment, model.dim) is None
        span = Span(segment.first, segment.last, rows, None if is_stale else segment)
        spans = _joined(spans, span, _room(model), eager=True)
    tail = _tail(catalog, key, segments)
    if tail.rows > MIN_TAIL:
        spans = _joined(spans, tail, _room(model), eager=True)
    publish(catalog, folder, key, _written(catalog, folder, key, model, spans))


def _room(model: Model) -> int:
    """Vectors that fit into a segment."""
    return max(1, SEGMENT // (2 * model.dim))


def _tail(catalog: Catalog, key: int, segments: Sequence[Segment]) -> Span:
    first = segments[-1].last if segments else 0
    return Span(first, catalog.last_embedding(key), catalog.count_embeddings(key, after=first))


def _joined(spans: list[Span], span: Span, room: int, *, eager: bool = False) -> list[Span]:
    """The spans with one more, which takes in those before it that are to be written with it.

    That is one less than twice as large, so each vector is written a logarithmic number of times and
    the segments stay as few; with `eager`, every one that fits.
    """
    while spans:
        before = spans[-1]
        both = replace(span, first=before.first, rows=before.rows + span.rows, kept=None)
        wanted = eager or (span.kept is None and (before.kept is None or before.rows < 2 * span.rows))
        if not wanted or both.rows > room or _stays(before, room, eager) or _stays(span, room, eager):
            break
        spans, span = spans[:-1], both
    return [*spans, span]


def _stays(span: Span, room: int, eager: bool) -> bool:
    """Whether a segment is left alone because it is grouped; not, with `eager`, one that is half empty."""
    return span.kept is not None and span.kept.grouped and not (eager and 2 * span.rows < room)


def _written(
    catalog: Catalog, folder: Path, key: int, model: Model, spans: Sequence[Span]
) -> Iterator[Segment]:
    """Write the spans that are not kept, in segments that are complete on disk when they are yielded."""
    from clipsearch.stores.faiss import build

    room = _room(model)
    size = min(_BLOCK, room)
    for span in spans:
        if span.kept is not None:
            yield span.kept
            continue
        blocks = catalog.vectors(model, key, after=span.first, until=span.last, size=size)
        first = span.first
        for block in blocks:
            rows, last = 0, first

            def counted(
                part: Iterator[tuple[int, NDArray[np.int64], NDArray[np.float16]]],
            ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
                nonlocal rows, last
                for newest, ids, vectors in part:
                    rows += len(ids)
                    last = newest
                    yield ids, vectors

            part = counted(chain([block], islice(blocks, room // size - 1)))
            with draft(folder, key) as (path, final):
                build(path, model.dim, min(span.rows, room), part)
            yield Segment(first, last, final.name, final.stat().st_size, rows)
            first = last


@contextmanager
def draft(folder: Path, key: int) -> Iterator[tuple[Path, Path]]:
    """Where to write a segment's file, and where it lies once the body has succeeded and written one.

    No name is used twice: a reader, or a catalog that names the old file, never meets a new one under it.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    final = folder / f"vectors-{key}-{secrets.token_hex(6)}.faiss"
    path = final.with_suffix(".tmp")
    try:
        yield path, final
        if path.exists():
            path.replace(final)
            flush_folder(folder)
    except OSError as error:
        raise LibraryWriteError(
            f"the vector index cannot be written in {folder} ({(error.strerror or str(error)).lower()})",
            "photos and embeddings are safe; make room and run: clipsearch index",
        ) from error
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def publish(catalog: Catalog, folder: Path, key: int, segments: Iterable[Segment]) -> None:
    """Let the catalog name the segments once all of them are on disk, and sweep what it names no more.

    When one fails, the library is as it was. Files go last: a reader that has yet to open one finds
    its replacement named.
    """
    try:
        complete = list(segments)
        catalog.set_segments(key, complete)
    finally:
        sweep(folder, key, catalog.segments(key))


def sweep(folder: Path, key: int, segments: Sequence[Segment]) -> None:
    """Remove files that were replaced, and what a run left behind that failed or was killed."""
    named = {segment.file for segment in segments}
    for path in (*folder.glob(f"vectors-{key}-*"), folder / f"vectors-{key}.tmp"):
        if path.name not in named:
            with suppress(OSError):  # on Windows a reader may still have it mapped: swept next time
                path.unlink()
