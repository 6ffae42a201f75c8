"""Saving what can be read of a damaged database, and putting one database in the place of another."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import tempfile
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.catalog import schema
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.checks import drop_unsound_rows, indexed_roots, name_roots, read_all_again
from clipsearch.catalog.connection import DATABASE_ERRORS, PAGE_SIZE, PRIVATE, connect, spoken_errors
from clipsearch.catalog.texts import mend_index
from clipsearch.catalog.vector import checksum_of
from clipsearch.errors import LibraryDamagedError, LibraryWriteError
from clipsearch.new_file import flush_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

# All that is worth saving; the parents first. Files of vectors are written anew, tags are given anew.
_TABLES = (
    "model",
    "root",
    "content",
    "photo",
    "embedding",
    "frame",
    "run",
    "vocabulary",
    "concept",
    "written",
)
_LATER = ("vocabulary", "concept", "frame", "written")  # which older formats lack
_STEP = 4096  # rows read at a time where nothing is wrong
_SMALLEST_ROW = 32  # bytes: bounds the ids that a damaged table may hold
_LOG = "-wal"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was saved of a damaged database.

    Attributes:
        kept: The damaged one, as it was.
        photos: Photos saved.
        vectors: Embeddings saved.
        lost: Photos lost, None where nobody can say how many there were.
    """

    kept: Path
    photos: int
    vectors: int
    lost: int | None


def salvage(folder: Path) -> Salvaged:
    """Read what can be read of a library's database, row by row, into a new one that takes its place.

    The next `index` reads every photo once more: a row that could be read need not be right.
    Killed anywhere, the library is as it was, or repaired. The caller holds the writer's lock.

    Raises:
        LibraryDamagedError: Nothing can be read.
        LibraryWriteError: The disk is full or fails.
    """
    damaged = folder / FILE_NAME
    if not damaged.exists() or not damaged.stat().st_size:
        raise _hopeless(folder)
    with workshop(folder) as bench:
        old = copy_database(folder / FILE_NAME, bench / "old.sqlite")
        _mend_header(old)
        try:
            with closing(connect(old, write=False)) as source, Catalog(bench, write=True) as new:
                known = _count_photos(source)
                with spoken_errors(old):
                    _copy_rows(source, new.connection)
                name_roots(new, indexed_roots(source))
                drop_unsound_rows(new)
                mend_index(new)
                read_all_again(new)
                models = new.models()
                photos, vectors = new.count_photos(), sum(new.count_embeddings(key) for key, _ in models)
        except LibraryDamagedError as error:
            raise _hopeless(folder) from error
        if not models:
            raise _hopeless(folder)
        kept = keep(folder, "damaged")
        replace(bench / FILE_NAME, folder / FILE_NAME)
    return Salvaged(kept, photos, vectors, None if known is None else max(0, known - photos))


def _hopeless(folder: Path) -> LibraryDamagedError:
    return LibraryDamagedError(
        f"nothing can be saved of {folder / FILE_NAME}",
        "bring it back from a backup: clipsearch doctor --restore FILE\n"
        f"or move the folder away and index again: {folder}",
    )


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder to work in, on the library's own disk; what a killed run leaves of it is swept later.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="catalog-", suffix=".tmp") as bench:
            yield Path(bench)
    except OSError as error:
        raise LibraryWriteError(
            f"{folder} cannot be written ({(error.strerror or str(error)).lower()})",
            "make room and run the command again; the library is as it was",
        ) from error


def keep(folder: Path, why: str) -> Path:
    """Copy the library's database, with its log, to a name of its own beside it; flushed to disk."""
    stamp = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    target = folder / f"catalog-{why}-{stamp}.sqlite"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"catalog-{why}-{stamp}-{number}.sqlite"
    return copy_database(folder / FILE_NAME, target)


def copy_database(source: Path, target: Path) -> Path:
    """Copy a database that nobody writes to, byte by byte, with its log; returns `target`.

    Raises:
        OSError: It cannot be read or written.
    """
    # The log first: should a reader that leaves bring it into the database meanwhile, nothing is missing.
    for suffix in (_LOG, ""):
        file = source.with_name(source.name + suffix)
        if suffix and not file.exists():
            continue
        copy = target.with_name(target.name + suffix)
        with file.open("rb") as reader, open(copy, "wb", opener=_private) as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
    flush_folder(target.parent)
    return target


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, PRIVATE)


