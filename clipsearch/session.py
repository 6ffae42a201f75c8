"""A library opened for questions: its catalog, model, vectors and encoders, each opened when first needed."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import zeroshot
from clipsearch.catalog.catalog import Catalog, nothing_indexed
from clipsearch.catalog.concepts import concept, concepts
from clipsearch.catalog.frames import answering, frames_of, shown
from clipsearch.catalog.scope import scope_of
from clipsearch.catalog.tags import unknown_tags
from clipsearch.concepts import MARK, check_name, unknown
from clipsearch.errors import ModelError, PhotoError, UsageError
from clipsearch.photos.extras import is_video
from clipsearch.photos.files import digest_of, read_bytes
from clipsearch.projection import Projection
from clipsearch.roots import absolute, is_offline
from clipsearch.strength import Gauge
from clipsearch.types import Match, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.concepts import Learned
    from clipsearch.catalog.scope import Scope
    from clipsearch.encoders import TextEncoder
    from clipsearch.encoders.shared import Encoders
    from clipsearch.photos.guarded import Decoder
    from clipsearch.types import Filters, Listeners, Model, Photo, Strength

# Of the answers in a row, so many that are no matches end the search for further ones.
_HOPELESS = 100


class Session:
    """What queries need, kept between them; sees what other processes commit meanwhile.

    Args:
        folder: The library's folder.
        listeners: For notices and downloads.
        on_model: Told which model answers.
        encoders: Other sessions' too.

    Raises:
        NoLibraryError: There is no library.
    """

    def __init__(
        self, folder: Path, listeners: Listeners, on_model: Callable[[Model], None], encoders: Encoders
    ) -> None:
        self._folder = folder
        self._listeners = listeners
        self._on_model = on_model
        self.catalog = Catalog(folder)
        self._projection: tuple[int, Projection] | None = None
        self._encoders = encoders
        self._decoder: Decoder | None = None

    def close(self) -> None:
        """Let go of the database and of decoders."""
        if self._decoder is not None:
            self._decoder.close()
        self.catalog.close()

    def model(self) -> tuple[int, Model]:
        """Id and identity of the library's model.

        Raises:
            NoLibraryError: Nothing has been embedded yet.
        """
        known = self.catalog.current_model()
        if known is None:
            raise nothing_indexed(self._folder)
        self._on_model(known[1])
        return known

    def vectors(self) -> Projection:
        """The embeddings, as of now: opened again when another connection has committed since."""
        catalog = self.catalog
        state = catalog.state()
        if self._projection is None or self._projection[0] != state:
            self._projection = (state, Projection(catalog, self._folder, *self.model(), self._listeners))
        return self._projection[1]

    def texts(self) -> TextEncoder:
        """The model's text encoder."""
        return self._encoders.texts(self.model()[1], self._listeners)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(n, dim)` unit embeddings of texts."""
        return self.texts().encode(texts)

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
            content: int | None = self.catalog.photo(int(term.value)).content
        else:
            content, data = self._named(term)
        key, _ = self.model()
        stored = None if content is None else self.catalog.vector(content, key)
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
        catalog = self.catalog
        if term.kind == "url":
            from clipsearch.photos.fetch import fetch_image

            data = fetch_image(term.value)
        else:
            path = absolute(term.value)
            try:
                if is_video(os.fsencode(path)):
                    return catalog.content_of(digest_of(os.fsencode(path))[0]), None
                data, _, _ = read_bytes(path)
            except FileNotFoundError:
                # On a drive that is unplugged now, its embedding is still here.
                content = catalog.content_at(path)
                if content is None:
                    raise UsageError(f"no such file: {path}", "check the spelling") from None
                return content, None
            except OSError as error:
                raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
            except PhotoError as error:
                raise PhotoError(f"{path}: {error.message}", error.hint) from error
        return catalog.content_of(hashlib.sha256(data).digest()), data

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

    def scope(self, filters: Filters) -> Scope:
        """Photos that may answer: within the filters, and of roots that can be reached now."""
        catalog = self.catalog
        roots = catalog.roots()
        offline = [root for root in roots if is_offline(catalog, root)]
        for root in offline:
            self._listeners.tell(
                f"{root.path} cannot be reached now; its photos are left out until it is back"
            )
        for sentence in unknown_tags(catalog, filters.tags):
            self._listeners.tell(sentence)
        return scope_of(filters, roots, offline)

    def newest(self, filters: Filters, limit: int, offset: int = 0) -> list[Photo]:
        """Photos that pass the filters, those taken last first, without the first `offset`."""
        _check_page(limit, offset)
        return self.catalog.newest(self.scope(filters), limit, offset)

    def rank(
        self,
        vector: NDArray[np.float32],
        gauge: Gauge | None,
        *,
        limit: int,
        offset: int = 0,
        filters: Filters,
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
            filters: Which may answer.
            min_score: The least cosine.
            only_matches: Leave out what is weak, and look no further after a hundred such in a row.
            leave_out: Contents that may not answer.
        """
        _check_page(limit, offset)
        catalog, vectors, end = self.catalog, self.vectors(), offset + limit
        scope = self.scope(filters)
        among = None if scope.everything else answering(catalog, scope)
        leave_out |= frozenset(frame for content in leave_out for frame in frames_of(catalog, content))
        floor = -np.inf if min_score is None else min_score
        ratings = _Ratings(gauge, catalog, self.model()[0])
        k = max(end, _HOPELESS if only_matches else 0) + len(leave_out)
        while True:
            ids, scores = vectors.search(vector, k, among)
            scored = {
                content: score
                for content, score in zip(ids.tolist(), scores.tolist(), strict=True)
                if score >= floor and content not in leave_out
            }
            is_hopeless = False
            if only_matches:
                weak = [strength == "weak" for strength, _ in ratings.of(list(scored))]
                is_hopeless = len(weak) >= _HOPELESS and all(weak[-_HOPELESS:])
                scored = {
                    content: score
                    for (content, score), left_out in zip(scored.items(), weak, strict=True)
                    if not left_out
                }
            photos = shown(catalog, list(scored), scope)
            # Contents whose photos are all gone are still among the vectors: look further for as many. And of
            # a video, only the best frame answers.
            enough = len({photo.id for held in photos.values() for photo in held}) >= end or is_hopeless
            if enough or len(ids) < k or scores[-1] < floor:
                break
            k *= 4
        ordered = sorted(
            ((scored[content], photo) for content, held in photos.items() for photo in held),
            key=lambda pair: (-pair[0], os.fsencode(pair[1].path)),
        )
        best: dict[int, tuple[float, Photo]] = {}
        for score, photo in ordered:
            best.setdefault(photo.id, (score, photo))
        found = list(best.values())[offset:end]
        rated = ratings.of([photo.content for _, photo in found])
        return [
            Match(rank, score, photo, *one)
            for rank, ((score, photo), one) in enumerate(zip(found, rated, strict=True), offset + 1)
        ]

    def stored_embeddings(self, filters: Filters) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Stored embeddings in blocks: a path and a row for each photo."""
        catalog, scope = self.catalog, self.scope(filters)
        for ids, rows in self.vectors().blocks():
            order = np.argsort(ids)
            ordered = ids[order]
            contents, paths = catalog.paths(int(ordered[0]), int(ordered[-1]), scope)
            places = np.searchsorted(ordered, contents)
            here = ordered[places] == contents
            if not here.all():  # contents of other blocks lie between those of this one
                paths = [path for path, is_here in zip(paths, here.tolist(), strict=True) if is_here]
            wanted = order[places[here]]
            # Nearly always every row, in order, and copying them takes a second for a million.
            yield paths, rows if np.array_equal(wanted, np.arange(len(rows))) else rows[wanted]

    def stored_photos(self, filters: Filters) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """Photos and their stored embeddings in blocks: one row for each photo."""
        catalog, scope = self.catalog, self.scope(filters)
        for ids, rows in self.vectors().blocks():
            held = catalog.photos(ids.tolist(), scope)
            photos = [photo for content in ids.tolist() for photo in held.get(content, ())]
            places = [place for place, content in enumerate(ids.tolist()) for _ in held.get(content, ())]
            yield photos, rows[places]

    def embeddings_of(self, paths: Sequence[Path | str]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Embeddings of named files, stored or made now; of several, bad ones are told and left out."""
        done = 0
        for path in _expand(paths):
            try:
                row = self.encode_picture(Term(str(path), 1.0, "image"))
            except (PhotoError, UsageError) as error:
                if len(paths) == 1 and not path.is_dir() and path == absolute(paths[0]):
                    raise
                self._listeners.tell(f"left out: {error.message}")
                continue
            done += 1
            yield [str(path)], row[None]
        if not done:
            raise PhotoError("none of these files could be read", "the lines above say why")


def _check_page(limit: int, offset: int) -> None:
    if limit < 1:
        raise UsageError(f"limit {limit}", "ask for at least 1")
    if offset < 0:
        raise UsageError(f"offset {offset}", "ask for at least 0")


class _Ratings:
    """How good matches each content is, from its vector in the catalog; each is rated once."""

    def __init__(self, gauge: Gauge | None, catalog: Catalog, key: int) -> None:
        self._gauge, self._catalog, self._key = gauge, catalog, key
        self._known: dict[int, tuple[Strength | None, float | None]] = {}

    def of(self, contents: Sequence[int]) -> list[tuple[Strength | None, float | None]]:
        """Strength and margin; None for both where there is no gauge, or the vector is damaged."""
        if self._gauge is not None:
            new = [content for content in dict.fromkeys(contents) if content not in self._known]
            stored = [(content, self._catalog.vector(content, self._key)) for content in new]
            vectors = {content: _unit(vector) for content, vector in stored if vector is not None}
            if vectors:
                rated = self._gauge.rate(np.stack(list(vectors.values())))
                self._known.update(zip(vectors, rated, strict=True))
        return [self._known.get(content, (None, None)) for content in contents]


def _unit(vector: NDArray[np.float16]) -> NDArray[np.float32]:
    """A stored vector at full precision; float16 has rounded its length by up to 1e-3."""
    wide = vector.astype(np.float32)
    return wide / np.linalg.norm(wide)


def _expand(paths: Sequence[Path | str]) -> Iterator[Path]:
    """The picture files that files and folders name."""
    from clipsearch.photos.scan import FoundFile, scan

    for path in map(absolute, paths):
        if path.is_dir():
            for item in scan(path):
                if isinstance(item, FoundFile):
                    yield path / os.fsdecode(item.path)
        else:
            yield path
