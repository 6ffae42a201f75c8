"""The catalog's tables, as a numbered list of migrations.

Paths are BLOBs: file names are bytes, not always UTF-8. A photo's path is relative to its root,
separated by `/`, so that a root can move or go offline without touching its photos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.catalog.connection import atomic, prepare_to_write
from clipsearch.errors import LibraryDamagedError, LibraryError, LibraryTooNewError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

# "clip" in ASCII: tells `file` and us that this database is ours.
APPLICATION_ID = 0x636C6970


def _first_tables(connection: sqlite3.Connection) -> None:
    statements = """
        CREATE TABLE model (
            id INTEGER PRIMARY KEY,
            fingerprint TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            weights BLOB,                       -- path of a local checkpoint
            dim INTEGER NOT NULL,
            logit_scale REAL NOT NULL,
            logit_bias REAL,
            preprocessing TEXT NOT NULL,        -- JSON
            current INTEGER NOT NULL DEFAULT 0  -- 1 for the model that queries use
        );
        CREATE TABLE root (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,
            excludes TEXT NOT NULL DEFAULT '[]', -- JSON list of globs
            indexed TEXT                         -- UTC time of the last whole run
        );
        CREATE TABLE content (
            id INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: vector stores outlive rows
            hash BLOB NOT NULL UNIQUE,            -- SHA-256 of the bytes
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            taken TEXT                            -- ISO 8601, with offset where the camera wrote one
        );
        CREATE TABLE photo (
            id INTEGER PRIMARY KEY,
            root INTEGER NOT NULL REFERENCES root ON DELETE CASCADE,
            path BLOB NOT NULL,
            content INTEGER NOT NULL REFERENCES content,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            UNIQUE (root, path)
        );
        CREATE INDEX photo_content ON photo (content);
        CREATE TABLE embedding (
            id INTEGER PRIMARY KEY AUTOINCREMENT, -- grows: "newer than the projection" is one comparison
            model INTEGER NOT NULL REFERENCES model,
            content INTEGER NOT NULL REFERENCES content ON DELETE CASCADE,
            vector BLOB NOT NULL,                 -- float16, little-endian, unit length
            UNIQUE (content, model)
        );
        CREATE TABLE skipped (
            root INTEGER NOT NULL REFERENCES root ON DELETE CASCADE,
            path BLOB NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            reason TEXT NOT NULL,
            noticed TEXT NOT NULL,
            PRIMARY KEY (root, path)
        ) WITHOUT ROWID;
        CREATE TABLE projection (
            model INTEGER PRIMARY KEY REFERENCES model,
            file TEXT NOT NULL,                   -- name inside the library's folder
            bytes INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            last INTEGER NOT NULL                 -- highest embedding id it reflects
        );
        CREATE TABLE run (
            id INTEGER PRIMARY KEY,
            report TEXT NOT NULL                  -- JSON of an IndexReport
        );
    """
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement)


def _segments(connection: sqlite3.Connection) -> None:
    """A model's vectors lie in several files; the one that there was is the first of them."""
    connection.execute("ALTER TABLE projection RENAME TO whole")
    connection.execute("""
        CREATE TABLE projection (
            model INTEGER NOT NULL REFERENCES model,
            first INTEGER NOT NULL,               -- it reflects the embeddings with ids above this ...
            last INTEGER NOT NULL,                -- ... up to this
            file TEXT NOT NULL,                   -- name inside the library's folder
            bytes INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            grouped INTEGER NOT NULL,             -- 1 where searches look into the nearest groups only
            PRIMARY KEY (model, first)
        ) WITHOUT ROWID
    """)
    connection.execute("INSERT INTO projection SELECT model, 0, last, file, bytes, rows, 0 FROM whole")
    connection.execute("DROP TABLE whole")


def _checksums(connection: sqlite3.Connection) -> None:
    """SQLite does not notice a flipped bit in a row: each vector gets its CRC-32, NULL for those before."""
    connection.execute("ALTER TABLE embedding ADD COLUMN checksum INTEGER")


def _metadata(connection: sqlite3.Connection) -> None:
    """What pictures say about themselves; those that there are, are read once more for it."""
    for column in (
        "camera TEXT",
        "lens TEXT",
        "latitude REAL",
        "longitude REAL",
        "described INTEGER NOT NULL DEFAULT 0",  # whether its EXIF was read for all of this
    ):
        connection.execute(f"ALTER TABLE content ADD COLUMN {column}")
    # No file has this size and this time.
    connection.execute("UPDATE photo SET size = -1, mtime_ns = -1")


def _likenesses(connection: sqlite3.Connection) -> None:
    """How pictures look, of those that were held against others."""
    connection.execute("""
        CREATE TABLE likeness (
            content INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE,
            hash BLOB NOT NULL,                   -- perceptual, 256 bits
            contrast REAL NOT NULL,
            sharpness REAL NOT NULL
        )
    """)


