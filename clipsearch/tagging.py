"""Runs of `tag`: words held against the stored vectors of photos, a batch at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog import tags
from clipsearch.tagger import BUILTIN, builtin_vocabulary, read_vocabulary, tagger
from clipsearch.types import TaggedPhoto, TagReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope
    from clipsearch.session import Session
    from clipsearch.tagger import Tagger

    # What is being done, of what, how many so far, of how many.
    Progress = Callable[[str, str, int, int], None]
    Choice = tuple[list[int], list[list[tuple[str, float]]]]

# Photos held against the words at a time, in one transaction: 4 MB for a thousand words and 1,000 photos.
_BATCH = 4096
_LISTED = 1000  # photos read from the catalog at a time, to list or to write


def chosen_words(catalog: Catalog, asked: Path | str | None) -> tuple[str, ...]:
    """The words to choose from: those asked for, else those of the run before; empty for the built-in ones.

    Raises:
        UsageError: The file that was asked for is no list of words.
    """
    if asked is None:
        return tags.vocabulary(catalog)
    from pathlib import Path

    return () if str(asked) == BUILTIN else read_vocabulary(Path(asked))


def tag(
    session: Session,
    catalog: Catalog,
    scope: Scope,
    *,
    vocabulary: Path | str | None,
    again: bool,
    progress: Progress,
) -> TagReport:
    """Tag what has no tags yet, and record it, a transaction a batch. The caller holds the writer's lock.

    Args:
        session: Gives the vectors and the text encoder.
        catalog: Opened for writing.
        scope: Which photos.
        vocabulary: See `chosen_words`; other words than before mean that all photos are tagged anew.
        again: Tag those that have tags, too.
        progress: Told how far it is.
    """
    started = time.monotonic()
    own = chosen_words(catalog, vocabulary)
    if own != tags.vocabulary(catalog):
        tags.set_vocabulary(catalog, own)
    if again:
        tags.look_again(catalog, scope)
    wanted = tags.untagged(catalog, scope)
    looked_at = tagged = given = words = unknown = 0
    if len(wanted):
        judge = _tagger(session, own, progress)
        words, unknown = len(judge.labels) + judge.unknown, judge.unknown
        for contents, chosen in _chosen(session, wanted, judge, progress):
            tags.record_tags(catalog, session.model()[0], contents, chosen)
            looked_at += len(contents)
            tagged += sum(map(bool, chosen))
            given += sum(map(len, chosen))
    return TagReport(looked_at, tagged, given, words, unknown, time.monotonic() - started)


def preview(
    session: Session, scope: Scope, *, vocabulary: Path | str | None, again: bool, progress: Progress
) -> Iterator[TaggedPhoto]:
    """What `tag` would say of each photo, nothing being recorded."""
    catalog = session.catalog
    own = chosen_words(catalog, vocabulary)
    anew = again or own != tags.vocabulary(catalog)
    wanted = catalog.contents(scope) if anew else tags.untagged(catalog, scope)
    if not len(wanted):
        return
    for contents, chosen in _chosen(session, wanted, _tagger(session, own, progress), progress):
        names = {
            content: tuple(name for name, _ in tags)
            for content, tags in zip(contents, chosen, strict=True)
            if tags
        }
        yield from _photos(catalog, names, scope)


def tagged_photos(catalog: Catalog, scope: Scope) -> Iterator[TaggedPhoto]:
    """Every photo that has tags, with them."""
    bearing = tags.bearing_tags(catalog, scope)
    for start in range(0, len(bearing), _LISTED):
        yield from _photos(catalog, tags.tags_of(catalog, bearing[start : start + _LISTED].tolist()), scope)


def _photos(catalog: Catalog, names: dict[int, tuple[str, ...]], scope: Scope) -> Iterator[TaggedPhoto]:
    held = catalog.photos(list(names), scope)
    for content, words in names.items():
        for photo in held.get(content, ()):
            yield TaggedPhoto(photo.path, words)


def chosen_tags(session: Session, wanted: NDArray[np.int64], progress: Progress) -> Iterator[Choice]:
    """What may be said of contents with the words that `tag` chooses from, a batch at a time."""
    judge = _tagger(session, tags.vocabulary(session.catalog), progress)
    return _chosen(session, wanted, judge, progress)


def _tagger(session: Session, own: Sequence[str], progress: Progress) -> Tagger:
    return tagger(
        own or builtin_vocabulary(),
        session.texts(),
        lambda done, total: progress("reading the words", "words", done, total),
    )


def _chosen(
    session: Session, wanted: NDArray[np.int64], judge: Tagger, progress: Progress
) -> Iterator[Choice]:
    """Contents, a batch at a time, and what may be said of each."""
    done = 0
    for ids, rows in session.vectors().blocks():
        places = np.flatnonzero(np.isin(ids, wanted))
        for start in range(0, len(places), _BATCH):
            batch = places[start : start + _BATCH]
            progress("tagging", "photos", done, len(wanted))
            yield ids[batch].tolist(), judge.choose(rows[batch])
            done += len(batch)
    progress("tagging", "photos", done, len(wanted))
