"""A library in a folder: its catalog, and its vectors, opened when first needed."""

from __future__ import annotations

from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import vector_files
from clipsearch.catalog import overview, schema
from clipsearch.catalog.catalog import FILE_NAME, Catalog, nothing_indexed
from clipsearch.catalog.frames import answering, count_videos, frames_of, shown
from clipsearch.catalog.likenesses import digests
from clipsearch.catalog.models import count_missing, is_alone
from clipsearch.catalog.scope import scope_of
from clipsearch.catalog.tags import unknown_tags
from clipsearch.catalog.texts import all_of, has_texts, ranked
from clipsearch.holdings import Nearest
from clipsearch.lock import writer_lock
from clipsearch.projection import Projection
from clipsearch.roots import is_offline, root_at
from clipsearch.several import find, library_models, option_of
from clipsearch.types import LibraryStatus, RootStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.catalog.scope import Scope
    from clipsearch.types import Filters, FolderCount, Listeners, Model, MonthCount, Photo, SkippedFile


class LocalHoldings:
    """See `Holdings`. It sees what other processes commit meanwhile.

    Args:
        folder: The library's.
        listeners: For notices.
        model: Name of the model that answers; None for the library's default one.

    Raises:
        NoLibraryError: There is no library.
    """

    def __init__(self, folder: Path, listeners: Listeners, model: str | None = None) -> None:
        self._folder = folder
        self._listeners = listeners
        self.catalog = Catalog(folder)
        self._name = model
        self._model: tuple[int, Model] | None = None
        self._renewed = self.catalog.state()
        self._projection: tuple[int, Projection] | None = None
        self._told_missing = False

    def close(self) -> None:
        """Let go of the database."""
        self.catalog.close()

    def model(self) -> tuple[int, Model]:
        """See `Holdings.model`."""
        if self._model is None:
            self._model = self._chosen()
        return self._model

    def _chosen(self) -> tuple[int, Model]:
        known = self.catalog.current_model()
        if known is None:
            raise nothing_indexed(self._folder)
        if self._name is None:
            return known
        return find(self.catalog, self._name)

    def renew(self) -> None:
        """See `Holdings.renew`: another process may have chosen another model."""
        state = self.catalog.state()
        if state != self._renewed:
            self._renewed, self._model = state, None

    def tell_again(self) -> None:
        """See `Holdings.tell_again`: embeddings that are damaged are opened anew."""
        self._told_missing = False
        if self._projection is not None and self._projection[1].is_damaged:
            self._projection = None

    def vectors(self) -> Projection:
        """The embeddings, as of now: opened again when another connection has committed since."""
        catalog = self.catalog
        state = catalog.state()
        if self._projection is None or self._projection[0] != state:
            self._projection = (state, Projection(catalog, self._folder, *self.model(), self._listeners))
        self._tell_missing()
        return self._projection[1]

    def _tell_missing(self) -> None:
        """Say once how many photos the model cannot find."""
        if self._told_missing or is_alone(self.catalog):
            return
        self._told_missing = True
        key, model = self.model()
        if missing := count_missing(self.catalog, key):
            self._listeners.tell(
                f"{missing:,} of {self.catalog.count_photos():,} photos are left out, which {model.source}"
                f" has not embedded yet: clipsearch index{option_of(model.source)}"
            )

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
        if filters.text is not None and not has_texts(catalog):
            self._listeners.tell("no photo has a caption or words yet: clipsearch caption, clipsearch ocr")
        return scope_of(filters, roots, offline)

    def within(self, filters: Filters) -> LocalSelection:
        """See `Holdings.within`."""
        return LocalSelection(self, self.scope(filters), filters.text)

    def photo(self, key: int) -> Photo:
        """See `Holdings.photo`."""
        return self.catalog.photo(key)

    def content_of(self, digest: bytes) -> int | None:
        """See `Holdings.content_of`."""
        return self.catalog.content_of(digest)

    def photo_at(self, path: Path) -> Photo | None:
        """See `Holdings.photo_at`."""
        return self.catalog.photo_at(path)

    def parts_of(self, content: int) -> list[int]:
        """See `Holdings.parts_of`."""
        return frames_of(self.catalog, content) or [content]

    def vector(self, content: int) -> NDArray[np.float16] | None:
        """See `Holdings.vector`."""
        return self.catalog.vector(content, self.model()[0])

    def vectors_of(self, photos: Sequence[Photo]) -> dict[int, NDArray[np.float16]]:
        """See `Holdings.vectors_of`."""
        return self.catalog.vectors_of([photo.content for photo in photos], self.model()[0])

    def digests(self, photos: Sequence[Photo]) -> dict[int, bytes]:
        """See `Holdings.digests`."""
        return digests(self.catalog, sorted({photo.content for photo in photos}))

    def folders(self, inside: Path | None) -> list[FolderCount]:
        """See `Holdings.folders`; the uppermost are those that were indexed."""
        return overview.folders(self.catalog, inside)

    def skipped(self) -> list[SkippedFile]:
        """See `Holdings.skipped`."""
        return self.catalog.skipped()

    def status(self) -> LibraryStatus:
        """See `Holdings.status`."""
        catalog = self.catalog
        known = catalog.current_model()
        segments = catalog.segments(known[0]) if known else []
        roots = tuple(
            RootStatus(
                root.path,
                catalog.count_photos(root.id),
                catalog.count_skipped(root.id),
                not is_offline(catalog, root),
                root.indexed,
            )
            for root in catalog.roots()
        )
        return LibraryStatus(
            path=self._folder,
            version=schema.VERSION,
            roots=roots,
            photos=catalog.count_photos(),
            contents=catalog.count_contents(),
            embeddings=catalog.count_embeddings(known[0]) if known else 0,
            skipped=catalog.count_skipped(),
            model=known[1] if known else None,
            catalog_bytes=sum(path.stat().st_size for path in self._folder.glob(f"{FILE_NAME}*")),
            store_bytes=sum(segment.bytes for segment in segments),
            store_rows=sum(segment.rows for segment in segments),
            grouped_rows=sum(segment.rows for segment in segments if segment.grouped),
            last_run=catalog.last_run(),
            videos=count_videos(catalog),
            others=() if is_alone(catalog) else tuple(library_models(catalog)[1:]),
        )

    def forget(self, folder: Path) -> int:
        """See `Holdings.forget`; the folder is one that was indexed."""
        with writer_lock(self._folder), Catalog(self._folder, write=True) as catalog:
            photos = catalog.remove_root(root_at(catalog, folder))
            for key, model in catalog.models():
                vector_files.refresh(catalog, self._folder, key, model)
        return photos


