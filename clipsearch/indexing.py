"""Indexing: walk, compare with the catalog, read, embed, commit.

Reading runs ahead, embedding runs beside it, and one transaction commits a batch. Stop it anywhere: the next
run goes on from the last batch.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.catalog import Arrival, ArrivingFrame, Refusal
from clipsearch.catalog.diff import Diff
from clipsearch.encoders.opening import check_same
from clipsearch.photos.extras import EXTRAS
from clipsearch.photos.scan import FoundFile, LeftOut, UnreadableFolder, scan
from clipsearch.photos.video import Film
from clipsearch.reading import Reader, ReadFile
from clipsearch.types import IndexProgress, IndexReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from typing import Literal

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.diff import PendingFile
    from clipsearch.encoders import ImageEncoder
    from clipsearch.roots import Walk
    from clipsearch.types import Listeners, Metadata, Model

# Files that need no embedding (moved, copied, refused) are committed at the latest in such groups.
_COMMIT = 512
_NO_MODEL = 0  # an id that none has: there are no embeddings of it
# Files under way before the model is loaded and has said how large its batches are.
_FIRST_AHEAD = 64
_SHOW_EVERY_S = 0.1
PARTS = 2
"""A batch is embedded in halves, so that no core waits for the last picture of one, nor for a commit."""


def part_size(batch_size: int) -> int:
    """Pictures that are given to the model at once, while it still has as many."""
    return -(-batch_size // PARTS)


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that are committed together, once what is new among them is embedded."""

    read: list[ReadFile]
    refused: list[Refusal]
    embedded: list[bytes]
    vectors: Future[NDArray[np.float32]] | None


