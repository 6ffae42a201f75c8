"""The catalog: photos, contents, embeddings, roots and models of one library.

Every public method that writes is one transaction. Kill the process anywhere and the database is
consistent; the next run goes on from the last batch.
"""

from __future__ import annotations

import json
import os
from contextlib import closing, contextmanager
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clipsearch.catalog import schema
from clipsearch.catalog.connection import atomic, connect, sound_values, spoken_errors
from clipsearch.catalog.scope import teach
from clipsearch.catalog.texts import drop_orphan_texts
from clipsearch.catalog.vector import pack, unpack
from clipsearch.errors import LibraryDamagedError, NoLibraryError, UsageError
from clipsearch.types import (
    IndexReport,
    Metadata,
    Model,
    ModelSource,
    Photo,
    Place,
    Preprocessing,
    SkippedFile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from clipsearch.catalog.scope import Scope

FILE_NAME = "catalog.sqlite"
# SQLite's default bound on `?` in one statement is 32,766.
_VARIABLES = 30_000
_FINGERPRINTS = "SELECT id, fingerprint FROM model ORDER BY current, id"
_NEWEST = 2**63 - 1  # no id is higher
WHOLE = (
    "ifnull((SELECT total FROM frame WHERE video = content.id LIMIT 1) = (SELECT count(*) FROM frame"
    " JOIN embedding AS shown ON shown.content = frame.id AND shown.model = ? WHERE video = content.id), 1)"
)
"""Of a `content`, that all of its frames have an embedding, where it is a video."""
MISSING = (
    "(NOT EXISTS (SELECT 1 FROM embedding WHERE embedding.content = photo.content AND model = ?)"
    " OR photo.content IN (SELECT video FROM frame WHERE NOT EXISTS"
    " (SELECT 1 FROM embedding WHERE embedding.content = frame.id AND model = ?)))"
)
"""Of a `photo`, that a model (named twice) has no embedding of it, or not of all its frames."""
_ORPHANED = (
    "NOT EXISTS (SELECT 1 FROM photo WHERE photo.content = content.id) AND NOT EXISTS"
    " (SELECT 1 FROM frame JOIN photo ON photo.content = frame.video WHERE frame.id = content.id)"
)
_RUNS = 1_000  # whose reports are kept
_FACTS = "width, height, taken, camera, lens, latitude, longitude"
_PHOTOS = (
    f"SELECT photo.id, content, root.path, photo.path, size, {_FACTS}"
    " FROM photo JOIN root ON root.id = root JOIN content ON content.id = content"
)
_DESCRIBE = (
    f"INSERT INTO content (hash, {_FACTS}, described) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)"
    " ON CONFLICT (hash) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (*_FACTS.split(", "), "described"))
    + " RETURNING id"
)


@dataclass(frozen=True, slots=True)
class Root:
    """An indexed folder. `path` is absolute; `excludes` are the globs its walk leaves out."""

    id: int
    path: Path
    excludes: tuple[str, ...]
    indexed: datetime | None


@dataclass(frozen=True, slots=True)
class ArrivingFrame:
    """A frame of a video, on its way into the catalog.

    Attributes:
        hash: Of the video's bytes for the first one, `frames.frame_hash` for the others.
        seconds: When it is shown.
        vector: `(dim,)` float32 unit embedding.
    """

    hash: bytes
    seconds: float
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that was read, on its way into the catalog.

    Attributes:
        root: Id of its root.
        path: Relative to the root, `/`-separated.
        size: Bytes.
        mtime_ns: Modification time at the scan.
        hash: SHA-256 of its bytes.
        facts: Upright width and height, and what the picture says about itself; None for a content that
            is known already, with all of this.
        vector: `(dim,)` float32 unit embedding; None for one already stored, and for a video.
        frames: What a video shows, without facts some of what it is known to show; empty for a photo, and
            for a video whose embeddings are stored already.
    """

    root: int
    path: bytes
    size: int
    mtime_ns: int
    hash: bytes
    facts: tuple[int, int, Metadata] | None = None
    vector: NDArray[np.float32] | None = None
    frames: Sequence[ArrivingFrame] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that could not be read, and why."""

    root: int
    path: bytes
    size: int
    mtime_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A vector store's file, and which embeddings it reflects: all with an id in `first + 1..last`.

    Attributes:
        first: 0, or `last` of a segment before.
        last: Highest embedding id.
        file: Name inside the library's folder.
        bytes: Its size.
        rows: Vectors in it.
        grouped: Whether a search looks only into those of its groups that are nearest.
    """

    first: int
    last: int
    file: str
    bytes: int
    rows: int
    grouped: bool = False


class Catalog:
    """One open catalog. Use as a context manager, or call `close`.

    Args:
        folder: The library's folder.
        write: Open for writing, creating the database when missing.
        name: Of the database in it.

    Raises:
        NoLibraryError: Reading, and there is no database.
        LibraryError: It is damaged, foreign, too new, or cannot be written.
    """

    def __init__(self, folder: Path, *, write: bool = False, name: str = FILE_NAME) -> None:
        self.path = folder / name
        self._refuse_nothing(write=write)
        with spoken_errors(self.path):
            self.connection = connect(self.path, write=write)
            try:
                if write:
                    schema.migrate(self.connection)
                else:
                    self._bring_up_to_date()
            except BaseException:
                self.connection.close()
                raise
        teach(self.connection)

    def _bring_up_to_date(self) -> None:
        """Migrate an older format before reading."""
        version = schema.version_of(self.connection)
        if not version:  # the first run has just begun, or was killed right then
            raise nothing_indexed(self.path.parent)
        if version < schema.VERSION:
            self.connection.close()
            with closing(connect(self.path, write=True)) as writer:
                schema.migrate(writer)
            self.connection = connect(self.path, write=False)

    def _refuse_nothing(self, *, write: bool) -> None:
        """An empty database is a new library, unless there are vectors of one beside it."""
        folder = self.path.parent
        if self.path.exists() and self.path.stat().st_size:
            return
        if next(folder.glob("vectors-*.faiss"), None) is not None:
            raise LibraryDamagedError(
                f"the library's database is {'empty' if self.path.exists() else 'gone'}: {self.path}",
                "bring it back from a backup: clipsearch doctor --restore FILE\n"
                f"or move the folder away and index again: {folder}",
            )
        # Where a first run was killed at once, the log may hold all there is.
        if not write and not self.path.with_name(f"{self.path.name}-wal").exists():
            raise nothing_indexed(folder)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """One write transaction, with errors in words."""
        with spoken_errors(self.path), atomic(self.connection):
            yield

    def state(self) -> int:
        """A number that changes when another connection has committed."""
        return int(self.rows("PRAGMA data_version")[0][0])

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a query finds; for the modules of this package."""
        with spoken_errors(self.path):
            return self.connection.execute(sql, values).fetchall()

    # -- models ------------------------------------------------------------------------------

    def current_model(self) -> tuple[int, Model] | None:
        """Id and identity of the model that queries use, or None before the first embedding."""
        chosen = bool(self.rows("SELECT 1 FROM model LIMIT 1"))  # asked first: a run may just be choosing
        found = next(iter(self._models("WHERE current")), None)
        if found is None and chosen:
            raise LibraryDamagedError(f"the library's database is damaged: {self.path} (no model is in use)")
        return found

    def correct_model(self, key: int, model: Model) -> None:
        """Write down again what a model is."""
        with self.atomic():
            self.connection.execute(
                "UPDATE model SET dim = ?, logit_scale = ?, logit_bias = ?, preprocessing = ? WHERE id = ?",
                (
                    model.dim,
                    model.logit_scale,
                    model.logit_bias,
                    json.dumps(asdict(model.preprocessing)),
                    key,
                ),
            )

    def model_fingerprints(self) -> list[tuple[int, str]]:
        """Id and fingerprint of all models, the latest last, whatever else is said of them."""
        return [(int(key), str(name)) for key, name in self.rows(_FINGERPRINTS)]

    def models(self) -> list[tuple[int, Model]]:
        """All models that ever were the library's, the latest last."""
        return self._models("ORDER BY current, id")

    def _models(self, which: str) -> list[tuple[int, Model]]:
        rows = self.rows(
            "SELECT id, name, weights, fingerprint, dim, logit_scale, logit_bias, preprocessing"
            f" FROM model {which}"
        )
        with sound_values(self.path):
            return [(int(key), _model(facts)) for key, *facts in rows]

    def choose_model(self, model: Model) -> int:
        """Make `model` the one that queries use, adding it when new; returns its id."""
        with self.atomic():
            key = self._add_model(model)
            self._use_model(key)
        return key

    def add_model(self, model: Model) -> int:
        """Have `model` beside those that there are, or know a new place of one of them; returns its id."""
        with self.atomic():
            return self._add_model(model)

    def use_model(self, key: int) -> None:
        """Make a model that there is the one that queries use."""
        with self.atomic():
            self._use_model(key)

    def _use_model(self, key: int) -> None:
        self.connection.execute("UPDATE model SET current = (id = ?)", (key,))

    def _add_model(self, model: Model) -> int:
        source = model.source
        weights = None if source.weights is None else os.fsencode(source.weights)
        (key,) = self.connection.execute(
            "INSERT INTO model (fingerprint, name, weights, dim, logit_scale, logit_bias, preprocessing)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE"
            " SET name = excluded.name, weights = excluded.weights RETURNING id",
            (
                model.fingerprint,
                source.name,
                weights,
                model.dim,
                model.logit_scale,
                model.logit_bias,
                json.dumps(asdict(model.preprocessing)),
            ),
        ).fetchone()
        return int(key)

    # -- roots -------------------------------------------------------------------------------

    def roots(self) -> list[Root]:
        """All indexed folders, by path."""
        with sound_values(self.path):
            return [
                Root(
                    int(key),
                    join(path),
                    tuple(map(str, json.loads(excludes))),
                    None if indexed is None else datetime.fromisoformat(indexed),
                )
                for key, path, excludes, indexed in self.rows(
                    "SELECT id, path, excludes, indexed FROM root ORDER BY path"
                )
            ]

    def add_root(self, path: Path, excludes: Sequence[str]) -> int:
        """Take a folder in. Roots that lie inside it become part of it, their photos kept as they are."""
        with self.atomic():
            (key,) = self.connection.execute(
                "INSERT INTO root (path, excludes) VALUES (?, ?) RETURNING id",
                (os.fsencode(path), json.dumps(list(excludes))),
            ).fetchone()
            for inner in self.roots():
                if inner.id != key and inner.path.is_relative_to(path):
                    prefix = os.fsencode(inner.path.relative_to(path).as_posix()) + b"/"
                    for table in ("photo", "skipped"):
                        self.connection.execute(
                            f"UPDATE {table} SET root = ?, path = CAST(? || path AS BLOB) WHERE root = ?",
                            (key, prefix, inner.id),
                        )
                    self.connection.execute("DELETE FROM root WHERE id = ?", (inner.id,))
        return int(key)

    def set_excludes(self, root: int, excludes: Sequence[str]) -> None:
        """Remember which files a root's walk leaves out."""
        with self.atomic():
            self.connection.execute(
                "UPDATE root SET excludes = ? WHERE id = ?", (json.dumps(list(excludes)), root)
            )

    def move_root(self, root: int, path: Path) -> int:
        """A root lies elsewhere now; nothing else changes. Returns how many photos it holds."""
        with self.atomic():
            self.connection.execute("UPDATE root SET path = ? WHERE id = ?", (os.fsencode(path), root))
        return self.count_photos(root)

    def remove_root(self, root: int) -> int:
        """Take a root and its photos out, and every content that no other root holds. Returns the photos."""
        photos = self.count_photos(root)
        with self.atomic():
            self.connection.execute("DELETE FROM root WHERE id = ?", (root,))
            self._drop_orphans()
        return photos

    def count_photos(self, root: int | None = None) -> int:
        """Photos of one root, or of all."""
        where, values = ("WHERE root = ?", (root,)) if root is not None else ("", ())
        return int(self.rows(f"SELECT count(*) FROM photo {where}", values)[0][0])

    def count_skipped(self, root: int | None = None) -> int:
        """Skipped files of one root, or of all."""
        where, values = ("WHERE root = ?", (root,)) if root is not None else ("", ())
        return int(self.rows(f"SELECT count(*) FROM skipped {where}", values)[0][0])

    def skipped(self) -> list[SkippedFile]:
        """Files that could not be read, by path."""
        rows = self.rows(
            "SELECT root.path, skipped.path, reason, size, noticed FROM skipped"
            " JOIN root ON root.id = skipped.root ORDER BY root.path, skipped.path"
        )
        with sound_values(self.path):
            return [
                SkippedFile(join(root, path), str(reason), int(size), datetime.fromisoformat(noticed))
                for root, path, reason, size, noticed in rows
            ]

    # -- contents and embeddings ---------------------------------------------------------------

    def knows(self, digest: bytes, model: int, *, described: bool = False) -> bool:
        """Whether the bytes with this hash have an embedding under `model`, and, if asked, metadata."""
        with spoken_errors(self.path):
            row = self.connection.execute(
                "SELECT 1 FROM content JOIN embedding ON embedding.content = content.id"
                f" WHERE content.hash = ? AND embedding.model = ? AND described >= ?"
                f" AND {WHOLE}",
                (digest, model, described, model),
            ).fetchone()
        return row is not None

    def content_of(self, digest: bytes) -> int | None:
        """Id of the content with this hash, or None."""
        rows = self.rows("SELECT id FROM content WHERE hash = ?", (digest,))
        return int(rows[0][0]) if rows else None

    def is_held(self, content: int) -> bool:
        """Whether any photo has this content."""
        return bool(self.rows("SELECT 1 FROM photo WHERE content = ? LIMIT 1", (content,)))

    def has_photo(self, root: int, path: bytes) -> bool:
        """Whether the catalog has a photo of this root at this relative path."""
        return bool(self.rows("SELECT 1 FROM photo WHERE root = ? AND path = ?", (root, path)))

    def content_at(self, path: Path) -> int | None:
        """Id of the content that the catalog has for the file at an absolute path, or None."""
        found = self.photo_at(path)
        return None if found is None else found.content

    def vector(self, content: int, model: int) -> NDArray[np.float16] | None:
        """`(dim,)` float16 embedding of one content; None when there is none, or a damaged one."""
        return self.vectors_of([content], model).get(content)

    def vectors_of(self, contents: Sequence[int], model: int) -> dict[int, NDArray[np.float16]]:
        """`(dim,)` float16 embeddings of contents; those without one, or with a damaged one, are left out."""
        found: dict[int, NDArray[np.float16]] = {}
        for start in range(0, len(contents), _VARIABLES):
            part = contents[start : start + _VARIABLES]
            rows = self.rows(
                "SELECT content, vector, checksum, dim FROM embedding JOIN model ON model.id = model"
                f" WHERE model = ? AND content IN ({','.join('?' * len(part))})",
                (model, *part),
            )
            if not rows:
                continue
            with sound_values(self.path):
                held, blobs, checksums, (dim, *_) = zip(*rows, strict=True)
                sound, vectors = unpack(blobs, held, checksums, dim)
                found |= zip(compress(held, sound.tolist()), vectors, strict=True)
        return found

    def vectors(
        self,
        model: Model,
        key: int,
        *,
        after: int = 0,
        until: int | None = None,
        size: int = 65_536,
        damaged: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float16]]]:
        """Embeddings with ids above `after`, up to `until` if given, in blocks, oldest first.

        Args:
            model: Whose embeddings.
            key: Its id.
            after: Only ids above.
            until: Only ids up to this.
            size: Rows in a block.
            damaged: Told how many rows of a block are not as they were written; those are left out.

        Yields:
            The highest embedding id of the block, `(m,)` content ids, `(m, dim)` float16 rows.

        Raises:
            LibraryDamagedError: Rows are damaged, and nobody is to be told.
        """
        with spoken_errors(self.path):
            cursor = self.connection.execute(
                "SELECT id, content, vector, checksum FROM embedding"
                " WHERE model = ? AND id > ? AND id <= ? ORDER BY id",
                (key, after, _NEWEST if until is None else until),
            )
            while rows := cursor.fetchmany(size):
                with sound_values(self.path):
                    ids, contents, blobs, checksums = zip(*rows, strict=True)
                    sound, matrix = unpack(blobs, contents, checksums, model.dim)
                    chosen = np.array([contents[place] for place in np.flatnonzero(sound)], np.int64)
                if lost := len(rows) - len(matrix):
                    if damaged is None:
                        raise LibraryDamagedError(
                            f"{lost:,} of the embeddings in {self.path} are damaged",
                            "let them be made again: clipsearch doctor --repair",
                        )
                    damaged(lost)
                yield ids[-1], chosen, matrix

    def count_embeddings(self, model: int, *, after: int = 0) -> int:
        """Embeddings of a model, those newer than embedding id `after` only."""
        return int(
            self.rows("SELECT count(*) FROM embedding WHERE model = ? AND id > ?", (model, after))[0][0]
        )

    def surviving(self, model: int, segments: Sequence[Segment]) -> list[int]:
        """How many of the embeddings that each segment reflects are still there."""
        if not segments:
            return []
        # One walk over the narrow index, 0.2 s for a million: a range of ids would read the vectors, too.
        count = "count(*) FILTER (WHERE id > ? AND id <= ?)"
        sql = f"SELECT {', '.join([count] * len(segments))} FROM embedding WHERE model = ?"
        bounds = [bound for segment in segments for bound in (segment.first, segment.last)]
        return list(self.rows(sql, (*bounds, model))[0])

    def last_embedding(self, model: int) -> int:
        """The highest embedding id of a model, 0 without any."""
        return int(self.rows("SELECT ifnull(max(id), 0) FROM embedding WHERE model = ?", (model,))[0][0])

    def count_contents(self, *, living: bool = True) -> int:
        """Contents that some photo has; with `living` False, those that none has or shows any more."""
        held = "EXISTS (SELECT 1 FROM photo WHERE photo.content = content.id)"
        return int(self.rows(f"SELECT count(*) FROM content WHERE {held if living else _ORPHANED}")[0][0])

    def contents(self, scope: Scope) -> NDArray[np.int64]:
        """Ids of the contents that have a photo within `scope`, ascending."""
        rows = self.rows(
            f"SELECT DISTINCT content FROM photo WHERE {scope.where} ORDER BY content", scope.values
        )
        with sound_values(self.path):
            return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def photos(self, contents: Sequence[int], scope: Scope) -> dict[int, list[Photo]]:
        """Photos within `scope` of each given content, by path; contents without one are left out."""
        found: dict[int, list[Photo]] = {}
        for start in range(0, len(contents), _VARIABLES):
            part = [int(content) for content in contents[start : start + _VARIABLES]]
            asked = set(part)
            rows = self.rows(
                f"{_PHOTOS} WHERE content IN ({','.join('?' * len(part))}) AND {scope.where}"
                " ORDER BY root.path, photo.path",
                (*part, *scope.values),
            )
            with sound_values(self.path):
                for row in rows:
                    photo = _photo(row)
                    if photo.content not in asked:  # an index has led to another row than the one it means
                        raise ValueError(f"photo {photo.id} of content {photo.content}")
                    found.setdefault(photo.content, []).append(photo)
        return found

    def photo(self, key: int) -> Photo:
        """The photo with this id.

        Raises:
            UsageError: There is none.
        """
        found = self.rows(f"{_PHOTOS} WHERE photo.id = ?", (key,))
        if not found:
            raise UsageError(f"no photo has the id {key}", "it may have left the library; search again")
        with sound_values(self.path):
            return _photo(found[0])

    def photo_at(self, path: Path) -> Photo | None:
        """The photo that the catalog has for the file at an absolute path, or None."""
        for root in self.roots():
            if path.is_relative_to(root.path):
                relative = os.fsencode(path.relative_to(root.path).as_posix())
                rows = self.rows(f"{_PHOTOS} WHERE root = ? AND photo.path = ?", (root.id, relative))
                if rows:
                    with sound_values(self.path):
                        return _photo(rows[0])
        return None

    def newest(self, scope: Scope, limit: int, offset: int = 0) -> list[Photo]:
        """Photos within `scope`, those taken last first, those without a date at the end.

        Args:
            scope: Which.
            limit: At most this many.
            offset: Leave out so many of the first.
        """
        rows = self.rows(
            f"{_PHOTOS} WHERE {scope.where}"
            " ORDER BY substr(taken, 1, 19) DESC, root.path, photo.path LIMIT ? OFFSET ?",
            (*scope.values, limit, offset),
        )
        with sound_values(self.path):
            return [_photo(row) for row in rows]

    def paths(self, first: int, last: int, scope: Scope) -> tuple[NDArray[np.int64], list[int], list[str]]:
        """Photos within `scope` whose content id is in `first..last`, ascending: contents, ids and paths.

        For walking the whole library: it reads one table, in order, and makes little but paths.
        """
        folders = {root.id: os.path.join(root.path, "") for root in self.roots()}  # noqa: PTH118 - with a slash
        rows = self.rows(
            "SELECT content, id, root, path FROM photo WHERE content BETWEEN ? AND ?"
            f" AND {scope.where} ORDER BY content, id",
            (first, last, *scope.values),
        )
        if not rows:
            return np.empty(0, np.int64), [], []
        with sound_values(self.path):
            contents, ids, places, names = zip(*rows, strict=True)
            # All names at once: a seventh of the time that one by one takes.
            decoded = os.fsdecode(b"\0".join(names)).split("\0")
            if len(decoded) != len(names):
                raise ValueError("a path with a zero byte")
            paths = [folders[root] + name for root, name in zip(places, decoded, strict=True)]
            return np.array(contents, np.int64), list(ids), paths

    def record(self, arrivals: Sequence[Arrival], refusals: Sequence[Refusal], model: int | None) -> int:
        """Commit one batch: photos, contents and embeddings together.

        Returns:
            Embeddings added, those of a video's further frames not counted.
        """
        added = 0
        with self.atomic():
            execute = self.connection.execute
            for item in arrivals:
                row = execute("SELECT id FROM content WHERE hash = ?", (item.hash,)).fetchone()
                if row is None and item.facts is None:
                    raise ValueError(f"no facts for a content that is not in the catalog: {item.path!r}")
                if item.facts is not None:
                    row = execute(_DESCRIBE, (item.hash, *_columns(*item.facts))).fetchone()
                (content,) = row
                if item.vector is not None:
                    added += self._embed(content, model, item.vector)
                if item.frames:
                    added += self._record_frames(item, content, model)
                execute(
                    "INSERT INTO photo (root, path, content, size, mtime_ns) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (root, path) DO UPDATE SET"
                    " content = excluded.content, size = excluded.size, mtime_ns = excluded.mtime_ns",
                    (item.root, item.path, content, item.size, item.mtime_ns),
                )
                execute("DELETE FROM skipped WHERE root = ? AND path = ?", (item.root, item.path))
            for refusal in refusals:
                execute("DELETE FROM photo WHERE root = ? AND path = ?", (refusal.root, refusal.path))
                execute(
                    "INSERT OR REPLACE INTO skipped (root, path, size, mtime_ns, reason, noticed)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        refusal.root,
                        refusal.path,
                        refusal.size,
                        refusal.mtime_ns,
                        refusal.reason,
                        datetime.now(UTC).isoformat(timespec="seconds"),
                    ),
                )
        return added

    def _embed(self, content: int, model: int | None, vector: NDArray[np.float32]) -> int:
        return self.connection.execute(
            "INSERT INTO embedding (model, content, vector, checksum) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (content, model) DO NOTHING",
            (model, content, *pack(vector, content)),
        ).rowcount

    def _record_frames(self, item: Arrival, video: int, model: int | None) -> int:
        """What a video shows, instead of what was known of it."""
        execute, added = self.connection.execute, 0
        if item.facts is None:  # it stays what it is, and gets embeddings of another model
            for frame in item.frames:
                (content,) = execute("SELECT id FROM content WHERE hash = ?", (frame.hash,)).fetchone()
                is_new = self._embed(content, model, frame.vector)
                added += is_new if content == video else 0
            return added
        execute("DELETE FROM frame WHERE video = ?", (video,))
        for frame in item.frames:
            (content,) = execute(_DESCRIBE, (frame.hash, *_columns(*item.facts))).fetchone()
            is_new = self._embed(content, model, frame.vector)
            added += is_new if content == video else 0
            execute(
                "INSERT INTO frame (id, video, seconds, total) VALUES (?, ?, ?, ?)",
                (content, video, frame.seconds, len(item.frames)),
            )
        return added

    def drop_orphans(self) -> None:
        """Drop contents that no photo has or shows any more, with their embeddings."""
        with self.atomic():
            self._drop_orphans()

    def _drop_orphans(self) -> None:
        self.connection.execute(f"DELETE FROM content WHERE {_ORPHANED}")
        drop_orphan_texts(self.connection)

    # -- projection and runs -------------------------------------------------------------------

    def segments(self, model: int) -> list[Segment]:
        """What the model's vector store files should be, oldest embeddings first."""
        rows = self.rows(
            "SELECT first, last, file, bytes, rows, grouped FROM projection WHERE model = ? ORDER BY first",
            (model,),
        )
        with sound_values(self.path):
            return [
                Segment(int(first), int(last), _name(file), int(size), int(count), grouped=bool(grouped))
                for first, last, file, size, count, grouped in rows
            ]

    def set_segments(self, model: int, segments: Sequence[Segment]) -> None:
        """Record the vector store files, all complete and in place, instead of those before."""
        with self.atomic():
            self.connection.execute("DELETE FROM projection WHERE model = ?", (model,))
            self.connection.executemany(
                "INSERT INTO projection (model, first, last, file, bytes, rows, grouped)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(model, *astuple(segment)) for segment in segments],
            )

    def finish_run(self, report: IndexReport, roots: Sequence[int]) -> None:
        """Remember what a run did, and that these roots were walked whole."""
        facts = asdict(report)
        with self.atomic():
            self.connection.execute(
                "INSERT INTO run (report) VALUES (?)", (json.dumps(facts, default=_plain),)
            )
            # A watched library has thousands of runs a month.
            self.connection.execute("DELETE FROM run WHERE id <= (SELECT max(id) FROM run) - ?", (_RUNS,))
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.connection.executemany(
                "UPDATE root SET indexed = ? WHERE id = ?", [(now, key) for key in roots]
            )

    def last_run(self) -> IndexReport | None:
        """The report of the latest run, or None."""
        rows = self.rows("SELECT report FROM run ORDER BY id DESC LIMIT 1")
        if not rows:
            return None
        with sound_values(self.path):
            return report_of(rows[0][0])


