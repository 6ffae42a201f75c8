"""Library: everything clipsearch can do, for the command line, for programs, for the web."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Self

from clipsearch import index_run, query, zeroshot
from clipsearch.address import folder_of, parse_address, place_of
from clipsearch.catalog.catalog import FILE_NAME, Catalog, nothing_indexed
from clipsearch.encoders.registry import resolve
from clipsearch.encoders.shared import Encoders
from clipsearch.errors import LibraryWriteError, NoLibraryError, UsageError
from clipsearch.lock import writer_lock
from clipsearch.predictions import Predictions
from clipsearch.roots import absolute, check_folders, library_folder, plan, root_at
from clipsearch.session import Session, picture_files
from clipsearch.terms import picture_term, terms_of
from clipsearch.types import (
    Backup,
    Concept,
    Duplicate,
    Examination,
    Filters,
    FolderCount,
    IndexReport,
    LibraryModel,
    LibraryStatus,
    Listeners,
    Match,
    MonthCount,
    OptimizeReport,
    PhotoDetails,
    RemovedModel,
    Repair,
    SidecarReport,
    SkippedFile,
    TaggedPhoto,
    TagReport,
    Term,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.catalog.scope import Scope
    from clipsearch.catalog.texts import Kind
    from clipsearch.collection import Placement
    from clipsearch.doctor import Progress
    from clipsearch.embedder import Embedder
    from clipsearch.encoders import ImageEncoder
    from clipsearch.evaluation import Evaluation
    from clipsearch.importing import ImportReport
    from clipsearch.index_run import Run
    from clipsearch.pairs_file import PairRow
    from clipsearch.roots import Walk
    from clipsearch.rows import Row
    from clipsearch.scoring import Score, ScoredRow
    from clipsearch.sending import Sent
    from clipsearch.texts import Author, PhotoText, TextReport
    from clipsearch.types import Model, ModelSource, Photo, Prediction

_ALL = Filters()
_BUILTIN_NOTE = (
    "this is the small built-in model, which knows everyday things and simple scenes;"
    " for a full one: clipsearch index --model default"
)


def _silent(_title: str, _unit: str, _done: int, _total: int) -> None:
    """Nobody listens."""


class Library:
    """Photos, their embeddings and their index, in one folder or in a Milvus collection. A context manager.

    A library is opened without touching the disk; `index` makes it. One Library belongs to one
    thread. Searching works while another process indexes. What only a folder can do raises a
    UsageError in a collection; `docs/milvus.md` tells what a collection can.

    Args:
        path: The library's folder, or the address of its collection.
        listeners: Where to report notices and progress.
        encoders: Those of another Library of this folder, to share them.
        model: Name of the model through which it is seen, one of `models`; None for the default one.
    """

    def __init__(
        self,
        path: Path | Address,
        *,
        listeners: Listeners = Listeners(),
        encoders: Encoders | None = None,
        model: str | None = None,
    ) -> None:
        self._place = path
        self._model = model
        self._listeners = listeners
        self._encoders = encoders or Encoders()
        self._opened: Session | None = None
        self._told_of_model = False

    @property
    def path(self) -> Path:
        """The library's folder.

        Raises:
            UsageError: It is a collection.
        """
        return folder_of(self._place)

    @staticmethod
    def default_path() -> Path:
        """`$CLIPSEARCH_LIBRARY`, or the platform's folder for a user's application data."""
        return library_folder()

    @classmethod
    def open(
        cls, path: Path | str | None = None, *, model: str | None = None, listeners: Listeners = Listeners()
    ) -> Self:
        """The library in `path`, a folder or an address such as `milvus://HOST:PORT/COLLECTION`.

        Without one it is that of `$CLIPSEARCH_LIBRARY`, or the user's own. With a model, one of `models`, it
        is seen through that: searches, labels, tags and concepts follow from its embeddings.
        """
        return cls(place_of(path), listeners=listeners, model=model)

    def another(self, *, listeners: Listeners = Listeners()) -> Library:
        """The same library for another thread; the two share loaded models, and of these it has told."""
        self._encoders.lasting = True  # who needs several threads has many questions
        made = Library(self._place, listeners=listeners, encoders=self._encoders, model=self._model)
        made._told_of_model = True
        return made

    @contextmanager
    def told_nothing(self) -> Iterator[None]:
        """Meanwhile, tell everything that a library tells once: somebody else listens."""
        before, self._told_of_model = self._told_of_model, False
        if self._opened is not None:
            self._opened.held.tell_again()
        try:
            yield
        finally:
            self._told_of_model = before

    def close(self) -> None:
        """Let go of files; the library may be used again after."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

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
            model: Preset, `ARCHITECTURE/PRETRAINED`, `hf-hub:ORG/REPO` or `local-dir:FOLDER`. That of the
                first run is the one that answers until `use_model` says otherwise, and every run brings it up
                to date; any other then embeds beside it what it has no embeddings of, among what was looked
                through. When none is named and the default cannot be had (no network, nothing cached), a
                new library is made with the built-in model.
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
            ModelError: The model is unknown or cannot be had, or its weights have changed.
        """
        if weights is not None and model is None:
            raise UsageError("weights without an architecture", "name it: --model ViT-B-32-256")
        wanted = None if model is None else resolve(model, weights)
        if not (self.path / FILE_NAME).exists():
            check_folders(roots, ())

        def open_encoder(source: ModelSource | None, photos: int) -> ImageEncoder:
            return index_run.open_encoder(source, device, batch_size, photos, self._listeners)

        if wanted is None and self._model is not None:
            wanted = self.model().source
        run = self._refresh(
            lambda catalog: plan(catalog, roots, exclude),
            open_encoder,
            wanted,
            retry_skipped=retry_skipped,
            stop=stop,
        )
        if not run.report.interrupted:
            index_run.tell_of_models(self.path, run, self._listeners)
        return run.report

    def watch(
        self,
        *,
        poll: float | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        on_refresh: Callable[[IndexReport], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Keep the library up to date as files change, until told to stop.

        All folders of the library are watched, those that come to it meanwhile as well. What changed is
        taken in once it has been quiet for some seconds; a library that another process writes to is
        waited for. Notices say what is going on.

        Args:
            poll: Look through all folders every so many seconds, instead of being told by the system.
            device: `auto`, `cuda`, `mps` or `cpu`.
            batch_size: Pictures a forward pass; what suits the device when None.
            on_refresh: Told what each refresh did, the first one included.
            stop: Asked often; once it says True, what is done is committed and the watch ends.

        Raises:
            UsageError: The library has no folders.
            LibraryError: It cannot be used, for another reason than that it is busy or its disk full.
            ModelError: The model cannot be had.
        """
        from clipsearch.encoders.kept import KeptEncoder
        from clipsearch.watching import Watch

        kept = KeptEncoder(
            lambda source: index_run.open_encoder(source, device, batch_size, None, self._listeners)
        )

        def refresh(walks: Callable[[Catalog], list[Walk]]) -> IndexReport:
            if not (self.path / FILE_NAME).exists():
                raise nothing_indexed(self.path)  # deleted meanwhile: no reason to make another
            report = self._refresh(walks, kept.open, stop=stop).report
            on_refresh(report)
            return report

        check_folders((), self._session().catalog.roots())
        Watch(self._session().catalog, refresh, kept, self._listeners, stop).run(poll)

    def _refresh(
        self,
        walks_of: Callable[[Catalog], list[Walk]],
        open_encoder: Callable[[ModelSource | None, int], ImageEncoder],
        wanted: ModelSource | None = None,
        *,
        retry_skipped: bool = False,
        stop: Callable[[], bool],
    ) -> Run:
        run = index_run.refresh(
            self.path,
            walks_of,
            open_encoder,
            wanted=wanted,
            retry_skipped=retry_skipped,
            listeners=self._listeners,
            stop=stop,
        )
        if run.default is not None:
            self._tell_of(run.default)
        if run.model is not None and run.report.embedded and not run.report.interrupted:
            index_run.prepare(self._encoders, run.model, run.report, self._listeners, stop)
        return run

    def _tell_of(self, model: Model) -> None:
        """Say once, quietly, that a small model answers."""
        if model.source.name == index_run.BUILTIN_MODEL and not self._told_of_model:
            self._told_of_model = True
            self._listeners.tell(_BUILTIN_NOTE)

    def import_photos(
        self,
        place: str,
        *,
        roots: Mapping[str, str] | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> ImportReport:
        """Take in photos that were embedded elsewhere, from a folder of Parquet files; they need not be here.

        Run again, it takes in what is new. A photo that the library has read from disk itself stays as it is.

        Args:
            place: Folder or URL that `clipsearch cluster index` has written.
            roots: Folders or URLs as the files have them, and the folders that stand for them here.
            progress: Told of photos done, and of how many.

        Raises:
            UsageError: There is nothing to import, or it is damaged.
            ModelMismatchError: The library has another model.
            LibraryBusyError: Another process is writing to this library.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch.importing import bring_in
        from clipsearch.shards import Shards

        return bring_in(self.path, Shards(place), roots or {}, progress=progress)

    def forget(self, root: Path | str) -> int:
        """Take an indexed folder out of the library; its photos on disk are not touched.

        Of a collection, any folder.

        Returns:
            How many photos were taken out.

        Raises:
            UsageError: The folder is no root of this library.
        """
        return self._session().held.forget(absolute(root))

    def relocate(self, old: Path | str, new: Path | str) -> int:
        """An indexed folder lies elsewhere now: carry its photos over, embedding nothing again.

        Returns:
            How many photos the root holds.

        Raises:
            UsageError: `old` is no root, or `new` is no folder, or is indexed already.
        """
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            key = root_at(catalog, absolute(old))
            target = absolute(new)
            check_folders([target], ())
            for root in catalog.roots():
                if root.id != key and (root.path.is_relative_to(target) or target.is_relative_to(root.path)):
                    raise UsageError(
                        f"{target} overlaps {root.path}, which is indexed already",
                        f"forget one: clipsearch forget {root.path}",
                    )
            return catalog.move_root(key, target)

    def optimize(
        self, *, exact: bool = False, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> OptimizeReport:
        """Make searches in a very large library faster, by looking only where the best matches are likely.

        At least 99 % of the ten best are found, measured on the library's own photos and on texts. Searches
        inside a folder stay exact. Photos indexed later are searched exactly until the next call.

        Args:
            exact: Undo it: every search reads all vectors again.
            progress: Told of photos done, and of how many.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            LibraryBusyError: Another process is writing to this library.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import optimizing

        session = self._session()
        key, model = session.model()
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            return optimizing.optimize(
                catalog, self.path, key, model, session.encode_texts, exact=exact, progress=progress
            )

    # -- models ----------------------------------------------------------------------------------

    def models(self) -> list[LibraryModel]:
        """The models that have embedded photos of this library, the default one first.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        from clipsearch import several

        return several.library_models(self._session().catalog)

    def use_model(self, name: str) -> LibraryModel:
        """Make one of `models` the default: it answers where none is named, and `index` keeps it up to date.

        Args:
            name: As for `index`; of a checkpoint, its file or its architecture.

        Raises:
            UnknownModelError: The library has no such model.
            NoLibraryError: Nothing is indexed yet.
            LibraryBusyError: Another process is writing to this library.
        """
        from clipsearch import several

        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            return several.use(catalog, name)

    def remove_model(self, name: str) -> RemovedModel:
        """Take a model out, with its embeddings, vector files, concepts and tags; photos are not touched.

        Args:
            name: As for `use_model`.

        Raises:
            UnknownModelError: The library has no such model.
            UsageError: It is the default one.
            NoLibraryError: Nothing is indexed yet.
            LibraryBusyError: Another process is writing to this library.
        """
        from clipsearch import several

        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            return several.remove(catalog, self.path, name, self._listeners)

    # -- tags ------------------------------------------------------------------------------------

    def tag(
        self,
        *,
        filters: Filters = _ALL,
        vocabulary: Path | str | None = None,
        again: bool = False,
        progress: Progress = _silent,
    ) -> TagReport:
        """Say in words what photos show: those that have no tags yet, from their stored embeddings.

        Args:
            filters: Which photos.
            vocabulary: A file of words to choose from, or `builtin`; remembered. With other words than
                before, all photos are tagged anew.
            again: Tag those that have tags, too.
            progress: As in `examine`.

        Raises:
            UsageError: The file is no list of words.
            NoLibraryError: Nothing is indexed yet.
            LibraryBusyError: Another process is writing to this library.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import tagging

        session = self._session()
        session.model()
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            return tagging.tag(
                session,
                catalog,
                session.scope(filters),
                vocabulary=vocabulary,
                again=again,
                progress=progress,
            )

    def preview_tags(
        self,
        *,
        filters: Filters = _ALL,
        vocabulary: Path | str | None = None,
        again: bool = False,
        progress: Progress = _silent,
    ) -> Iterator[TaggedPhoto]:
        """What `tag`, called with the same, would say; nothing is recorded."""
        from clipsearch import tagging

        session = self._session()
        session.model()
        return tagging.preview(
            session, session.scope(filters), vocabulary=vocabulary, again=again, progress=progress
        )

    def tags(self, filters: Filters = _ALL) -> list[tuple[str, int]]:
        """Tags, and how many photos have them, the most frequent first."""
        from clipsearch.catalog.tags import tag_counts

        session = self._session()
        return tag_counts(session.catalog, session.scope(filters))

    def tagged(self, filters: Filters = _ALL) -> Iterator[TaggedPhoto]:
        """The photos that have tags, with them."""
        from clipsearch import tagging

        session = self._session()
        return tagging.tagged_photos(session.catalog, session.scope(filters))

    def forget_tags(self, filters: Filters = _ALL) -> None:
        """Take the tags of photos away; the next `tag` gives them anew. Sidecars are not touched.

        Raises:
            NoLibraryError: There is no library.
            LibraryBusyError: Another process is writing to it.
        """
        from clipsearch.catalog.tags import drop_tags

        scope = self._session().scope(filters)
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            drop_tags(catalog, scope)

    def write_sidecars(
        self,
        tagged: Iterable[TaggedPhoto],
        *,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> SidecarReport:
        """Write tags to XMP sidecars beside the photos; what is in a sidecar already stays.

        Args:
            tagged: Photos with their tags.
            dry_run: Only find out what would be done.
            progress: Told of photos done.

        Raises:
            LibraryWriteError: The disk is full.
        """
        from clipsearch.sidecar import write_all

        return write_all(tagged, dry_run=dry_run, tell=self._listeners.tell, progress=progress)

    # -- texts -----------------------------------------------------------------------------------

    def caption(
        self,
        model: str | None = None,
        *,
        filters: Filters = _ALL,
        device: str = "auto",
        again: bool = False,
        progress: Progress = _silent,
    ) -> TextReport:
        """Write captions of photos, to be found by `Filters.text`; interrupted, it keeps what is done.

        Args:
            model: A CoCa model, named as for `index`; without one, captions are made of the best tags.
            filters: Which photos.
            device: `auto`, `cuda`, `mps` or `cpu`.
            again: Also of photos that have a caption of this model.
            progress: As in `examine`.

        Raises:
            UsageError: The model writes no captions.
            ModelError: It cannot be had.
            NoLibraryError: Nothing is indexed yet.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import texts

        session = self._session()
        scope = session.scope(filters)
        if model is None:
            session.model()
            with Catalog(self.path, write=True) as catalog:
                return texts.write_of_tags(session, catalog, scope, again=again, progress=progress)
        source = resolve(model)
        from clipsearch.encoders.captioner import CocaCaptioner

        author = texts.CaptionAuthor(CocaCaptioner(source, self._listeners, device=device))
        return self._write("caption", author, scope, again=again, progress=progress)

    def read_words(
        self, *, filters: Filters = _ALL, again: bool = False, progress: Progress = _silent
    ) -> TextReport:
        """Read the words in photos, to be found by `Filters.text`; interrupted, it keeps what is done.

        Args:
            filters: Which photos.
            again: Also photos that were read before.
            progress: As in `examine`.

        Raises:
            ModelError: What reads them is not installed.
            NoLibraryError: Nothing is indexed yet.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import texts
        from clipsearch.ocr import WordReader

        scope = self._session().scope(filters)
        return self._write("words", texts.WordAuthor(WordReader()), scope, again=again, progress=progress)

    def _write(
        self, kind: Kind, author: Author, scope: Scope, *, again: bool, progress: Progress
    ) -> TextReport:
        from clipsearch import texts

        with Catalog(self.path, write=True) as catalog:
            return texts.write(
                catalog, kind, author, scope, again=again, listeners=self._listeners, progress=progress
            )

    def texts(self, kind: Kind, filters: Filters = _ALL) -> Iterator[PhotoText]:
        """The photos that have a caption, or words in them, with that."""
        from clipsearch import texts

        session = self._session()
        return texts.photo_texts(session.catalog, kind, session.scope(filters))

    def forget_texts(self, kind: Kind, filters: Filters = _ALL) -> None:
        """Take captions, or the words that were read, away again.

        Raises:
            NoLibraryError: There is no library.
            LibraryBusyError: Another process is writing to it.
        """
        from clipsearch.catalog.texts import drop_texts

        scope = self._session().scope(filters)
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            drop_texts(catalog, kind, scope)

    # -- concepts --------------------------------------------------------------------------------

    def learn(
        self,
        name: str,
        like: Sequence[Path | str],
        unlike: Sequence[Path | str] = (),
        *,
        progress: Progress = _silent,
    ) -> tuple[Concept, bool]:
        """Learn from photos what words do not say; queries and labels call it `@name`.

        Args:
            name: Letters, digits, `-` and `_`; a concept of this name is replaced.
            like: Photos that show it: files or folders, indexed or not.
            unlike: Photos that do not show it.
            progress: As in `examine`.

        Returns:
            The concept, and whether there was none of this name.

        Raises:
            UsageError: No such name, or nothing can be learned from these photos.
            PhotoError: None of the files can be read.
            NoLibraryError: Nothing is indexed yet.
            LibraryBusyError: Another process is writing to this library.
        """
        from clipsearch import teaching

        session = self._session()
        session.model()
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            known, is_new = teaching.learn(session, catalog, name, like, unlike, progress=progress)
        return next(one for one in self.concepts() if one.name == known), is_new

    def concepts(self) -> list[Concept]:
        """What was learned under the library's model, by name."""
        from clipsearch.catalog.concepts import concepts

        session = self._session()
        return concepts(session.catalog, session.model()[0])

    def forget_concept(self, name: str) -> str:
        """Take a concept out; returns its name.

        Raises:
            UsageError: There is none of this name.
            LibraryBusyError: Another process is writing to this library.
        """
        from clipsearch.catalog.concepts import drop_concept
        from clipsearch.concepts import unknown
        from clipsearch.terms import check_name

        wanted = check_name(name)
        key, _ = self._session().model()
        with writer_lock(self._made()), Catalog(self.path, write=True) as catalog:
            if not drop_concept(catalog, key, wanted):
                raise unknown(wanted, [one.name for one in self.concepts()])
        return wanted

    # -- looking after -------------------------------------------------------------------------

    def examine(self, *, progress: Progress = _silent) -> Examination:
        """Look at everything the library is made of, and say what is wrong; nothing is changed.

        Args:
            progress: Told what is being looked at, of what, how many so far, and of how many.

        Raises:
            NoLibraryError: There is no library.
            LibraryBusyError: Another process is writing to it.
            LibraryTooNewError: A newer clipsearch wrote it.
            LibraryError: It is no library of clipsearch.
        """
        from clipsearch import doctor

        with ExitStack() as stack:
            with suppress(LibraryWriteError):  # where nobody can write, nobody does
                stack.enter_context(writer_lock(self._there()))
            return doctor.examine(self.path, progress)

    def repair(self, *, progress: Progress = _silent) -> Repair:
        """Repair what can be repaired; what was lost of the catalog is embedded again by the next `index`.

        A catalog that cannot be mended in place is kept beside the one that takes its place.

        Args:
            progress: As in `examine`.

        Raises:
            NoLibraryError: There is no library.
            LibraryBusyError: Another process is writing to it.
            LibraryDamagedError: Nothing of it can be saved.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import doctor

        self.close()
        with writer_lock(self._there()):
            return doctor.repair(self.path, progress)

    def back_up(self, file: Path | str, *, progress: Progress = _silent) -> Backup:
        """Write everything that cannot be made again to one file; others may index and search meanwhile.

        Args:
            file: Where to; nothing may be there yet.
            progress: As in `examine`.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            UsageError: There is a file already, or no such folder.
            LibraryDamagedError: The library is damaged.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import backup

        return backup.back_up(self.path, absolute(file), progress)

    def restore(self, file: Path | str, *, progress: Progress = _silent) -> Backup:
        """Make the library what it was when a backup was made; the catalog as it is now is kept beside it.

        Args:
            file: What `back_up` wrote.
            progress: As in `examine`.

        Raises:
            UsageError: There is no such file.
            LibraryBusyError: Another process is writing to the library.
            LibraryError: The file is no backup, damaged, or of a newer clipsearch.
            LibraryWriteError: The disk is full or read-only.
        """
        from clipsearch import backup

        self.close()
        with writer_lock(self.path):
            return backup.restore(self.path, absolute(file), progress)

    # -- asking --------------------------------------------------------------------------------

    def search(
        self,
        text: str | Term = "",
        *,
        add: Sequence[str | Term] = (),
        subtract: Sequence[str | Term] = (),
        limit: int = 10,
        offset: int = 0,
        filters: Filters = _ALL,
        min_score: float | None = None,
        only_matches: bool = False,
        blend: float = 0.0,
    ) -> list[Match]:
        """The photos that answer a query best, best first.

        Args:
            text: What to look for; a picture's path or URL works too, and so does the `@name` of a concept.
            add: Further terms: texts, picture paths or URLs, with a weight in front as `2:term`.
            subtract: Terms to move away from.
            limit: At most this many photos; at least 1.
            offset: Leave out so many of the best, for paging.
            filters: Which photos may answer; they are asked before ranking, so there are always as many
                answers as asked for, if there are as many photos.
            min_score: Only photos with at least this cosine similarity.
            only_matches: Leave out photos that match no better than chance. They end the search, too,
                once a hundred of them come in a row.
            blend: How much captions and words in pictures count, 0 to 1: those of `filters`, or else of the
                query itself; see `clipsearch.texts.blended`.

        Raises:
            UsageError: An empty query, a limit below 1, or a score asked for in a blended ranking.
            NoLibraryError: Nothing is indexed yet.
            ModelError: The model cannot be had.
            PhotoError, FetchError: A picture in the query cannot be read.
        """
        terms = terms_of([text] if text or not (add or subtract) else [])
        terms += terms_of(add, subtract)
        session = self._session()
        rows = query.embed(terms, session.encode_texts, session.encode_picture)
        if blend:
            from clipsearch.texts import blended

            if min_score is not None:
                raise UsageError(
                    "a blended ranking has no cosines", "leave the least score away, or the blend"
                )
            return blended(
                session,
                query.combine(terms, rows),
                session.gauge(terms, rows, needed=only_matches),
                filters.text
                or " ".join(term.value for term in terms if term.kind == "text" and term.weight > 0),
                blend,
                limit=limit,
                offset=offset,
                selection=session.local.within(filters),
                only_matches=only_matches,
            )
        return session.rank(
            query.combine(terms, rows),
            session.gauge(terms, rows, needed=only_matches),
            limit=limit,
            offset=offset,
            selection=session.held.within(filters),
            min_score=min_score,
            only_matches=only_matches,
        )

    def newest(self, filters: Filters = _ALL, *, limit: int = 10, offset: int = 0) -> list[Match]:
        """The photos that pass filters, those taken last first, those without a date at the end.

        Where the filters ask for words, those that these fit best come first.

        Args:
            filters: Which photos.
            limit: At most this many; at least 1.
            offset: Leave out so many of the first, for paging.

        Raises:
            UsageError: A limit below 1.
            NoLibraryError: Nothing is indexed yet.
        """
        photos = self._session().newest(filters, limit, offset)
        return [Match(rank, None, photo) for rank, photo in enumerate(photos, offset + 1)]

    def similar(
        self,
        image: Path | str | Term,
        *,
        add: Sequence[str | Term] = (),
        subtract: Sequence[str | Term] = (),
        limit: int = 10,
        offset: int = 0,
        filters: Filters = _ALL,
        min_score: float | None = None,
        only_matches: bool = False,
        include_self: bool = False,
    ) -> list[Match]:
        """The photos most like a picture, best first.

        For a photo that is indexed its stored embedding is used, and no model runs.

        Args:
            image: Path or URL; indexed or not. Or a term of another kind that stands for a picture.
            include_self: Let the picture itself and its exact copies answer, too.
            add: As in `search`, and so are the others.
            subtract: See `search`.
            limit: See `search`.
            offset: See `search`.
            filters: See `search`.
            min_score: See `search`.
            only_matches: See `search`.
        """
        picture = image if isinstance(image, Term) else picture_term(str(image))
        session = self._session()
        own, stored = session.picture(picture)
        terms = [picture, *terms_of(add, subtract)]
        rows = query.embed(
            terms,
            session.encode_texts,
            lambda term: stored if term is picture else session.encode_picture(term),
        )
        leave_out = frozenset([own] if own is not None and not include_self else [])
        return session.rank(
            query.combine(terms, rows),
            session.gauge(terms, rows, needed=only_matches),
            limit=limit,
            offset=offset,
            selection=session.held.within(filters),
            min_score=min_score,
            only_matches=only_matches,
            leave_out=leave_out,
        )

    def classify(
        self,
        labels: Sequence[str],
        *,
        paths: Sequence[Path | str] = (),
        templates: Sequence[str] = zeroshot.DEFAULT_TEMPLATES,
        filters: Filters = _ALL,
    ) -> Iterator[Prediction]:
        """Zero-shot classification: how well each label fits each photo.

        Args:
            labels: At least one, none twice; `@name` is a concept, `@@name` a text that begins with `@`.
            paths: Picture files or folders, indexed or not; none for all photos of the library, from
                their stored embeddings.
            templates: Prompts with `{}` for the label; several are averaged.
            filters: Which photos of the library.

        Yields:
            One prediction a photo, in the order of the catalog or of `paths`.

        Raises:
            UsageError: No labels, doubled labels, a template without `{}`, filters beside `paths`.
            NoLibraryError: Nothing is indexed yet.
            PhotoError: None of `paths` can be read.
        """
        blocks = self.classify_blocks(labels, paths=paths, templates=templates, filters=filters)
        return chain.from_iterable(blocks)

    def classify_blocks(
        self,
        labels: Sequence[str],
        *,
        paths: Sequence[Path | str] = (),
        templates: Sequence[str] = zeroshot.DEFAULT_TEMPLATES,
        filters: Filters = _ALL,
    ) -> Iterator[Predictions]:
        """As `classify`, in blocks of some ten thousand photos; see `clipsearch.predictions`."""
        if paths and filters:
            raise UsageError("filters are for the library's photos, not for files", "leave one of them away")
        labels = zeroshot.check_labels(labels)
        templates = zeroshot.check_templates(templates)
        session = self._session()
        _, model = session.model()
        vectors, offsets = session.labels(labels, templates)
        found = session.embeddings_of(paths) if paths else session.stored_embeddings(filters)
        for keys, files, rows in found:
            chances = zeroshot.probabilities(rows @ vectors.T + offsets, model)
            yield Predictions(files, chances, keys)

    def export(self, filters: Filters = _ALL) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """Every photo with its stored embedding, for other programs.

        Args:
            filters: Which photos.

        Yields:
            Blocks of at most some ten thousand photos, in the order in which they were first embedded, and
            their `(n, dim)` unit embeddings, which float16 has rounded.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().stored_photos(filters)

    def rows(self, filters: Filters = _ALL) -> Iterator[tuple[list[Row], NDArray[np.float16]]]:
        """As `export`, each photo as a row of a table; see `clipsearch.rows`.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().rows(filters)

    def send(
        self,
        where: str,
        filters: Filters = _ALL,
        *,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> Sent:
        """Write photos with their embeddings into a Milvus collection, which answers like this library then.

        Or into a folder of Parquet files, which `import_photos` reads. Either is made when missing. Run
        again, it gets what is new; what has left this library stays there.

        Args:
            where: The collection's address, `milvus://HOST:PORT/COLLECTION`, or a folder or its URL.
            filters: Which photos.
            progress: Told of photos done.

        Raises:
            UsageError: The address is none.
            ModelMismatchError: What is there is of another model.
            OutputError: The folder cannot be written.
            LibraryUnreachableError: The server does not answer in time.
            LibraryError: It says no.
            NoLibraryError: Nothing is indexed yet.
        """
        from clipsearch import sending

        session = self._session()
        _, model = session.model()
        rows = session.rows(filters)
        address = parse_address(where)
        if address is None:
            return sending.to_shards(where, model, rows, progress=progress)
        return sending.to_milvus(address, model, rows, tell=self._listeners.tell, progress=progress)

    def evaluate(
        self,
        captions: Path | str | None = None,
        labels: Path | str | None = None,
        *,
        models: Sequence[str] = (),
        templates: Sequence[str] = zeroshot.DEFAULT_TEMPLATES,
        device: str = "auto",
        again: bool = False,
        progress: Progress = _silent,
    ) -> Iterator[Evaluation]:
        """How good models are on one's own photos, indexed or not; a library is not needed.

        Args:
            captions: A table of photos with captions, several a photo if need be.
            labels: Folders of photos, one a label, or a table of photos with labels.
            models: As for `index`; none for that of the library, or the default one where there is none.
            templates: Prompts with `{}` for a label; several are averaged.
            device: `auto`, `cuda`, `mps` or `cpu`.
            again: Embed every photo now, stored embeddings or not, and measure how long it takes.
            progress: As in `examine`.

        Yields:
            One evaluation a model, in order.

        Raises:
            UsageError: Neither captions nor labels, or they cannot be read.
            PhotoError: None of the photos can be read.
            ModelError: A model is unknown, or cannot be had.
        """
        from clipsearch import evaluation

        if captions is None and labels is None:
            raise UsageError("nothing to evaluate by", "name a table of captions, or --labels DIR")
        templates = zeroshot.check_templates(templates)
        sources: list[ModelSource | None] = [resolve(model) for model in models]
        pairs = evaluation.read_captions(absolute(captions), self._listeners) if captions else []
        labelled = evaluation.read_labels(absolute(labels), self._listeners) if labels else []
        for source in sources or [None]:
            yield evaluation.evaluate(
                self._embedder(source, device, len(pairs) + len(labelled), again=again),
                pairs,
                labelled,
                templates=templates,
                listeners=self._listeners,
                progress=progress,
            )

    def score(
        self,
        texts: Sequence[str],
        pictures: Sequence[Path | str],
        *,
        model: str | None = None,
        device: str = "auto",
        progress: Progress = _silent,
    ) -> tuple[list[Score], list[Score]]:
        """How similar every picture is to every text; a library is not needed.

        Args:
            texts: What the pictures are held against.
            pictures: Files or folders, indexed or not.
            model: As for `evaluate`.
            device: `auto`, `cuda`, `mps` or `cpu`.
            progress: As in `examine`.

        Returns:
            Scores text by text, best first; and pictures that cannot be read, with the reason.

        Raises:
            UsageError: No texts, or no pictures.
            ModelError: The model is unknown, or cannot be had.
        """
        from clipsearch import scoring

        wanted = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
        files = list(dict.fromkeys(picture_files(pictures)))
        if not wanted or not files:
            raise UsageError("no pictures to score" if wanted else "no texts to score pictures with")
        return scoring.score_all(
            self._embedder(None if model is None else resolve(model), device, len(files)),
            wanted,
            files,
            lambda done: progress("scoring", "pictures", done, len(files)),
        )

    def score_rows(
        self,
        rows: Iterable[PairRow],
        *,
        total: int | None = None,
        model: str | None = None,
        device: str = "auto",
        progress: Progress = _silent,
    ) -> Iterator[ScoredRow]:
        """How similar the picture and the text in each row of a table are, in order, as the rows come.

        Args:
            rows: Of a `PairsFile`.
            total: How many, if known.
            model: As for `evaluate`.
            device: `auto`, `cuda`, `mps` or `cpu`.
            progress: As in `examine`.

        Raises:
            ModelError: The model is unknown, or cannot be had.
        """
        from clipsearch import scoring

        return scoring.score_rows(
            self._embedder(None if model is None else resolve(model), device, total),
            rows,
            lambda done: progress("scoring", "rows", done, total or 0),
        )

    def _embedder(
        self, source: ModelSource | None, device: str, pictures: int | None = None, *, again: bool = False
    ) -> Embedder:
        from clipsearch.embedder import Embedder

        try:
            held = self._session().held
        except NoLibraryError:
            held = None
        return Embedder(
            source,
            held,
            self._encoders,
            self._listeners,
            device=device,
            pictures=pictures,
            again=again,
        )

    def duplicates(
        self,
        *,
        exact: bool = True,
        similar: bool = True,
        bursts: bool = False,
        gap: float = 3.0,
        filters: Filters = _ALL,
        progress: Progress = _silent,
    ) -> list[tuple[Duplicate, ...]]:
        """Groups of photos that are the same, or nearly; those first that take most room beside their best.

        Each photo is in one group at most. The best of a group comes first: most pixels, then sharpest, then
        most bytes, then the shortest path. In groups without bursts, each was held against the best itself.
        Pictures that are all one shade have no more than exact copies.

        Args:
            exact: Files with the same bytes.
            similar: The same picture in another size, quality, brightness, or slightly cropped.
            bursts: Photos that one camera took within moments, and that look alike.
            gap: Seconds from one photo of a burst to the next, at most.
            filters: Which photos to compare.
            progress: Told what is being done, to what, how many so far, and of how many.

        Raises:
            UsageError: No kind of duplicates was asked for.
            NoLibraryError: Nothing is indexed yet.
            LibraryWriteError: There is no room for the vectors that are compared.
        """
        from clipsearch.duplicates import find

        if not (exact or similar or bursts):
            raise UsageError("no kind of duplicates", "ask for exact, similar or bursts")
        return find(
            self._session(),
            filters,
            self._listeners,
            progress,
            exact=exact,
            similar=similar,
            bursts=bursts,
            gap=gap,
        )

    def move_duplicates(
        self, groups: Sequence[Sequence[Duplicate]], folder: Path | str, *, dry_run: bool = False
    ) -> Iterator[Placement]:
        """Move all but the best of each group below a folder, under the names of their roots and their paths.

        Nothing is overwritten. A photo is moved only if it and the best of its group are still what was
        compared, and leaves the library with that. Stop any time: what was moved is moved.

        Args:
            groups: From `duplicates`.
            folder: Is made when missing.
            dry_run: Move nothing.

        Yields:
            For each photo where it is now, or why it stayed.

        Raises:
            UsageError: The folder lies in one that is indexed, or around it.
            OutputError: The folder cannot be written.
            LibraryBusyError: Another process is writing to this library.
            LibraryWriteError: The library cannot be written.
        """
        from clipsearch.duplicate_files import move

        return move(self._session().catalog, groups, absolute(folder), dry_run=dry_run)

    def link_duplicates(
        self, groups: Sequence[Sequence[Duplicate]], folder: Path | str, *, dry_run: bool = False
    ) -> Iterator[Placement]:
        """Make a folder for each group, numbered as they come, with links to its photos, the best first.

        Args:
            groups: From `duplicates`.
            folder: Is made when missing.
            dry_run: Make nothing.

        Yields:
            For each photo where its link is, or why there is none.

        Raises:
            UsageError: The folder lies in one that is indexed, or around it.
            OutputError: The folder cannot be written.
        """
        from clipsearch.duplicate_files import link

        return link(self._session().catalog.roots(), groups, absolute(folder), dry_run=dry_run)

    def status(self) -> LibraryStatus:
        """What the library holds.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().held.status()

    def photo(self, key: int) -> Photo:
        """The photo with an id that a match told.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            UsageError: There is none, or no more.
        """
        return self._session().held.photo(key)

    def photo_at(self, path: Path | str) -> Photo:
        """The photo that is indexed under a path.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            UsageError: There is none.
        """
        found = self._session().held.photo_at(absolute(path))
        if found is None:
            raise UsageError(f"no photo is indexed as {path}", "take the path or the id from a result")
        return found

    def details(self, key: int) -> PhotoDetails:
        """All that is known of the photo with an id.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            UsageError: There is none, or no more.
        """
        from clipsearch.catalog import overview

        return overview.details(self._session().catalog, key)

    def frame(self, photo: Photo, digits: str) -> tuple[bytes, float] | None:
        """What a frame of a video is known by, as in `digests`, and its seconds from the start.

        Args:
            photo: The video.
            digits: Hexadecimal, with which the former begins.

        Returns:
            None where there is none such.
        """
        from clipsearch.catalog.frames import frame_of

        return frame_of(self._session().catalog, photo.content, digits)

    def digests(self, photos: Iterable[Photo]) -> dict[int, bytes]:
        """SHA-256 of the bytes of photos, by the id of their content; of those that are gone, none."""
        return self._session().held.digests(list(photos))

    def model(self) -> Model:
        """The model that answers.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().model()[1]

    def embed(self, picture: bytes) -> NDArray[np.float32]:
        """The embedding of a picture under the library's model, for a `Term` of the kind `embedding`.

        Args:
            picture: The bytes of a file.

        Returns:
            `(dim,)` float32, unit length.

        Raises:
            NoLibraryError: Nothing is indexed yet.
            PhotoError: It cannot be read.
            ModelError: The model cannot be had.
        """
        return self._session().embed(picture)

    def months(self, filters: Filters = _ALL) -> list[MonthCount]:
        """How many photos were taken in each month, the first month first, those without a date last.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().held.within(filters).months()

    def folders(self, inside: Path | str | None = None) -> list[FolderCount]:
        """The folders right below one, by name, with the number of photos in and below each.

        Args:
            inside: A folder; None for those that are indexed.

        Raises:
            NoLibraryError: Nothing is indexed yet.
        """
        return self._session().held.folders(None if inside is None else absolute(inside))

    def skipped(self) -> list[SkippedFile]:
        """Files that could not be read, with the reason, by path."""
        return self._session().held.skipped()

    # -- the parts -----------------------------------------------------------------------------

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = Session(self._place, self._listeners, self._tell_of, self._encoders, self._model)
        self._opened.held.renew()
        return self._opened

    def _there(self) -> Path:
        """The library's folder, whatever state its catalog is in.

        Raises:
            NoLibraryError: There is none.
        """
        if not (self.path / FILE_NAME).exists() and not any(self.path.glob("vectors-*")):
            raise nothing_indexed(self.path)
        return self.path

    def _made(self) -> Path:
        """The library's folder.

        Raises:
            NoLibraryError: There is none.
        """
        return self._session().catalog.path.parent
