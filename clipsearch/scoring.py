"""Similarity of pictures and texts: every one with every one, or the two of each row of a table."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.embedder import Embedded, Embedder
    from clipsearch.pairs_file import PairRow

# Rows of a table that are scored together: a picture in several of them is read once.
_ROWS = 1024


class Score(NamedTuple):
    """How similar a picture and a text are: their cosine, or the reason why there is none."""

    path: Path
    text: str
    score: float | None
    reason: str = ""


class ScoredRow(NamedTuple):
    """A row of a table as it was, with its score, or the reason why it has none."""

    cells: list[str]
    score: float | None
    reason: str = ""


def score_all(
    embedder: Embedder, texts: Sequence[str], paths: Iterable[Path], progress: Callable[[int], None]
) -> tuple[list[Score], list[Score]]:
    """Score every picture with every text.

    Args:
        embedder: Of the model.
        texts: Different ones.
        paths: Picture files.
        progress: Told of pictures done.

    Returns:
        Text by text the scores, best first, equal ones by path; and the pictures that cannot be read.
    """
    vectors = embedder.texts(texts)
    found: list[tuple[Path, NDArray[np.float32]]] = []
    refused: list[Score] = []
    for done, one in enumerate(embedder.pictures(paths), 1):
        if one.vector is None:
            refused.append(Score(one.path, "", None, one.reason))
        else:
            found.append((one.path, vectors @ one.vector))
        progress(done)
    scores: list[Score] = []
    for number, text in enumerate(texts):
        own = [Score(path, text, float(cosines[number])) for path, cosines in found]
        scores += sorted(own, key=lambda one: (-(one.score or 0.0), os.fsencode(one.path)))
    return scores, refused


def score_rows(
    embedder: Embedder, rows: Iterable[PairRow], progress: Callable[[int], None]
) -> Iterator[ScoredRow]:
    """Score the picture of each row of a table with its text, in order, a few hundred rows at a time.

    Args:
        embedder: Of the model.
        rows: Of a `PairsFile`.
        progress: Told of rows done.
    """
    waiting, done = iter(rows), 0
    while part := list(islice(waiting, _ROWS)):
        usable = [row for row in part if not row.lack]
        texts = list(dict.fromkeys(row.text for row in usable))
        vectors = dict(zip(texts, embedder.texts(texts), strict=True))
        pictures: dict[Path, Embedded] = {}
        for one in embedder.pictures(dict.fromkeys(row.path for row in usable)):
            progress(done + len(pictures))
            pictures[one.path] = one
        for row in part:
            if row.lack:
                yield ScoredRow(row.cells, None, row.lack)
                continue
            picture = pictures[row.path]
            cosine = None if picture.vector is None else float(vectors[row.text] @ picture.vector)
            yield ScoredRow(row.cells, cosine, picture.reason)
        done += len(part)
        progress(done)
