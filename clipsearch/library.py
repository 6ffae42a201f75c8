"""Library: everything clipsearch can do, for the command line, for programs, for the web."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Self

import numpy as np

from clipsearch import projection, query, zeroshot
from clipsearch.catalog import schema
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.scope import scope_of
from clipsearch.encoders.opening import open_image_encoder, open_text_encoder
from clipsearch.encoders.registry import resolve
from clipsearch.errors import (
    ModelMismatchError,
    ModelUnavailableError,
    NoLibraryError,
    PhotoError,
    UsageError,
)
from clipsearch.lock import writer_lock
from clipsearch.projection import Projection
from clipsearch.roots import absolute, check_folders, plan, reachable
from clipsearch.types import (
    Filters,
    IndexReport,
    LibraryStatus,
    Listeners,
    Match,
    Prediction,
    RootStatus,
    SkippedFile,
    Term,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from clipsearch.catalog.scope import Scope
    from clipsearch.encoders import ImageEncoder, TextEncoder
    from clipsearch.types import Model, ModelSource

DEFAULT_MODEL = "default"
BUILTIN_MODEL = "builtin"
_BUILTIN_NOTE = (
    "this is the small built-in model, which knows everyday things and simple scenes;"
    " for a full one: clipsearch index FOLDER --library NEW --model default"
)


class Library:
    """Photos, their embeddings and their index, in one folder. A context manager.

    A library is opened without touching the disk; `index` makes it. One Library belongs to one
    thread. Searching works while another process indexes.

    Args:
        path: The library's folder.
        listeners: Where to report notices and progress.
    """

    def __init__(self, path: Path, *, listeners: Listeners = Listeners()) -> None:
        self.path = path
        self._listeners = listeners
        self._catalog: Catalog | None = None
        self._projection: tuple[int, Projection] | None = None
        self._told_of_model = False
        self._text_encoder: TextEncoder | None = None
        self._image_encoder: ImageEncoder | None = None

    @staticmethod
    def default_path() -> Path:
        """`$CLIPSEARCH_LIBRARY`, or the platform's folder for a user's application data."""
        if chosen := os.environ.get("CLIPSEARCH_LIBRARY"):
            return absolute(chosen)
        from platformdirs import user_data_path

        return user_data_path("clipsearch", appauthor=False)

    @classmethod
    def open(cls, path: Path | str | None = None, *, listeners: Listeners = Listeners()) -> Self:
        """The library in `path`, or the user's own."""
        return cls(cls.default_path() if path is None else absolute(path), listeners=listeners)

    def close(self) -> None:
        """Let go of files and models; the library may be used again after."""
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = self._projection = self._text_encoder = self._image_encoder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- making and keeping --------------------------------------------------------------------

    def index(
        self,
        roots: Sequence[Path | str] = (),
        *,
        model: str | None = None,
        weights: Path | None = None,
        exclude: Sequence[str] = (),
        device: str = "auto",
        batch_size: int | None = None,
        retry_skipped: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> IndexReport:
        """Index folders of photos, or refresh those indexed before.

        Args:
            roots: Folders; none for all that the library has. A folder inside a root refreshes that part.
            model: Preset, `ARCHITECTURE/PRETRAINED`, `hf-hub:ORG/REPO` or `local-dir:FOLDER`; chosen
                at the first run and remembered. When none is named and the default cannot be had
                (no network, nothing cached), a new library is made with the built-in model.
            weights: A local checkpoint for the architecture that `model` names.
            exclude: Globs of files and folders to leave out; remembered with each root named.
            device: `auto`, `cuda`, `mps` or `cpu`.
            batch_size: Pictures a forward pass; what suits the device when None.
            retry_skipped: Try files again that could not be read before.
            stop: Asked often; once it says True, what is done is committed and the run ends.

        Raises:
            UsageError: No such folder, or none to index.
            LibraryBusyError: Another process is writing to this library.
            LibraryWriteError: The disk is full or read-only.
            ModelError: The model is unknown, cannot be had, or is not the library's.
        """
        if weights is not None and model is None:
            raise UsageError("weights without an architecture", "name it: --model ViT-B-32-256")
        wanted = None if model is None else resolve(model, weights)
        if not (self.path / FILE_NAME).exists():
            check_folders(roots, ())
        with writer_lock(self.path), Catalog(self.path, write=True) as catalog:
            from clipsearch.indexing import Indexer

            known = catalog.current_model()
            if known and wanted and wanted != known[1].source:
                raise ModelMismatchError(
                    f"this library was made with {known[1].source}, not with {wanted}",
                    "leave the model away, or make another library for it: --library DIR",
                )

            def open_source(source: ModelSource) -> ImageEncoder:
                return open_image_encoder(
                    source, device=device, batch_size=batch_size, listeners=self._listeners
                )

            def open_encoder() -> ImageEncoder:
                named = known[1].source if known else wanted
                if named is not None:
                    return open_source(named)
                try:
                    return open_source(resolve(DEFAULT_MODEL))
                except ModelUnavailableError as error:
                    self._listeners.tell(
                        f"{error.message}. Making this library with the small built-in model instead"
                    )
                    return open_source(resolve(BUILTIN_MODEL))

            indexer = Indexer(catalog, known, open_encoder, listeners=self._listeners, stop=stop)
            report = indexer.run(plan(catalog, roots, exclude), retry_skipped=retry_skipped)
            if indexer.model:
                projection.refresh(catalog, self.path, *indexer.model)
                self._tell_of(indexer.model[1])
        return report

    def _tell_of(self, model: Model) -> None:
        """Say once, quietly, that a small model answers."""
        if model.source.name == BUILTIN_MODEL and not self._told_of_model:
            self._told_of_model = True
            self._listeners.tell(_BUILTIN_NOTE)

    def forget(self, root: Path | str) -> int:
        """Take an indexed folder out of the library; its photos on disk are not touched.

        Returns:
            How many photos were taken out.

        Raises:
            UsageError: The folder is no root of this library.
        """
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            photos = catalog.remove_root(self._root(catalog, root))
            if known := catalog.current_model():
                projection.refresh(catalog, self.path, *known)
        return photos

    def relocate(self, old: Path | str, new: Path | str) -> int:
        """An indexed folder lies elsewhere now: carry its photos over, embedding nothing again.

        Returns:
            How many photos the root holds.

        Raises:
            UsageError: `old` is no root, or `new` is no folder, or is indexed already.
        """
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            key = self._root(catalog, old)
            target = absolute(new)
            check_folders([target], ())
            for root in catalog.roots():
                if root.id != key and (root.path.is_relative_to(target) or target.is_relative_to(root.path)):
                    raise UsageError(
                        f"{target} overlaps {root.path}, which is indexed already",
                        f"forget one: clipsearch forget {root.path}",
                    )
            return catalog.move_root(key, target)

    def _root(self, catalog: Catalog, path: Path | str) -> int:
        wanted = absolute(path)
        roots = catalog.roots()
        for root in roots:
            if root.path == wanted:
                return root.id
        names = ", ".join(str(root.path) for root in roots) or "none"
        raise UsageError(f"not an indexed folder: {wanted}", f"indexed folders: {names}")

    # -- asking --------------------------------------------------------------------------------

    def search(
        self,
        text: str = "",
        *,
        add: Sequence[str] = (),
        subtract: Sequence[str] = (),
        limit: int = 10,
        inside: Path | str | None = None,
        min_score: float | None = None,
    ) -> list[Match]:
        """The photos that answer a query best, best first.

        Args:
            text: What to look for; a picture's path or URL works too.
            add: Further terms: texts, picture paths or URLs, with a weight in front as `2:term`.
            subtract: Terms to move away from.
            limit: At most this many photos; at least 1.
            inside: Only photos in this folder or below.
            min_score: Only photos with at least this cosine similarity.

        Raises:
            UsageError: An empty query, or a limit below 1.
            NoLibraryError: Nothing is indexed yet.
            PhotoError, FetchError: A picture in the query cannot be read.
        """
        terms = [query.parse_term(text)] if text or not (add or subtract) else []
        terms += _terms(add, subtract)
        vector = query.combine(terms, self._encode_texts, self._encode_picture)
        return self._rank(vector, limit=limit, inside=inside, min_score=min_score)

    def similar(
        self,
        image: Path | str,
        *,
        add: Sequence[str] = (),
        subtract: Sequence[str] = (),
        limit: int = 10,
        inside: Path | str | None = None,
        min_score: float | None = None,
        include_self: bool = False,
    ) -> list[Match]:
        """The photos most like a picture, best first.

        For a photo that is indexed its stored embedding is used, and no model runs.

        Args:
            image: Path or URL; indexed or not.
            include_self: Let the picture itself and its exact copies answer, too.
            add: As in `search`, and so are `subtract`, `limit`, `inside` and `min_score`.
            subtract: See `search`.
            limit: See `search`.
            inside: See `search`.
            min_score: See `search`.
        """
        value = str(image)
        kind = query.parse_term(value).kind
        picture = Term(value, 1.0, "url" if kind == "url" else "image")
        own, vector = self._picture(picture)
        others = _terms(add, subtract)
        if others:
            vector = query.combine(
                [picture, *others],
                self._encode_texts,
                lambda term: vector if term is picture else self._encode_picture(term),
            )
        leave_out = frozenset([own] if own is not None and not include_self else [])
        return self._rank(vector, limit=limit, inside=inside, min_score=min_score, leave_out=leave_out)

    def classify(
        self,
        labels: Sequence[str],
        *,
        paths: Sequence[Path | str] = (),
        templates: Sequence[str] = zeroshot.DEFAULT_TEMPLATES,
        inside: Path | str | None = None,
    ) -> Iterator[Prediction]:
        """Zero-shot classification: how well each label fits each photo.

        Args:
            labels: At least one, none twice.
            paths: Picture files or folders, indexed or not; none for all photos of the library, from
                their stored embeddings.
            templates: Prompts with `{}` for the label; several are averaged.
            inside: Only photos in this folder or below (without `paths`).

        Yields:
            One prediction a photo, in the order of the catalog or of `paths`.

        Raises:
            UsageError: No labels, doubled labels, a template without `{}`.
            NoLibraryError: Nothing is indexed yet.
            PhotoError: None of `paths` can be read.
        """
        labels = zeroshot.check_labels(labels)
        templates = zeroshot.check_templates(templates)
        _, model = self._model()
        vectors = zeroshot.label_vectors(labels, templates, self._texts())
        found = self._embeddings_of(paths) if paths else self._embeddings_in(inside)
        for files, rows in found:
            chances = zeroshot.probabilities(rows.astype(np.float32) @ vectors.T, model)
            for path, row in zip(files, chances.tolist(), strict=True):
                yield Prediction(path, tuple(row))

    def status(self) -> LibraryStatus:
        """What the library holds.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        catalog = self._open_catalog()
        known = catalog.current_model()
        stamp = catalog.projection(known[0]) if known else None
        roots = tuple(
            RootStatus(
                root.path,
                catalog.count_photos(root.id),
                catalog.count_skipped(root.id),
                reachable(root.path),
                root.indexed,
            )
            for root in catalog.roots()
        )
        return LibraryStatus(
            path=self.path,
            version=schema.VERSION,
            roots=roots,
            photos=catalog.count_photos(),
            contents=catalog.count_contents(),
            embeddings=catalog.count_embeddings(known[0]) if known else 0,
            skipped=catalog.count_skipped(),
            model=known[1] if known else None,
            catalog_bytes=sum(path.stat().st_size for path in self.path.glob(f"{FILE_NAME}*")),
            store_bytes=stamp.bytes if stamp else 0,
            store_rows=stamp.rows if stamp else 0,
            last_run=catalog.last_run(),
        )

    def skipped(self) -> list[SkippedFile]:
        """Files that could not be read, with the reason, by path."""
        return self._open_catalog().skipped()

    # -- the parts -----------------------------------------------------------------------------

    def _open_catalog(self) -> Catalog:
        if self._catalog is None:
            self._catalog = Catalog(self.path)
        return self._catalog

    def _made(self) -> Path:
        """The library's folder; raises NoLibraryError when there is none."""
        self._open_catalog()
        return self.path

    def _model(self) -> tuple[int, Model]:
        known = self._open_catalog().current_model()
        if known is None:
            raise NoLibraryError(
                f"nothing is indexed yet in {self.path}",
                "index a folder of photos first: clipsearch index ~/Photos",
            )
        self._tell_of(known[1])
        return known

    def _vectors(self) -> Projection:
        """The embeddings, as of now: opened again when another connection has committed since."""
        catalog = self._open_catalog()
        state = catalog.state()
        if self._projection is None or self._projection[0] != state:
            self._projection = (state, Projection(catalog, self.path, *self._model(), self._listeners))
        return self._projection[1]

    def _texts(self) -> TextEncoder:
        _, model = self._model()
        if self._text_encoder is None or self._text_encoder.model.fingerprint != model.fingerprint:
            self._text_encoder = open_text_encoder(model, listeners=self._listeners)
        return self._text_encoder

    def _encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._texts().encode(texts)

    def _images(self) -> ImageEncoder:
        _, model = self._model()
        if self._image_encoder is None or self._image_encoder.model.fingerprint != model.fingerprint:
            encoder = open_image_encoder(model.source, listeners=self._listeners)
            if encoder.model.fingerprint != model.fingerprint:
                raise ModelMismatchError(
                    f"{model.source} is no longer the model of this library: its weights have changed",
                    "put the old weights back, or make a new library: --library DIR",
                )
            self._image_encoder = encoder
        return self._image_encoder

    def _encode_picture(self, term: Term) -> NDArray[np.float32]:
        return self._picture(term)[1]

    def _picture(self, term: Term) -> tuple[int | None, NDArray[np.float32]]:
        """Content id (None when not indexed) and `(dim,)` unit embedding of a picture in a query."""
        from clipsearch.photos.fetch import fetch_image
        from clipsearch.reading import read_bytes

        catalog, (key, model) = self._open_catalog(), self._model()
        if term.kind == "url":
            data = fetch_image(term.value)
        else:
            path = absolute(term.value)
            try:
                data, _, _ = read_bytes(path)
            except FileNotFoundError:
                # On a drive that is unplugged now, its embedding is still here.
                content = catalog.content_at(path)
                vector = None if content is None else catalog.vector(content, key)
                if vector is None:
                    raise UsageError(f"no such file: {path}", "check the spelling") from None
                return content, _unit(vector)
            except OSError as error:
                raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
            except PhotoError as error:
                raise PhotoError(f"{path}: {error.message}", error.hint) from error
        content = catalog.content_of(hashlib.sha256(data).digest())
        vector = None if content is None else catalog.vector(content, key)
        if vector is not None:
            return content, _unit(vector)
        from clipsearch.photos.decode import decode

        try:
            pixels = decode(data, model.preprocessing).pixels
        except PhotoError as error:
            raise PhotoError(f"{term.value}: {error.message}", error.hint) from error
        return content, self._images().encode(pixels[None])[0]

    def _scope(self, inside: Path | str | None) -> Scope:
        """Photos that may answer: within the filters, and of roots that can be reached now."""
        roots = self._open_catalog().roots()
        offline = [root for root in roots if not reachable(root.path)]
        for root in offline:
            self._listeners.tell(
                f"{root.path} cannot be reached now; its photos are left out until it is back"
            )
        return scope_of(Filters(None if inside is None else absolute(inside)), roots, offline)

    def _rank(
        self,
        vector: NDArray[np.float32],
        *,
        limit: int,
        inside: Path | str | None,
        min_score: float | None,
        leave_out: frozenset[int] = frozenset(),
    ) -> list[Match]:
        """The photos nearest to a unit vector, best first, equal ones by path."""
        if limit < 1:
            raise UsageError(f"limit {limit}", "ask for at least 1")
        catalog, vectors = self._open_catalog(), self._vectors()
        scope = self._scope(inside)
        among = None if scope.everything else catalog.contents(scope)
        floor = -np.inf if min_score is None else min_score
        k = limit + len(leave_out)
        while True:
            ids, scores = vectors.search(vector, k, among)
            scored = {
                content: score
                for content, score in zip(ids.tolist(), scores.tolist(), strict=True)
                if score >= floor and content not in leave_out
            }
            photos = catalog.photos(list(scored), scope)
            # Contents whose photos are all gone are still among the vectors: look further for as many.
            if sum(map(len, photos.values())) >= limit or len(ids) < k or scores[-1] < floor:
                break
            k *= 4
        found = sorted(
            ((scored[content], photo) for content, held in photos.items() for photo in held),
            key=lambda pair: (-pair[0], os.fsencode(pair[1].path)),
        )
        return [Match(rank, score, photo) for rank, (score, photo) in enumerate(found[:limit], 1)]

    def _embeddings_in(self, inside: Path | str | None) -> Iterator[tuple[list[Path], NDArray[np.float16]]]:
        """Stored embeddings in blocks: a path and a row for each photo."""
        catalog, scope = self._open_catalog(), self._scope(inside)
        for ids, rows in self._vectors().blocks():
            photos = catalog.photos(ids.tolist(), scope)
            paths, positions = [], []
            for position, content in enumerate(ids.tolist()):
                for photo in photos.get(content, ()):
                    paths.append(photo.path)
                    positions.append(position)
            yield paths, rows[positions]

    def _embeddings_of(self, paths: Sequence[Path | str]) -> Iterator[tuple[list[Path], NDArray[np.float32]]]:
        """Embeddings of named files, stored or made now; those that cannot be read are told and left out."""
        done = 0
        for path in _expand(paths):
            try:
                row = self._encode_picture(Term(str(path), 1.0, "image"))
            except (PhotoError, UsageError) as error:
                self._listeners.tell(f"left out: {error.message}")
                continue
            done += 1
            yield [path], row[None]
        if not done:
            raise PhotoError("none of these files could be read", "the lines above say why")


def _terms(add: Sequence[str], subtract: Sequence[str]) -> list[Term]:
    return [query.parse_term(term) for term in add] + [query.parse_term(term, sign=-1) for term in subtract]


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