class Indexer:
    """One index run over one catalog.

    Args:
        catalog: Opened for writing; the caller holds the writer's lock.
        model: Id and identity of the library's model, None before its first embedding.
        open_encoder: Loads the model for about so many photos; called only when there are any to embed.
        foretell: The model that `open_encoder` will load, where that is known: photos are read meanwhile.
        listeners: For progress.
        stop: Asked often; once it says True, what is done is committed and the run ends.
        diff: Where to note what the walk finds; or what another run over the same catalog has found.

    Attributes:
        diff: What the walk has found.
    """

    def __init__(
        self,
        catalog: Catalog,
        model: tuple[int, Model] | None,
        open_encoder: Callable[[int], ImageEncoder],
        *,
        listeners: Listeners,
        stop: Callable[[], bool],
        foretell: Callable[[], Model | None] = lambda: None,
        diff: Diff | None = None,
    ) -> None:
        self._catalog = catalog
        self.diff = diff or Diff(catalog)
        self._model = model
        self._expected = None if model is None else model[1]
        self._foretell = foretell
        self._open_encoder = open_encoder
        self._encoder: ImageEncoder | None = None
        self._listeners = listeners
        self._stop = stop
        self._report = IndexReport(started=datetime.now(UTC))
        self._clock = time.monotonic()
        self._shown = 0.0
        self._done = self._total = 0
        # Read, not yet committed.
        self._fresh: list[ReadFile] = []
        self._known: list[ReadFile] = []
        self._refused: list[Refusal] = []
        # Being embedded, oldest first.
        self._under_way: deque[_Group] = deque()
        self._embedding = ThreadPoolExecutor(PARTS, thread_name_prefix="batch")

    @property
    def model(self) -> tuple[int, Model] | None:
        """The library's model, after the run."""
        return self._model

    def run(self, walks: Sequence[Walk], *, retry_skipped: bool) -> IndexReport:
        """Bring the catalog up to date with the disk.

        Raises:
            ClipsearchError: Of the model or the library; a bad file never raises.
        """
        walked = self._walk(walks)
        if not self._report.interrupted:
            unchanged, still_skipped, self._total = self.diff.settle(retry_skipped=retry_skipped)
            self._count(unchanged=unchanged, still_skipped=still_skipped)
            if self._total:
                self._read_and_embed(lambda _: self.diff.pending(retry_skipped=retry_skipped))
            self._show("finish", force=True)
            self._count(removed=self.diff.finish(whole=not self._report.interrupted))
            self._tell_absent(walks)
        self._report = replace(self._report, seconds=round(time.monotonic() - self._clock, 3))
        self._catalog.finish_run(self._report, [] if self._report.interrupted else walked)
        return self._report

    def _walk(self, walks: Sequence[Walk]) -> list[int]:
        """Walk the folders into the diff; returns the ids of the roots that were walked whole."""
        whole: list[int] = []
        for walk in walks:
            before, found = self._done, 0
            unlisted: list[bytes] = []
            absent: list[bytes] = []
            restless: list[bytes] = []
            left_out: list[LeftOut] = []
            files = _files(walk, unlisted, absent, restless, left_out)
            for found in self.diff.walk(walk.root.id, walk.within, files):
                self._done = before + found
                self._show("scan")
                if self._interrupted():
                    return []
            for path in unlisted + restless + self._left_out(walk.root.id, left_out):
                self.diff.keep(walk.root.id, path)
            for path in absent:
                self.diff.doubt(walk.root.id, path)
            if (
                not (found or left_out)
                and walk.within is None
                and (not walk.root.path.is_dir() or self._catalog.count_photos(walk.root.id))
            ):
                # An unplugged drive leaves no folder, or an empty one: never a reason to forget photos.
                self.diff.keep(walk.root.id, b"")
                self._report = replace(self._report, offline=(*self._report.offline, walk.root.path))
            elif unlisted:
                paths = tuple(walk.root.path / os.fsdecode(path) for path in unlisted)
                self._report = replace(self._report, unreadable=self._report.unreadable + paths)
            elif walk.within is None:
                whole.append(walk.root.id)
        self._done = 0
        self._tell_missing()
        return whole

    def _left_out(self, root: int, left_out: Sequence[LeftOut]) -> list[bytes]:
        """Count what the walk has left out; returns what the library has of it, from better times."""
        counts = Counter(item.missing.name for item in left_out if item.missing is not None)
        self._count(companions=sum(item.missing is None for item in left_out))
        self._report = replace(self._report, missing=dict(Counter(self._report.missing) + counts))
        return [
            item.path
            for item in left_out
            if item.missing is not None and self._catalog.has_photo(root, item.path)
        ]

    def _tell_missing(self) -> None:
        """Say, once a run, what takes an extra that is not installed."""
        for extra in EXTRAS:
            if number := self._report.missing.get(extra.name):
                files = "file" if number == 1 else "files"
                self._listeners.tell(f"{number:,} {extra.files} {files} left out: {extra.command}")

    def _tell_absent(self, walks: Sequence[Walk]) -> None:
        """Report where photos are kept because a drive may be unplugged that held them."""
        paths = {walk.root.id: walk.root.path for walk in walks}
        kept = tuple(paths[root] / os.fsdecode(path) for root, path in self.diff.doubted())
        self._report = replace(self._report, offline=self._report.offline + kept)

    def _read_and_embed(self, files: Callable[[int], Iterator[PendingFile]]) -> None:
        """Take in files, which are asked for with the id of the model that they lack."""
        self._expected = expected = self._expected or self._foretell() or self._load().model
        key = _NO_MODEL if self._model is None else self._model[0]
        self._show("embed", force=True)
        reader = Reader(self._catalog.path.parent, key, expected.preprocessing)
        try:
            for item in reader.read(files(key), lambda: 2 * self._batch_size):
                if self._model is None:
                    self._load()
                self._take(item)
                self._show("embed")
                if self._interrupted():
                    break
            if self._model is not None:
                self._dispatch()
            while self._under_way:
                self._commit()
        finally:
            reader.close()
            self._embedding.shutdown(wait=True, cancel_futures=True)

    def _take(self, item: ReadFile | Refusal | None) -> None:
        """Take one file in; passes them on when enough have come together."""
        self._done += 1
        if isinstance(item, Refusal):
            self._refused.append(item)
        elif item is not None:
            (self._known if item.decoded is None else self._fresh).append(item)
        if self._fresh and self._encoder is None:
            self._load()  # it says how many make a batch: no more than that may be lost with a kill
        part = part_size(self._batch_size)
        settled = len(self._known) + len(self._refused)
        if sum(item.count for item in self._fresh) >= part or settled >= _COMMIT:
            self._dispatch()
            if len(self._under_way) >= PARTS:
                self._commit()

    def _dispatch(self) -> None:
        """Begin to embed what was taken in."""
        key, _ = self._known_model
        on_the_way = {digest for group in self._under_way for digest in group.embedded}
        # By hash: two copies that come together are embedded once.
        pixels = {
            digest: picture
            for item in self._fresh
            if item.digest not in on_the_way and not self._catalog.knows(item.digest, key)
            for digest, picture in item.pictures()
        }
        vectors = None
        if pixels:
            encoder = self._encoder or self._load()
            vectors = self._embedding.submit(encoder.encode, np.stack(list(pixels.values())))
        self._under_way.append(_Group(self._fresh + self._known, self._refused, list(pixels), vectors))
        self._fresh, self._known, self._refused = [], [], []

    def _commit(self) -> None:
        """Commit the oldest group."""
        key, _ = self._known_model
        group = self._under_way.popleft()
        rows: Sequence[NDArray[np.float32]] = () if group.vectors is None else list(group.vectors.result())
        vectors = dict(zip(group.embedded, rows, strict=True))
        arrivals: list[Arrival] = []
        self._count_files(group.read)
        for item in group.read:
            decoded = item.decoded
            frames: list[ArrivingFrame] = []
            if isinstance(decoded, Film) and item.digest in vectors:
                frames = [
                    ArrivingFrame(digest, seconds, vectors.pop(digest))
                    for (digest, _), seconds in zip(item.pictures(), decoded.seconds, strict=True)
                ]
            arrivals.append(
                Arrival(
                    root=item.file.root,
                    path=item.file.path,
                    size=item.size,
                    mtime_ns=item.mtime_ns,
                    hash=item.digest,
                    facts=self._facts(item),
                    vector=vectors.pop(item.digest, None),
                    frames=frames,
                )
            )
        embedded = self._catalog.record(arrivals, group.refused, key)
        further = sum(len(arrival.frames[1:]) for arrival in arrivals)
        self._count(embedded=embedded, frames=further, skipped=len(group.refused))

    def _facts(self, item: ReadFile) -> tuple[int, int, Metadata] | None:
        """What is to be recorded of a file beside its embeddings."""
        decoded = item.decoded
        return None if decoded is None else (decoded.width, decoded.height, decoded.metadata)

    def _count_files(self, read: Sequence[ReadFile]) -> None:
        """Count the files of a batch by what happened to them."""
        brought: set[bytes] = set()
        for item in read:
            self._count(**{self._what_happened(item, brought): 1})
            brought.add(item.digest)

    def _what_happened(
        self, item: ReadFile, brought: set[bytes]
    ) -> Literal["unchanged", "changed", "new", "moved", "copied"]:
        """Which count of the report a file belongs to; `brought` are the contents of the same batch."""
        content = self._catalog.content_of(item.digest)
        if item.file.content is not None:
            return "unchanged" if content == item.file.content else "changed"
        if content is None:
            return "copied" if item.digest in brought else "new"
        if self.diff.claim(content):
            return "moved"
        # Bytes that only a photo of an earlier run had, gone since: new again, though not embedded again.
        return "copied" if item.digest in brought or self._catalog.is_held(content) else "new"

    def _load(self) -> ImageEncoder:
        """Load the model and hold it against the library's."""
        self._show("load", force=True)
        self._encoder = encoder = self._open_encoder(self._total)
        if self._expected is not None:
            check_same(encoder.model, self._expected)
        if self._model is None:
            self._model = (self._take_model(encoder.model), encoder.model)
        return encoder

    def _take_model(self, model: Model) -> int:
        """Have a model that the library does not have yet; returns its id."""
        return self._catalog.choose_model(model)

    @property
    def _known_model(self) -> tuple[int, Model]:
        if self._model is None:
            raise RuntimeError("no model before `_load`")
        return self._model

    @property
    def _batch_size(self) -> int:
        return self._encoder.batch_size if self._encoder else _FIRST_AHEAD

    def _interrupted(self) -> bool:
        if self._stop():
            self._report = replace(self._report, interrupted=True)
        return self._report.interrupted

    def _count(self, **more: int) -> None:
        self._report = replace(
            self._report, **{name: getattr(self._report, name) + n for name, n in more.items()}
        )

    def _show(self, phase: Literal["scan", "load", "embed", "finish"], *, force: bool = False) -> None:
        listener = self._listeners.index
        now = time.monotonic()
        if listener is not None and (force or now - self._shown >= _SHOW_EVERY_S):
            self._shown = now
            listener(IndexProgress(phase, self._done, self._total, self._report))


def _files(
    walk: Walk,
    unlisted: list[bytes],
    absent: list[bytes],
    restless: list[bytes],
    left_out: list[LeftOut],
) -> Iterator[tuple[bytes, int, int]]:
    """Path relative to the root, size and time of each file; notes what else the walk has met."""
    for item in scan(walk.root.path, exclude=walk.root.excludes, within=walk.within):
        if isinstance(item, FoundFile):
            # A time in the future is that of another clock, and says nothing.
            if 0 <= time.time() - item.mtime_ns / 1e9 < walk.quiet:
                restless.append(item.path)
            else:
                yield item
        elif isinstance(item, LeftOut):
            left_out.append(item)
        elif isinstance(item, UnreadableFolder) or (walk.within is not None and not item.path):
            unlisted.append(item.path)
        elif item.path:  # what an empty root means is for the caller to say
            absent.append(item.path)