def _tags_and_concepts(connection: sqlite3.Connection) -> None:
    statements = """
        CREATE TABLE vocabulary (
            id INTEGER PRIMARY KEY,
            label TEXT NOT NULL UNIQUE            -- the user's own words for tags, none where they are ours
        );
        CREATE TABLE tag (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE
        );
        CREATE TABLE content_tag (
            content INTEGER NOT NULL REFERENCES content ON DELETE CASCADE,
            tag INTEGER NOT NULL REFERENCES tag ON DELETE CASCADE,
            probability REAL NOT NULL,
            PRIMARY KEY (content, tag)
        ) WITHOUT ROWID;
        CREATE INDEX content_tag_tag ON content_tag (tag, content);
        CREATE TABLE tagged (                     -- contents looked at, though they may have no tag
            content INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE
        );
        CREATE TABLE concept (
            id INTEGER PRIMARY KEY,
            model INTEGER NOT NULL REFERENCES model,
            name TEXT NOT NULL,
            vector BLOB NOT NULL,                 -- float32, little-endian, unit length
            checksum INTEGER NOT NULL,            -- CRC-32 of the vector
            slope REAL NOT NULL,                  -- times the dot product, plus
            offset REAL NOT NULL,                 -- this, is what counts beside the cosines of texts
            liked INTEGER NOT NULL,               -- photos that it was learned from
            unliked INTEGER NOT NULL,
            learned TEXT NOT NULL,                -- UTC
            UNIQUE (model, name)
        );
    """
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement)


def _written(connection: sqlite3.Connection) -> None:
    """Captions and words in pictures, and a full-text index over both; see `clipsearch.catalog.texts`."""
    connection.execute("""
        CREATE TABLE written (
            id INTEGER PRIMARY KEY,               -- of the content
            caption TEXT,                         -- NULL where nobody has looked yet, else it may be empty
            captioner TEXT,                       -- the model it is of
            words TEXT,                           -- as in the picture, line by line
            reader TEXT                           -- what has read them
        )
    """)
    connection.execute("""
        CREATE VIRTUAL TABLE full_text USING fts5(
            caption, words, content = 'written', content_rowid = 'id',
            tokenize = 'unicode61 remove_diacritics 2'
        )
    """)


def _frames(connection: sqlite3.Connection) -> None:
    """What videos show: their own content, which is the first frame, and contents that no photo has."""
    connection.execute("""
        CREATE TABLE frame (
            id INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE, -- which content it is
            video INTEGER NOT NULL REFERENCES content ON DELETE CASCADE,
            seconds REAL NOT NULL,                -- from the video's start
            total INTEGER NOT NULL                -- frames that the video has
        )
    """)
    connection.execute("CREATE INDEX frame_video ON frame (video)")


def _several_models(connection: sqlite3.Connection) -> None:
    """Models stand side by side: the embeddings of one are found without those of another; so are tags."""
    # Without it, what is newer than one model's files is looked for among all that another one has.
    connection.execute("CREATE INDEX embedding_model ON embedding (model)")
    connection.execute("ALTER TABLE tagged ADD COLUMN model INTEGER REFERENCES model")  # that was asked
    connection.execute("UPDATE tagged SET model = (SELECT id FROM model WHERE current)")


# Number n of this list makes version n + 1. Entries are never edited once released, only appended.
MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = (
    _first_tables,
    _segments,
    _checksums,
    _metadata,
    _likenesses,
    _tags_and_concepts,
    _written,
    _frames,
    _several_models,
)
VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Schema version of an open database, 0 when it is empty.

    Raises:
        LibraryError: A database of some other program.
        LibraryDamagedError: No format was ever numbered like this.
        LibraryTooNewError: Written by a newer clipsearch.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or application):
        (ours,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN ('root', 'photo', 'content', 'embedding')"
        ).fetchone()
        if ours == 4:  # noqa: PLR2004 - all of them
            raise LibraryDamagedError("the library's database is damaged: its header is not ours")
        raise LibraryError(
            "the database in this folder is not a clipsearch library", "name another folder: --library"
        )
    if version > VERSION:
        raise LibraryTooNewError(
            f"this library has format {version}; this clipsearch knows formats up to {VERSION}",
            "update clipsearch: pip install --upgrade clipsearch",
        )
    if version < 0 or (version == 0 and tables):
        raise LibraryDamagedError("the library's database is damaged: its header names no format")
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the current version; each step is applied and recorded in one transaction.

    The connection is set up for writing, but not before the database is known to be ours.
    """
    version = version_of(connection)
    prepare_to_write(connection)
    for number in range(version, VERSION):
        with atomic(connection):
            if version_of(connection) > number:  # another process was faster
                continue
            MIGRATIONS[number](connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
