"""What a walk found, against what the catalog knows: the difference, worked out by SQLite.

The walk is written to temporary tables, so memory stays flat however many files there are, and
new, changed and vanished files are one query each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import MISSING
from clipsearch.catalog.connection import spoken_errors
from clipsearch.catalog.scope import subtree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.catalog.catalog import Catalog

_BATCH = 10_000
_EVERYTHING = (b"", b"\xff" * 8)

# Rows that the walk should have met, but did not: within what was walked, not below a folder that could not
# be listed. From what was walked to its rows, by index: the others, a million maybe, are not read.
_GONE = """
    SELECT {table}.root, {table}.path FROM walked CROSS JOIN {table}
    ON {table}.root = walked.root AND {table}.path >= low AND {table}.path < high
    WHERE NOT EXISTS (SELECT 1 FROM seen WHERE seen.root = {table}.root AND seen.path = {table}.path)
    AND NOT EXISTS (SELECT 1 FROM unlisted WHERE unlisted.root = {table}.root
                    AND {table}.path >= unlisted.low AND {table}.path < unlisted.high)
"""

_UNEMBEDDED = (
    "JOIN photo ON photo.root = seen.root AND photo.path = seen.path"
    f" AND photo.size = seen.size AND photo.mtime_ns = seen.mtime_ns WHERE {MISSING}"
)

# A photo row at or below a path in `doubted`: `0` is the byte after `/`.
_BELOW = (
    "(photo.path = doubted.path OR (photo.path >= CAST(doubted.path || '/' AS BLOB)"
    " AND photo.path < CAST(doubted.path || '0' AS BLOB)))"
)


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that must be read: new, changed, or to be tried again.

    Attributes:
        root: Id of its root.
        base: Absolute path of the root.
        path: Relative to the root.
        size: Bytes, as of the walk.
        mtime_ns: Modification time, as of the walk.
        content: What the catalog has at this path now, None for a new path.
    """

    root: int
    base: bytes
    path: bytes
    size: int
    mtime_ns: int
    content: int | None