class LocalSelection:
    """See `Selection`.

    Args:
        held: The library.
        scope: Of the filters.
        words: That they ask for.

    Attributes:
        scope: The same.
    """

    def __init__(self, held: LocalHoldings, scope: Scope, words: str | None) -> None:
        self._held = held
        self.scope = scope
        self._words = words

    @cached_property
    def _among(self) -> NDArray[np.int64] | None:
        """Contents that may answer; None for all."""
        return None if self.scope.everything else answering(self._held.catalog, self.scope)

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearest:
        """See `Selection.nearest`."""
        ids, scores = self._held.vectors().search(vector, k, self._among)
        held = shown(self._held.catalog, ids.tolist(), self.scope)
        best: dict[int, tuple[float, Photo]] = {}
        for content, score in zip(ids.tolist(), scores.tolist(), strict=True):
            for photo in held.get(content, ()):
                best.setdefault(photo.id, (score, photo))
        return Nearest(list(best.values()), float(scores[-1]) if len(scores) else -np.inf, len(ids) < k)

    def newest(self, limit: int, offset: int) -> list[Photo]:
        """See `Selection.newest`."""
        catalog, end = self._held.catalog, offset + limit
        if self._words is None:
            return catalog.newest(self.scope, limit, offset)
        best = list(ranked(catalog, all_of(self._words), self.scope, end))
        found = catalog.photos(best, self.scope)
        return [photo for content in best for photo in found.get(content, ())][offset:end]

    def months(self) -> list[MonthCount]:
        """See `Selection.months`."""
        return overview.months(self._held.catalog, self.scope)

    def embeddings(self) -> Iterator[tuple[list[int], list[str], NDArray[np.float32]]]:
        """See `Selection.embeddings`."""
        for ids, rows in self._held.vectors().blocks():
            order = np.argsort(ids)
            ordered = ids[order]
            contents, keys, paths = self._held.catalog.paths(int(ordered[0]), int(ordered[-1]), self.scope)
            places = np.searchsorted(ordered, contents)
            here = ordered[places] == contents
            if not here.all():  # contents of other blocks lie between those of this one
                keys = list(compress(keys, here.tolist()))
                paths = list(compress(paths, here.tolist()))
            wanted = order[places[here]]
            # Nearly always every row, in order, and copying them takes a second for a million.
            yield keys, paths, rows if np.array_equal(wanted, np.arange(len(rows))) else rows[wanted]

    def photos(self) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """See `Selection.photos`; in the order in which they were first embedded."""
        for ids, rows in self._held.vectors().blocks():
            held = self._held.catalog.photos(ids.tolist(), self.scope)
            photos = [photo for content in ids.tolist() for photo in held.get(content, ())]
            places = [place for place, content in enumerate(ids.tolist()) for _ in held.get(content, ())]
            yield photos, rows[places]
