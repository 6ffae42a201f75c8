"""Runs of `concept learn`: photos shown, what they share, and how much that counts beside words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch import concepts as directions
from clipsearch import zeroshot
from clipsearch.catalog.concepts import Learned, record_concept
from clipsearch.errors import UsageError
from clipsearch.roots import absolute
from clipsearch.tagger import builtin_vocabulary
from clipsearch.terms import check_name
from clipsearch.types import Filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.session import Session

    # What is being done, of what, how many so far, of how many.
    Progress = Callable[[str, str, int, int], None]

# Texts and photos by which it is known how high cosines are under a model: every eighth of the built-in
# words, and the first photos of a library.
_EVERY = 8
_PHOTOS = 4096


def learn(
    session: Session,
    catalog: Catalog,
    typed: str,
    like: Sequence[Path | str],
    unlike: Sequence[Path | str],
    *,
    progress: Progress,
) -> tuple[str, bool]:
    """Learn a concept and keep it; returns its name, and whether it is new.

    Raises:
        UsageError: The name is none, there is nothing to learn from, or nothing to be learned.
        PhotoError: None of the files can be read.
    """
    name = check_name(typed)
    if not like:
        raise UsageError("nothing to learn from", f"show it: clipsearch concept learn {name} --like DIR")
    key, model = session.model()
    liked = _shown(session, like, progress)
    unliked = _shown(session, unlike, progress) if unlike else np.empty((0, model.dim), np.float32)
    total, done = len(session.vectors()), 0

    def rows() -> Iterator[NDArray[np.float32]]:
        nonlocal done
        for _, block in session.vectors().blocks():
            progress("looking at the library", "photos", done, total)
            yield block
            done += len(block)

    mean, covariance = directions.spread(rows(), model.dim)
    found = directions.learn(liked, unliked, mean, covariance)
    usual, high = _cosines(session)
    slope = (high - usual) / (found.shown - found.usual)
    learned = Learned(found.vector, slope, usual - slope * found.usual)
    replaced = record_concept(catalog, key, name, learned, liked=len(liked), unliked=len(unliked))
    return name, not replaced


def _shown(session: Session, paths: Sequence[Path | str], progress: Progress) -> NDArray[np.float32]:
    """Embeddings of files and folders; those of folders that are indexed as the library has them."""
    parts: list[NDArray[np.float32]] = []
    done = 0
    for path in map(absolute, paths):
        stored = session.stored_embeddings(Filters(inside=path)) if path.is_dir() else ()
        found = [rows for *_, rows in stored if len(rows)]
        for rows in found or (row for *_, row in session.embeddings_of([path])):
            parts.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
            done += len(rows)
            progress("looking at examples", "photos", done, 0)
    return np.concatenate(parts)


def _cosines(session: Session) -> tuple[float, float]:
    """Under this model, the cosine of any word and any photo, and of a photo and the word that fits best."""
    words = zeroshot.label_vectors(
        builtin_vocabulary()[::_EVERY], zeroshot.DEFAULT_TEMPLATES, session.texts()
    )
    _, rows = next(iter(session.vectors().blocks()))
    cosines = rows[:_PHOTOS] @ words.T
    return float(cosines.mean()), float(cosines.max(axis=1).mean())
