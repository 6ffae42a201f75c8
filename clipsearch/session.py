"""A library opened for questions: what it holds, and the encoders that a query needs."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, cast

import numpy as np

from clipsearch import zeroshot
from clipsearch.address import folder_of
from clipsearch.catalog.concepts import concept, concepts
from clipsearch.concepts import unknown
from clipsearch.encoders.scripts import advice
from clipsearch.errors import ModelError, PhotoError, UsageError
from clipsearch.holdings import open_holdings
from clipsearch.photos.extras import is_video
from clipsearch.photos.files import digest_of, read_bytes
from clipsearch.roots import absolute
from clipsearch.rows import row_of
from clipsearch.strength import Gauge
from clipsearch.terms import MARK, check_name
from clipsearch.types import Match, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.concepts import Learned
    from clipsearch.catalog.scope import Scope
    from clipsearch.encoders import TextEncoder
    from clipsearch.encoders.shared import Encoders
    from clipsearch.holdings import Holdings, Selection
    from clipsearch.local import LocalHoldings
    from clipsearch.photos.guarded import Decoder
    from clipsearch.projection import Projection
    from clipsearch.rows import Row
    from clipsearch.types import Filters, Listeners, Model, Photo, Strength

# Of the answers in a row, so many that are no matches end the search for further ones.
_HOPELESS = 100


class Session:
    """What queries need, kept between them; sees what other processes commit meanwhile.

    Args:
        place: The library's folder, or the address of its collection.
        listeners: For notices and downloads.
        on_model: Told which model answers.
        encoders: Other sessions' too.
        model: Name of the model that answers; None for the library's default one.

    Raises:
        NoLibraryError: There is no library.
        UsageError: It is a collection, which has no models to choose from.
    """

    def __init__(
        self,
        place: Path | Address,
        listeners: Listeners,
        on_model: Callable[[Model], None],
        encoders: Encoders,
        model: str | None = None,
    ) -> None:
        self._place = place
        self._listeners = listeners
        self._on_model = on_model
        self.held: Holdings = open_holdings(place, listeners, model)
        self._encoders = encoders
        self._decoder: Decoder | None = None

    def close(self) -> None:
        """Let go of what is held and of decoders."""
        if self._decoder is not None:
            self._decoder.close()
        self.held.close()

    @property
    def local(self) -> LocalHoldings:
        """What is held in a folder, for all that works there only.

        Raises:
            UsageError: The library is a collection.
        """
        folder_of(self._place)
        return cast("LocalHoldings", self.held)

    @property
    def catalog(self) -> Catalog:
        """See `local`."""
        return self.local.catalog

    def vectors(self) -> Projection:
        """See `local`."""
        return self.local.vectors()

    def scope(self, filters: Filters) -> Scope:
        """See `local`."""
        return self.local.scope(filters)

    def model(self) -> tuple[int, Model]:
        """Id and identity of the library's model.

        Raises:
            NoLibraryError: Nothing has been embedded yet.
        """
        known = self.held.model()
        self._on_model(known[1])
        return known

    def texts(self) -> TextEncoder:
        """The model's text encoder."""
        return self._encoders.texts(self.model()[1], self._listeners)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(n, dim)` unit embeddings of texts."""
        self._advise(texts)
        return self.texts().encode(texts)

    def _advise(self, texts: Sequence[str]) -> None:
        """Tell where texts are in a script that the model does not know."""
        if sentence := advice(texts, self.model()[1].source):
            self._listeners.tell(sentence)

    def prompts(self, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        """`(prompts, dim)` unit embeddings of the generic prompts; see `Encoders.prompts`."""
        return self._encoders.prompts(self.model()[1], self._listeners, progress)

    def gauge(self, terms: Sequence[Term], rows: NDArray[np.float32], *, needed: bool) -> Gauge | None:
        """What tells how good the matches of a query are.

        Args:
            terms: The query's.
            rows: Their embeddings.
            needed: Whether there is no answer without it.

        Returns:
            None where that takes a model that cannot be had now.
        """
        try:
            return Gauge(terms, rows, self.prompts())
        except ModelError as error:
            if needed:
                raise
            self._listeners.tell(f"how good these matches are cannot be told now: {error.message}")
            return None

    def encode_picture(self, term: Term) -> NDArray[np.float32]:
        """`(dim,)` unit embedding of a picture in a query; or of a concept, as long as weighs like a text."""
        if term.kind == "concept":
            learned = self.concept(term.value)
            return learned.vector * np.float32(learned.slope)
        return self.picture(term)[1]

    def concept(self, name: str) -> Learned:
        """What was learned of a concept.

        Raises:
            UsageError: No concept has this name.
        """
        key, _ = self.model()
        learned = concept(self.catalog, key, name)
        if learned is None:
            raise unknown(name, [one.name for one in concepts(self.catalog, key)])
        return learned

    def labels(
        self, labels: Sequence[str], templates: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`(labels, dim)` rows and `(labels,)` offsets: what a photo's cosine with each label comes from.

        Texts are unit vectors without an offset; `@name` is a concept, `@@name` the text.
        """
        taught = [label.startswith(MARK) and not label.startswith(MARK * 2) for label in labels]
        pairs = zip(labels, taught, strict=True)
        texts = [label.removeprefix(MARK) for label, is_taught in pairs if not is_taught]
        rows = np.empty((len(labels), self.model()[1].dim), np.float32)
        offsets = np.zeros(len(labels), np.float32)
        if texts:
            self._advise(texts)
            rows[~np.array(taught)] = zeroshot.label_vectors(texts, templates, self.texts())
        for place in np.flatnonzero(taught).tolist():
            learned = self.concept(check_name(labels[place]))
            rows[place], offsets[place] = learned.vector * np.float32(learned.slope), learned.offset
        return rows, offsets

    def picture(self, term: Term) -> tuple[int | None, NDArray[np.float32]]:
        """Content id (None when not indexed) and `(dim,)` unit embedding of a picture in a query."""
        if term.vector is not None:
            return None, term.vector
        data = None
        if term.kind == "photo":
            content: int | None = self.held.photo(int(term.value)).content
        else:
            content, data = self._named(term)
        self.model()
        stored = None if content is None else self.held.vector(content)
        if stored is not None:
            return content, _unit(stored)
        if data is None and term.kind == "image" and is_video(os.fsencode(term.value)):
            return content, self._embed_video(absolute(term.value))
        if data is None:
            raise PhotoError(f"{term.value}: it is not embedded yet", "index its folder again")
        try:
            return content, self.embed(data)
        except PhotoError as error:
            raise PhotoError(f"{term.value}: {error.message}", error.hint) from error

    def _named(self, term: Term) -> tuple[int | None, bytes | None]:
        """Content id and bytes of the file or URL that a term names."""
        if term.kind == "url":
            from clipsearch.photos.fetch import fetch_image

            data = fetch_image(term.value)
        else:
            path = absolute(term.value)
            try:
                if is_video(os.fsencode(path)):
                    return self.held.content_of(digest_of(path)[0]), None
                data, _, _ = read_bytes(path)
            except FileNotFoundError:
                # On a drive that is unplugged now, its embedding is still here.
                known = self.held.photo_at(path)
                if known is None:
                    raise UsageError(f"no such file: {path}", "check the spelling") from None
                return known.content, None
            except OSError as error:
                raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
            except PhotoError as error:
                raise PhotoError(f"{path}: {error.message}", error.hint) from error
        return self.held.content_of(hashlib.sha256(data).digest()), data

    def _embed_video(self, path: Path) -> NDArray[np.float32]:
        """`(dim,)` unit embedding of the first frame of a video that shows something."""
        _, model = self.model()
        try:
            pixels = self._guarded().film(os.fsencode(path), model.preprocessing).pixels[0]
        except PhotoError as error:
            raise PhotoError(f"{path}: {error.message}", error.hint) from error
        return self._encoders.encode_image(pixels, model, self._listeners)

    def _guarded(self) -> Decoder:
        from clipsearch.photos.guarded import Decoder

        self._decoder = self._decoder or Decoder()
        return self._decoder

    def embed(self, data: bytes) -> NDArray[np.float32]:
        """`(dim,)` unit embedding of the bytes of a picture.

        Raises:
            PhotoError: It is none that can be read.
        """
        _, model = self.model()
        pixels = self._guarded().decode(data, model.preprocessing).pixels
        return self._encoders.encode_image(pixels, model, self._listeners)

    def newest(self, filters: Filters, limit: int, offset: int = 0) -> list[Photo]:
        """Photos that pass the filters, without the first `offset`.

        Those taken last come first; or, where words are asked for, those that they fit best.
        """
        check_page(limit, offset)
        return self.held.within(filters).newest(limit, offset)

    def rank(
        self,
        vector: NDArray[np.float32],
        gauge: Gauge | None,
        *,
        limit: int,
        offset: int = 0,
        selection: Selection,
        min_score: float | None,
        only_matches: bool = False,
        leave_out: frozenset[int] = frozenset(),
    ) -> list[Match]:
        """The photos nearest to a unit vector, best first, equal ones by path.

        Args:
            vector: The query.
            gauge: Tells how good a match is.
            limit: At most this many.
            offset: Leave out so many of the best.
            selection: Which may answer.
            min_score: The least cosine.
            only_matches: Leave out what is weak, and look no further after a hundred such in a row.
            leave_out: Contents that may not answer.
        """
        check_page(limit, offset)
        end = offset + limit
        leave_out = frozenset(part for content in leave_out for part in self.held.parts_of(content))
        floor = -np.inf if min_score is None else min_score
        ratings = _Ratings(gauge, self.held)
        k = max(end, _HOPELESS if only_matches else 0) + len(leave_out)
        while True:
            nearest = selection.nearest(vector, k)
            found = [
                (score, photo)
                for score, photo in nearest.photos
                if score >= floor and photo.content not in leave_out
            ]
            is_hopeless = False
            if only_matches:
                rated = {photo.content: photo for _, photo in found}
                weak = [strength == "weak" for strength, _ in ratings.of(list(rated.values()))]
                is_hopeless = len(weak) >= _HOPELESS and all(weak[-_HOPELESS:])
                matching = {content for content, is_weak in zip(rated, weak, strict=True) if not is_weak}
                found = [(score, photo) for score, photo in found if photo.content in matching]
            if len(found) >= end or is_hopeless or nearest.whole or nearest.last < floor:
                break
            k *= 4
        page = sorted(found, key=lambda pair: (-pair[0], os.fsencode(pair[1].path)))[offset:end]
        strengths = ratings.of([photo for _, photo in page])
        return [
            Match(rank, score, photo, *one)
            for rank, ((score, photo), one) in enumerate(zip(page, strengths, strict=True), offset + 1)
        ]

    def judge(
        self, contents: Sequence[int], vector: NDArray[np.float32], gauge: Gauge | None, scope: Scope
    ) -> list[Match]:
        """Contents as matches of a unit vector, in no order: the photos within `scope` that have a vector."""
        held = self.catalog.photos(contents, scope)
        vectors = self.held.vectors_of([photo for copies in held.values() for photo in copies])
        photos = [photo for content in vectors for photo in held[content]]
        return [
            Match(0, float(_unit(vectors[photo.content]) @ vector), photo, *rating)
            for photo, rating in zip(photos, _Ratings(gauge, self.held).of(photos), strict=True)
        ]

    def stored_embeddings(
        self, filters: Filters
    ) -> Iterator[tuple[list[int], list[str], NDArray[np.float32]]]:
        """Stored embeddings in blocks: an id, a path and a row for each photo."""
        self.model()
        return self.held.within(filters).embeddings()

    def stored_photos(self, filters: Filters) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """Photos and their stored embeddings in blocks: one row for each photo."""
        self.model()
        return self.held.within(filters).photos()

    def rows(self, filters: Filters) -> Iterator[tuple[list[Row], NDArray[np.float16]]]:
        """As `stored_photos`, each photo as a row of a table; videos, which need several, left out."""
        videos = 0
        for photos, vectors in self.stored_photos(filters):
            places = [place for place, photo in enumerate(photos) if not is_video(os.fsencode(photo.path))]
            videos += len(photos) - len(places)
            stills = [photos[place] for place in places]
            digests = self.held.digests(stills)
            yield (
                [row_of(photo, digests[photo.content]) for photo in stills],
                vectors[places].astype(np.float16),
            )
        if videos:
            files = "video" if videos == 1 else "videos"
            self._listeners.tell(f"{videos:,} {files} left out: such tables hold pictures")

    def embeddings_of(
        self, paths: Sequence[Path | str]
    ) -> Iterator[tuple[list[None], list[str], NDArray[np.float32]]]:
        """Embeddings of named files, stored or made now; of several, bad ones are told and left out."""
        done = 0
        for path in picture_files(paths):
            try:
                row = self.encode_picture(Term(str(path), 1.0, "image"))
            except (PhotoError, UsageError) as error:
                if len(paths) == 1 and not path.is_dir() and path == absolute(paths[0]):
                    raise
                self._listeners.tell(f"left out: {error.message}")
                continue
            done += 1
            yield [None], [str(path)], row[None]
        if not done:
            raise PhotoError("none of these files could be read", "the lines above say why")


def check_page(limit: int, offset: int) -> None:
    """Refuse pages that there cannot be.

    Raises:
        UsageError: They are none.
    """
    if limit < 1:
        raise UsageError(f"limit {limit}", "ask for at least 1")
    if offset < 0:
        raise UsageError(f"offset {offset}", "ask for at least 0")


class _Ratings:
    """How good matches photos are, from their stored vectors; each content is rated once."""

    def __init__(self, gauge: Gauge | None, held: Holdings) -> None:
        self._gauge, self._held = gauge, held
        self._known: dict[int, tuple[Strength | None, float | None]] = {}

    def of(self, photos: Sequence[Photo]) -> list[tuple[Strength | None, float | None]]:
        """Strength and margin; None for both where there is no gauge, or the vector is damaged."""
        if self._gauge is not None:
            new = {photo.content: photo for photo in photos if photo.content not in self._known}
            vectors = self._held.vectors_of(list(new.values()))
            if vectors:
                rated = self._gauge.rate(_units(np.stack(list(vectors.values()))))
                self._known.update(zip(vectors, rated, strict=True))
        return [self._known.get(photo.content, (None, None)) for photo in photos]


def _unit(vector: NDArray[np.float16]) -> NDArray[np.float32]:
    """A stored vector at full precision."""
    unit: NDArray[np.float32] = _units(vector[None])[0]
    return unit


def _units(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    """`(n, dim)` stored vectors at full precision; float16 has rounded their lengths by up to 1e-3."""
    wide = vectors.astype(np.float32)
    units: NDArray[np.float32] = wide / np.sqrt(np.vecdot(wide, wide))[:, None]
    return units


def picture_files(paths: Sequence[Path | str]) -> Iterator[Path]:
    """The picture files that files and folders name."""
    from clipsearch.photos.scan import FoundFile, scan

    for path in map(absolute, paths):
        if path.is_dir():
            for item in scan(path):
                if isinstance(item, FoundFile):
                    yield path / os.fsdecode(item.path)
        else:
            yield path
