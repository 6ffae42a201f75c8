"""Opening the catalog's database, and putting SQLite's errors into words."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from clipsearch.errors import LibraryBusyError, LibraryDamagedError, LibraryWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Rows are dominated by float16 vectors of 1 to 2.3 kB. On 4 KiB pages a quarter to a half of each
# page would stay empty; on 8 KiB at most a quarter. Larger pages would double what an insert into a
# hash index writes.
PAGE_SIZE = 8192
# A reader never waits for a writer (WAL), a writer waits this long for a checkpoint.
BUSY_TIMEOUT_S = 10.0
PRIVATE = 0o600
# What reading a database may raise; the second when a damaged schema is named in the message of the first.
DATABASE_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
_UNWRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
_WAL_FORMAT = 2  # the highest file format version there is
# A file that ends too early is damage; what else fails at reading and writing is the disk.
_TORN = ("SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the database at `path`; with `write`, create it when missing, private to the user.

    Readers fall back to an immutable view where nothing can be written at all (a read-only or full disk).

    Raises:
        LibraryDamagedError: The file is no usable database.
        LibraryWriteError: It cannot be created or written; or read, because a killed run left its log behind
            on a disk that is read-only now.
    """
    with spoken_errors(path):
        if write:
            make_private(path)
            return _open(path, "rw")
        try:
            connection = _open(path, "rw")
            try:
                # Also the first real access: opening alone reads nothing.
                connection.execute("PRAGMA query_only = ON")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except BaseException:
                connection.close()
                raise
        except sqlite3.OperationalError as error:
            name = _name(error)
            if name.startswith("SQLITE_BUSY"):
                raise
            if not _has_log(path):
                return _open(path, "ro&immutable=1")
            # An immutable view leaves the log out, and with it what was committed last.
            if not name.startswith(_UNWRITABLE):
                raise
            raise LibraryWriteError(
                f"the run that wrote this library last was killed, and its disk is read-only now: {path}",
                "let any command read it once where it can be written, or copy its folder to such a disk",
            ) from error
        return connection


def _has_log(path: Path) -> bool:
    """Whether commits lie in the write-ahead log, not yet in the database."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def make_private(path: Path) -> None:
    """Make an empty file that only the user can read; nothing where there is one already.

    SQLite gives the write-ahead log and its index the permissions of the database.
    """
    # Never one that exists: closing it would drop the locks of all connections of this process (POSIX), and
    # another process would delete the log that they go on writing.
    # https://www.sqlite.org/howtocorrupt.html, section 2.2
    with suppress(OSError):  # SQLite will say it better
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def prepare_to_write(connection: sqlite3.Connection) -> None:
    """Set up a writing connection; only once it is known that the database is ours."""
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # of a new database; an old one keeps its own
    connection.execute("PRAGMA journal_mode = WAL")
    # An interrupted run must cost nothing, power cuts included: one fsync a batch.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions are spelled out: see `atomic`
        check_same_thread=False,  # each connection has one owner, who may close it from another thread
    )
    # Damage is seen when a page is read, not somewhere behind it; a foreign schema runs no functions.
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


@contextmanager
def atomic(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: one write transaction around the body."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full or failing disk has made SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def spoken_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into clipsearch's own, naming the file."""
    try:
        yield
    except DATABASE_ERRORS as error:
        name = _name(error)
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")):  # the file that readers share
            raise LibraryWriteError(
                f"the disk is full: {path}", "free some space and run the command again; nothing is lost"
            ) from error
        if name.startswith(_UNWRITABLE) and not forbids_writing(path):
            raise LibraryWriteError(
                f"the library cannot be written: {path}",
                "check the folder's permissions, or name another: --library",
            ) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
            raise LibraryBusyError(f"the library is busy: {path}", "try again in a moment") from error
        if name.startswith("SQLITE_IOERR") and not name.startswith(_TORN):
            raise LibraryWriteError(
                f"the disk failed: {path} ({error})", "check the disk; nothing was lost"
            ) from error
        raise LibraryDamagedError(f"the library's database is damaged: {path} ({error})") from error


def forbids_writing(path: Path) -> bool:
    """Whether a damaged header makes SQLite take the database for one of a future format, to be read only.

    https://www.sqlite.org/fileformat2.html, section 1.3.4: the file format write version.
    """
    try:
        with path.open("rb") as file:
            head = file.read(19)
    except OSError:
        return False
    return head[18:] > bytes([_WAL_FORMAT])


@contextmanager
def sound_values(path: Path) -> Iterator[None]:
    """Rows are read in the body: a value in them that no clipsearch wrote is damage of the database."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise LibraryDamagedError(
            f"the library's database is damaged: {path} (a value that makes no sense: {error})"
        ) from error


def _name(error: Exception) -> str:
    """SQLite's own name of an error; empty for those that Python's module raises itself."""
    return getattr(error, "sqlite_errorname", "")