class Diff:
    """One run's difference between disk and catalog. Lives in the catalog's connection."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._connection = catalog.connection
        with spoken_errors(catalog.path):
            for table, columns in {
                "seen": "root INTEGER, path BLOB, size INTEGER, mtime_ns INTEGER, PRIMARY KEY (root, path)",
                "walked": "root INTEGER, low BLOB, high BLOB",
                "unlisted": "root INTEGER, low BLOB, high BLOB",
                "doubted": "root INTEGER, path BLOB, PRIMARY KEY (root, path)",
            }.items():
                self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
                without = "WITHOUT ROWID" if "PRIMARY" in columns else ""
                self._connection.execute(f"CREATE TEMP TABLE {table} ({columns}) {without}")

    def walk(
        self, root: int, within: Sequence[bytes] | None, files: Iterable[tuple[bytes, int, int]]
    ) -> Iterator[int]:
        """Take in what a walk of a root (or of some files and folders in it) finds.

        Args:
            root: Id of the root.
            within: Those files and folders, relative to the root, None for all of it.
            files: Path relative to the root, size, modification time.

        Yields:
            How many files were taken in so far, now and then.
        """
        ranges = [_EVERYTHING]
        if within is not None:
            ranges = [bounds for path in within for bounds in _ranges(path)]
        self._write("INSERT INTO walked VALUES (?, ?, ?)", [(root, *bounds) for bounds in ranges])
        count, batch = 0, []
        for path, size, mtime_ns in files:
            batch.append((root, path, size, mtime_ns))
            if len(batch) == _BATCH:
                count += len(batch)
                self._write("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", batch)
                batch = []
                yield count
        self._write("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", batch)
        yield count + len(batch)

    def keep(self, root: int, path: bytes) -> None:
        """A folder could not be listed, or a file is not to be looked at now: what the catalog has stays."""
        ranges = _ranges(path) if path else [_EVERYTHING]
        self._write("INSERT INTO unlisted VALUES (?, ?, ?)", [(root, *bounds) for bounds in ranges])

    def doubt(self, root: int, path: bytes) -> None:
        """A folder is empty, a link leads to nothing: what was there stays, unless it turns up elsewhere."""
        self._write("INSERT OR IGNORE INTO doubted VALUES (?, ?)", [(root, path)])

    def doubted(self) -> list[tuple[int, bytes]]:
        """Roots and paths of those, after `finish`, under which the catalog still has photos."""
        with spoken_errors(self._catalog.path):
            return self._connection.execute(
                "SELECT root, path FROM doubted WHERE EXISTS"
                f" (SELECT 1 FROM photo WHERE photo.root = doubted.root AND {_BELOW})"
            ).fetchall()

    def _write(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with spoken_errors(self._catalog.path):
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany(sql, rows)
            finally:
                self._connection.execute("COMMIT")

    def settle(self, *, retry_skipped: bool) -> tuple[int, int, int]:
        """The walk is over: find what is gone.

        Returns:
            Files as they were, files skipped before and left alone, files that must be read.
        """
        with spoken_errors(self._catalog.path):
            execute = self._connection.execute
            execute("DROP TABLE IF EXISTS temp.gone")
            execute(
                "CREATE TEMP TABLE gone AS SELECT id AS photo, content, 0 AS claimed,"
                f" EXISTS (SELECT 1 FROM doubted WHERE doubted.root = photo.root AND {_BELOW}) AS doubtful"
                f" FROM photo WHERE (root, path) IN ({_GONE.format(table='photo')})"
            )
            execute("CREATE INDEX temp.gone_content ON gone (content, claimed)")
            (seen,) = execute("SELECT count(*) FROM seen").fetchone()
            (unchanged,) = execute(
                "SELECT count(*) FROM seen JOIN photo USING (root, path, size, mtime_ns)"
            ).fetchone()
            (skipped,) = execute(
                "SELECT count(*) FROM seen JOIN skipped USING (root, path, size, mtime_ns)"
            ).fetchone()
        left_alone = 0 if retry_skipped else skipped
        return unchanged, left_alone, seen - unchanged - left_alone

    def pending(self, *, retry_skipped: bool) -> Iterator[PendingFile]:
        """Files that must be read, by root and path: neighbors on disk are read together."""
        left_alone = (
            ""
            if retry_skipped
            else " AND NOT EXISTS (SELECT 1 FROM skipped"
            " WHERE skipped.root = seen.root AND skipped.path = seen.path"
            " AND skipped.size = seen.size AND skipped.mtime_ns = seen.mtime_ns)"
        )
        return self._files(
            "LEFT JOIN photo ON photo.root = seen.root AND photo.path = seen.path"
            " WHERE (photo.id IS NULL OR photo.size != seen.size OR photo.mtime_ns != seen.mtime_ns)"
            f"{left_alone}"
        )

    def count_missing(self, model: int) -> int:
        """Files that were walked and are in the catalog, but without an embedding under a model."""
        with spoken_errors(self._catalog.path):
            sql = f"SELECT count(*) FROM seen {_UNEMBEDDED}"
            return int(self._connection.execute(sql, (model, model)).fetchone()[0])

    def missing(self, model: int) -> Iterator[PendingFile]:
        """These files, by root and path."""
        return self._files(_UNEMBEDDED, model, model)

    def _files(self, which: str, *values: int) -> Iterator[PendingFile]:
        sql = (
            "SELECT seen.root, root.path, seen.path, seen.size, seen.mtime_ns, photo.content"
            f" FROM seen JOIN root ON root.id = seen.root {which}"
            " AND (seen.root, seen.path) > (?, ?) ORDER BY seen.root, seen.path LIMIT ?"
        )
        # In pages, because batches are committed (and rows of `photo` change) while this is read.
        last: tuple[int, bytes] = (0, b"")
        while True:
            with spoken_errors(self._catalog.path):
                rows = self._connection.execute(sql, (*values, *last, _BATCH)).fetchall()
            for row in rows:
                yield PendingFile(*row)
            if len(rows) < _BATCH:
                return
            last = (rows[-1][0], rows[-1][2])

    def claim(self, content: int) -> bool:
        """A known content turned up under a new path: has it left an old one? Each old path answers once."""
        with spoken_errors(self._catalog.path):
            return bool(
                self._connection.execute(
                    "UPDATE gone SET claimed = 1 WHERE rowid ="
                    " (SELECT rowid FROM gone WHERE content = ? AND NOT claimed LIMIT 1)",
                    (content,),
                ).rowcount
            )

    def finish(self, *, whole: bool) -> int:
        """Take vanished photos and skipped files out; returns how many photos went that were not moved.

        Args:
            whole: False for a run that was interrupted: only photos known to have moved lose their
                old path, the others may still turn up.
        """
        with self._catalog.atomic():
            execute = self._connection.execute
            condition = "claimed OR NOT doubtful" if whole else "claimed"
            execute(f"DELETE FROM photo WHERE id IN (SELECT photo FROM gone WHERE {condition})")
            if whole:
                execute(f"DELETE FROM skipped WHERE (root, path) IN ({_GONE.format(table='skipped')})")
            (removed,) = execute("SELECT count(*) FROM gone WHERE NOT claimed AND NOT doubtful").fetchone()
        return int(removed) if whole else 0


def _ranges(path: bytes) -> list[tuple[bytes, bytes]]:
    """The path itself, and what is below it, as half-open ranges."""
    return [(path, path + b"\0"), subtree(path)]
