"""Runs of `caption` and `ocr`: photos looked at, and what is written of them kept, a batch at a time."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clipsearch import tagging
from clipsearch.catalog import texts
from clipsearch.catalog.likenesses import digests
from clipsearch.errors import PhotoError
from clipsearch.machine import usable_cores
from clipsearch.ocr import LONGEST, WordReader
from clipsearch.photos.files import read_bytes
from clipsearch.photos.guarded import Decoder
from clipsearch.session import check_page
from clipsearch.types import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope
    from clipsearch.encoders.captioner import CocaCaptioner
    from clipsearch.local import LocalSelection
    from clipsearch.session import Session
    from clipsearch.strength import Gauge
    from clipsearch.types import Listeners, Photo

    # What is being done, of what, how many so far, of how many.
    Progress = Callable[[str, str, int, int], None]

TAGS = "tags"
"""Names the captions that are made of the best tags."""
# Photos of which what was written is committed together: what a kill may lose.
_READ = 8
# Photos that a blended ranking looks at, at least: so many by their pictures, so many by their texts.
_POOL = 200


@dataclass(frozen=True, slots=True)
class TextReport:
    """What a run did.

    Attributes:
        looked_at: Contents; exact copies count once.
        written: Those of which there is something to say.
        left_out: Those that could not be read, or have changed since they were indexed.
        seconds: Wall clock.
    """

    looked_at: int
    written: int
    left_out: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PhotoText:
    """A photo, what was written of it, and by whom."""

    path: Path
    text: str
    author: str


class Author(Protocol):
    """Who writes of photos.

    Attributes:
        name: Kept with the texts.
        batch: Photos at a time.
    """

    name: str
    batch: int

    def open(self, data: bytes, decoder: Decoder) -> Any:
        """What there is to look at, of the bytes of a picture."""
        ...

    def write(self, pictures: Sequence[Any]) -> list[str | None]:
        """A text for each; None for one that cannot be looked at after all."""
        ...


class CaptionAuthor:
    """Captions by a model. An `Author`."""

    def __init__(self, captioner: CocaCaptioner) -> None:
        self.name, self.batch = captioner.name, captioner.batch_size
        self._captioner = captioner

    def open(self, data: bytes, decoder: Decoder) -> NDArray[np.uint8]:
        """See `Author`."""
        return decoder.decode(data, self._captioner.preprocessing).pixels

    def write(self, pictures: Sequence[NDArray[np.uint8]]) -> list[str | None]:
        """See `Author`."""
        return list(self._captioner.write(np.stack(pictures)))


class WordAuthor:
    """Words in pictures. An `Author`."""

    def __init__(self, reader: WordReader) -> None:
        self.name, self.batch = reader.name, _READ
        self._reader = reader

    def open(self, data: bytes, decoder: Decoder) -> Any:
        """See `Author`."""
        return decoder.open_upright(data, at_least=LONGEST)

    def write(self, pictures: Sequence[Any]) -> list[str | None]:
        """See `Author`."""
        return [self._words(picture) for picture in pictures]

    def _words(self, picture: Any) -> str | None:
        try:
            return self._reader.read(picture)
        except PhotoError:
            return None


def write(
    catalog: Catalog,
    kind: texts.Kind,
    author: Author,
    scope: Scope,
    *,
    again: bool,
    listeners: Listeners,
    progress: Progress,
) -> TextReport:
    """Have an author write of the photos of which it has not yet; interrupted, what is committed is kept.

    Args:
        catalog: Opened for writing. Others may write to it meanwhile.
        kind: Of the texts.
        author: Looks at the photos.
        scope: Which photos.
        again: Look at those again of which it has written.
        listeners: Told what was left out.
        progress: Told how far it is.
    """
    started = time.monotonic()
    if again:
        texts.write_again(catalog, kind, scope)
    wanted = texts.unwritten(catalog, kind, author.name, scope).tolist()
    looked_at = written = 0
    title = "reading words" if kind == "words" else "captioning"
    with Decoder() as decoder, ThreadPoolExecutor(usable_cores(), thread_name_prefix="look") as pool:
        for start in range(0, len(wanted), author.batch):
            progress(title, "photos", start, len(wanted))
            part = wanted[start : start + author.batch]
            held, sums = catalog.photos(part, scope), digests(catalog, part)
            opened = pool.map(
                lambda content, held=held, sums=sums: _open(
                    held.get(content, ()), sums.get(content), author, decoder
                ),
                part,
            )
            there = [(content, one) for content, one in zip(part, opened, strict=True) if one is not None]
            said = author.write([one for _, one in there]) if there else []
            found = [
                (content, sums[content], text)
                for (content, _), text in zip(there, said, strict=True)
                if text is not None
            ]
            texts.record_texts(catalog, kind, author.name, found)
            looked_at += len(found)
            written += sum(bool(text) for _, _, text in found)
    left_out = len(wanted) - looked_at
    if left_out:
        listeners.tell(
            f"{left_out:,} photos cannot be read or have changed since they were indexed, and were left out;"
            " bring the library up to date: clipsearch index"
        )
    return TextReport(looked_at, written, left_out, time.monotonic() - started)


def _open(held: Sequence[Photo], digest: bytes | None, author: Author, decoder: Decoder) -> Any:
    """The first copy that can be read and has the bytes that were indexed."""
    for photo in held:
        try:
            data, _, _ = read_bytes(photo.path)
            if hashlib.sha256(data).digest() == digest:
                return author.open(data, decoder)
        except (OSError, PhotoError):
            continue
    return None


def write_of_tags(
    session: Session, catalog: Catalog, scope: Scope, *, again: bool, progress: Progress
) -> TextReport:
    """Captions of the words that fit best, from stored embeddings: `dog, beach and sand`.

    Args:
        session: Gives the vectors and the text encoder.
        catalog: Opened for writing.
        scope: Which photos.
        again: Write of those again of which there is one.
        progress: Told how far it is.
    """
    started = time.monotonic()
    if again:
        texts.write_again(catalog, "caption", scope)
    wanted = texts.unwritten(catalog, "caption", TAGS, scope)
    looked_at = written = 0
    for contents, chosen in tagging.chosen_tags(session, wanted, progress) if len(wanted) else ():
        sums = digests(catalog, contents)
        said = [_sentence([name for name, _ in tags]) for tags in chosen]
        found = [
            (content, sums[content], text)
            for content, text in zip(contents, said, strict=True)
            if content in sums
        ]
        texts.record_texts(catalog, "caption", TAGS, found)
        looked_at += len(found)
        written += sum(bool(text) for _, _, text in found)
    return TextReport(looked_at, written, len(wanted) - looked_at, time.monotonic() - started)


def _sentence(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def photo_texts(catalog: Catalog, kind: texts.Kind, scope: Scope) -> Iterator[PhotoText]:
    """Every photo of which something was written, with that."""
    bearing = texts.bearing_texts(catalog, kind, scope)
    for start in range(0, len(bearing), 1000):
        part = bearing[start : start + 1000]
        found, held = texts.texts_of(catalog, kind, part), catalog.photos(part, scope)
        for content, (text, author) in found.items():
            for photo in held.get(content, ()):
                yield PhotoText(photo.path, text, author)


def blended(
    session: Session,
    vector: NDArray[np.float32],
    gauge: Gauge | None,
    words: str,
    weight: float,
    *,
    limit: int,
    offset: int,
    selection: LocalSelection,
    only_matches: bool,
) -> list[Match]:
    """Photos ranked by picture and text together.

    `(1 - weight) * picture + weight * text`: the cosine, from 0 for the lowest to 1 for the highest of the
    photos looked at, and the BM25 of the texts by that of the best; 0 where no word is there. A convex
    combination of scores brought to one scale, as in Bruch et al. 2023, "An Analysis of Fusion Functions for
    Hybrid Retrieval". Looked at are the best by picture and the best by text.

    Args:
        session: Of the library.
        vector: The query.
        gauge: Tells how good a match is.
        words: Looked for in texts, any of them.
        weight: Of the texts, 0 to 1.
        limit: At most this many.
        offset: Leave out so many of the best.
        selection: Which may answer.
        only_matches: Leave out what is weak, unless a word is there.

    Raises:
        UsageError: No such page, or no word to look for.
    """
    check_page(limit, offset)
    depth = max(_POOL, 2 * (offset + limit))
    scope = selection.scope
    pool = session.rank(
        vector, gauge, limit=depth, selection=selection, min_score=None, only_matches=only_matches
    )
    fits = texts.ranked(session.catalog, texts.any_of(words), scope, depth)
    known = {match.photo.content for match in pool}
    pool += session.judge([content for content in fits if content not in known], vector, gauge, scope)
    if not pool:
        return []
    cosines = np.array([match.score or 0.0 for match in pool])
    bm25 = np.array([fits.get(match.photo.content, 0.0) for match in pool])
    spread = float(np.ptp(cosines))
    picture = (cosines - cosines.min()) / spread if spread else np.ones(len(pool))
    text = bm25 / max(bm25.max(), 1e-9)
    scores = (1 - weight) * picture + weight * text
    order = sorted(range(len(pool)), key=lambda place: (-scores[place], os.fsencode(pool[place].path)))
    return [
        Match(rank, float(scores[place]), pool[place].photo, pool[place].strength, pool[place].margin)
        for rank, place in enumerate(order[offset : offset + limit], offset + 1)
    ]