def replace(new: Path, target: Path) -> None:
    """Put one database, closed and complete, in the place of another, in one step.

    The pages are written in one transaction, so that readers that have the old one open see the old
    one or the new, and a kill leaves the old. Only where SQLite cannot open the old one, which then
    nobody has open, is the file itself replaced.

    Raises:
        LibraryWriteError: The disk is full or fails.
    """
    with closing(connect(new, write=True)) as source:
        source.execute("PRAGMA journal_mode = DELETE")  # one file
        try:
            with spoken_errors(target), closing(connect(target, write=True)) as destination:
                source.backup(destination)
                destination.execute("PRAGMA journal_mode = WAL")
                destination.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return
        except LibraryDamagedError:
            pass
    for suffix in (_LOG, "-shm", "-journal"):
        with suppress(FileNotFoundError):
            target.with_name(target.name + suffix).unlink()
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    new.replace(target)
    flush_folder(target.parent)


def _count_photos(source: sqlite3.Connection) -> int | None:
    try:
        return int(source.execute("SELECT count(*) FROM photo").fetchone()[0])
    except DATABASE_ERRORS:
        return None


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    target.execute("PRAGMA foreign_keys = OFF")  # what lost its parent is dropped in the end
    try:
        for table in _TABLES:
            # An older format has fewer columns.
            names = [
                {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                for connection in (source, target)
            ]
            columns = sorted(names[0] & names[1])
            if not columns and table in _LATER:
                continue
            if not columns:
                raise sqlite3.DatabaseError(f"no table {table}")
            marks = ", ".join("?" * len(columns))
            target.execute("BEGIN")
            sealed = table == "embedding" and "checksum" in columns
            for rows in _readable(source, table, columns):
                target.executemany(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})",
                    _whole(rows, columns) if sealed else rows,
                )
            target.execute("COMMIT")
    finally:
        if target.in_transaction:
            target.execute("ROLLBACK")
        target.execute("PRAGMA foreign_keys = ON")


def _whole(rows: list[tuple[Any, ...]], columns: list[str]) -> list[tuple[Any, ...]]:
    """The embeddings that are as they were written: one that claims another's content must not keep it."""
    blob, content, checksum = (columns.index(name) for name in ("vector", "content", "checksum"))
    return [
        row
        for row in rows
        if row[checksum] is None
        or (
            type(row[blob]) is bytes
            and type(row[content]) is int
            and checksum_of(row[blob], row[content]) == row[checksum]
        )
    ]


def _readable(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table that can be read, whatever lies between them."""
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id"
    first, last, step = 1, _highest(source, table), _STEP
    while first <= last:
        try:
            rows = source.execute(sql, (first, first + step - 1)).fetchall()
        except DATABASE_ERRORS:
            if step > 1:
                step = max(1, step // 8)
                continue
            rows = []  # this one is lost
        first += step
        step *= 2 if step < _STEP or not rows else 1
        yield rows


def _highest(source: sqlite3.Connection, table: str) -> int:
    """The highest id in a table, or one that is surely higher."""
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    most = int(pages) * PAGE_SIZE // _SMALLEST_ROW
    found: list[int] = []
    for sql in (
        f"SELECT max(id) FROM {table}",
        f"SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'",
        "SELECT max(id) FROM photo INDEXED BY photo_content" if table == "photo" else "",
    ):
        with suppress(*DATABASE_ERRORS):
            row = source.execute(sql).fetchone() if sql else None
            if row is not None and isinstance(row[0], int):
                found.append(row[0])
    plausible = [number for number in found if number <= most]
    return max(plausible, default=most)


def _mend_header(path: Path) -> None:
    """Give a copy the hundred bytes at the start of every database of ours, where they are something else.

    https://www.sqlite.org/fileformat2.html, section 1.3. The list of free pages is let go.
    """
    with path.open("rb+") as file:
        head = bytearray(file.read(100).ljust(100, b"\0"))
        pages = path.stat().st_size // PAGE_SIZE
        head[:24] = b"SQLite format 3\0" + struct.pack(">H6B", PAGE_SIZE, 2, 2, 0, 64, 32, 32)
        struct.pack_into(">3I", head, 28, pages, 0, 0)
        struct.pack_into(">I", head, 44, 4)  # schema format
        struct.pack_into(">3I", head, 52, 0, 1, schema.VERSION)  # no vacuum, UTF-8, our version
        struct.pack_into(">2I", head, 64, 0, schema.APPLICATION_ID)
        head[92:96] = head[24:28]  # the page count above is valid
        file.seek(0)
        file.write(head)
