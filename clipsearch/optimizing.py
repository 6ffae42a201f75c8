"""Grouping the vectors of a very large library, so that a search reads a small share of them."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from clipsearch.projection import Projection
from clipsearch.types import Listeners, OptimizeReport
from clipsearch.vector_files import draft, open_store, publish, repack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog, Segment
    from clipsearch.types import Model

# An exact search reads this many vectors in 50 ms, a tenth of what a query from a cold shell takes.
WORTH = 1_000_000
# Segments with fewer are read whole: 4 ms.
LEAST = 100_000
_TIMED = 16
_NEAREST = 10
# Words from all over; a question need not be about any of the library's photos to lie where questions lie.
_THINGS = """
airport apple baby beach bear bedroom bicycle bird boat book bottle bread bridge bus butterfly cake
camera car castle cat chair child church city cloud coffee concert couple cow crowd dance desert
dinner document dog door elephant field fire fish flag flower food football forest friends fruit
garden glass group guitar harbor hat hiking horse hospital hotel house ice insect island kitchen
lake lamp laptop laughing leaf library lion man map market meadow meeting moon motorcycle mountain
museum night office painting park party person phone piano pizza plane plant portrait rain
restaurant river road rock room running sand school screenshot sea selfie sheep ship shoes shop sign
sky smile snow soup spider sport stadium stage stairs statue street sunset swimming table temple
tent theater toy train tree truck umbrella valley vegetables village wall wedding window wine winter
woman zoo
""".split()  # noqa: SIM905 - words read best as words
QUESTIONS = (
    *_THINGS,
    *(f"a photo of a {thing}" for thing in _THINGS[::2]),
    *(
        f"{first} next to a {second} in the evening"
        for first, second in zip(_THINGS[::3], _THINGS[1::3], strict=False)
    ),
)


def optimize(
    catalog: Catalog,
    folder: Path,
    key: int,
    model: Model,
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    *,
    exact: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> OptimizeReport:
    """Group the segments that are large enough, or with `exact`, undo it.

    Interrupted, it leaves every answer as it was.

    Args:
        catalog: Opened for writing; the caller holds the writer's lock.
        folder: The library's.
        key: The model's id in the catalog.
        model: Its identity.
        encode: The model's text encoder: `(m, dim)` float32 unit rows.
        exact: Whether to undo it.
        progress: Told of vectors done, and of how many.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    started = time.monotonic()
    few = encode(QUESTIONS[:_TIMED])

    def measured() -> tuple[int, float]:
        opened = Projection(catalog, folder, key, model, Listeners())
        opened.search(few[0], _NEAREST)  # brings the files into the page cache
        return len(opened), median(_seconds(opened, text) for text in few)

    vectors, before = measured()
    grouped = sum(segment.rows for segment in catalog.segments(key) if segment.grouped)
    if (not grouped) if exact else vectors < WORTH:
        return OptimizeReport(vectors, grouped, None, before, before, time.monotonic() - started)
    repack(catalog, folder, key, model, exact=exact)
    found: list[float] = []
    if not exact:
        segments = catalog.segments(key)
        texts = encode(QUESTIONS)
        work = _grouped(segments, folder, key, model, texts=texts, found=found, progress=progress)
        publish(catalog, folder, key, work)
    grouped = sum(segment.rows for segment in catalog.segments(key) if segment.grouped)
    _, after = measured()
    took = time.monotonic() - started
    return OptimizeReport(vectors, grouped, min(found, default=None), before, after, took)


def _grouped(
    segments: list[Segment],
    folder: Path,
    key: int,
    model: Model,
    *,
    texts: NDArray[np.float32],
    found: list[float],
    progress: Callable[[int, int], None],
) -> Iterator[Segment]:
    """The segments, those that are large enough grouped; `found` gets the recall of each."""
    from clipsearch.stores.grouped import build_grouped

    due = [segment for segment in segments if not segment.grouped and segment.rows >= LEAST]
    total, done = sum(segment.rows for segment in due), 0
    for segment in segments:
        store = open_store(folder, segment, model.dim) if segment in due else None
        if store is None:
            yield segment
            continue

        def advance(share: float, before: int = done, rows: int = segment.rows) -> None:
            progress(before + round(share * rows), total)

        with draft(folder, key) as (path, final):
            grouping = build_grouped(path, model.dim, store, texts, advance)
        done += segment.rows
        if grouping is None:
            yield segment
            continue
        found.append(grouping.recall)
        yield replace(segment, file=final.name, bytes=final.stat().st_size, grouped=True)


def _seconds(opened: Projection, question: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    opened.search(question, _NEAREST)
    return time.perf_counter() - started