def _columns(width: int, height: int, metadata: Metadata) -> tuple[object, ...]:
    """What `_FACTS` names."""
    taken, place = metadata.taken, metadata.place or (None, None)
    moment = None if taken is None else taken.isoformat()
    return width, height, moment, metadata.camera, metadata.lens, *place


def _photo(row: Sequence[Any]) -> Photo:
    """A photo from its id, content, root, path and size, and what `_FACTS` names.

    Raises:
        TypeError, ValueError: No clipsearch wrote this.
    """
    key, content, root, path, size, width, height, taken, camera, lens, latitude, longitude = row
    metadata = Metadata(
        taken=None if taken is None else datetime.fromisoformat(taken),
        camera=None if camera is None else str(camera),
        lens=None if lens is None else str(lens),
        place=None if latitude is None else Place(float(latitude), float(longitude)),
    )
    return Photo(int(key), int(content), join(root, path), int(width), int(height), int(size), metadata)


def nothing_indexed(folder: Path) -> NoLibraryError:
    """The library in this folder has no photos to answer with."""
    return NoLibraryError(
        f"nothing is indexed yet in {folder}", "index a folder of photos first: clipsearch index ~/Photos"
    )


def _model(row: Sequence[Any]) -> Model:
    name, weights, fingerprint, dim, scale, bias, preprocessing = row
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(preprocessing).items()
    }
    return Model(
        source=ModelSource(name, None if weights is None else Path(os.fsdecode(weights))),
        fingerprint=fingerprint,
        dim=dim,
        logit_scale=scale,
        logit_bias=bias,
        preprocessing=Preprocessing(**facts),
    )


def report_of(text: str) -> IndexReport:
    """The report of a run from its JSON.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    facts = json.loads(text)
    facts["started"] = datetime.fromisoformat(facts["started"])
    facts["offline"] = tuple(Path(path) for path in facts["offline"])
    facts["unreadable"] = tuple(Path(path) for path in facts["unreadable"])
    return IndexReport(**facts)


def join(root: bytes, path: bytes = b"") -> Path:
    """Absolute path of a photo, from its root's path and its own; or that of a root.

    Raises:
        TypeError, ValueError: Never was there such a path.
    """
    if b"\0" in root or b"\0" in path:
        raise ValueError("a path with a zero byte")
    return Path(os.fsdecode(os.path.join(root, path)))  # noqa: PTH118 - half the time of joining two of pathlib's


def _name(file: str) -> str:
    """The name of a segment's file: it lies in the library's folder, nowhere else.

    Raises:
        ValueError: It would lie somewhere else.
    """
    if Path(file).name != file or "\0" in file:
        raise ValueError(f"not the name of a file: {file!r}")
    return file


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
