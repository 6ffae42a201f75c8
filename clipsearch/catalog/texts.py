"""Captions of photos and words read in them, and the full-text index over both.

The index (SQLite FTS5, https://www.sqlite.org/fts5.html) has no texts of its own: it is written in the same
transaction as the table `written`. Triggers would do it, but not on a connection that trusts no schema. For
the same reason no foreign key takes texts away with their content: `drop_orphan_texts` does.
"""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from clipsearch.catalog.connection import connect, sound_values, spoken_errors
from clipsearch.errors import LibraryBusyError, LibraryDamagedError, LibraryWriteError, UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope

Kind = Literal["caption", "words"]
_AUTHORS = {"caption": "captioner", "words": "reader"}
_UNREADABLE = re.compile("[\0\ud800-\udfff]")  # FTS5 takes them for the end of a query
_PHRASES = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')
# https://www.sqlite.org/fts5.html, section 6.5: with rank 1 the index is compared with the texts.
_CHECK = "INSERT INTO full_text (full_text, rank) VALUES ('integrity-check', 1)"
_VARIABLES = 30_000  # SQLite's bound on `?` in one statement is 32,766


def all_of(text: str) -> str:
    """An FTS5 query for texts with all of these words, in any order.

    `"words in quotes"` are a phrase, and `word*` is the beginning of one.

    Raises:
        UsageError: There is no word in it.
    """
    return " AND ".join(_terms(text))


def any_of(text: str) -> str:
    """As `all_of`, for texts with at least one of the words."""
    return " OR ".join(_terms(text))


def _terms(text: str) -> list[str]:
    terms: list[str] = []
    for phrase, mark, word in _PHRASES.findall(_UNREADABLE.sub(" ", text)):
        said = phrase or word.rstrip("*")
        if any(map(str.isalnum, said)):
            # Within quotes nothing is syntax; there are none in it.
            terms.append(f'"{said}"' + ("*" if mark or word.endswith("*") else ""))
    if not terms:
        raise UsageError(f"no word in the text {text!r}", 'give some: --text "invoice 2023"')
    return terms


def unwritten(catalog: Catalog, kind: Kind, author: str, scope: Scope) -> NDArray[np.int64]:
    """Ids of the contents within `scope` of which this author has written nothing yet, ascending."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(
            f"SELECT DISTINCT content FROM photo WHERE {scope.where} AND content NOT IN"
            f" (SELECT id FROM written WHERE {_AUTHORS[kind]} = ?) ORDER BY content",
            (*scope.values, author),
        ).fetchall()
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def record_texts(catalog: Catalog, kind: Kind, author: str, texts: Sequence[tuple[int, bytes, str]]) -> None:
    """Commit one batch: content, its SHA-256 and what was written of it, instead of what it had.

    Nothing is kept of a content that has other bytes by now, or is gone.
    """
    who = _AUTHORS[kind]
    ids = [content for content, _, _ in texts]
    with catalog.atomic(), _indexed(catalog.connection, f"id IN ({','.join('?' * len(ids))})", ids):
        catalog.connection.executemany(
            f"INSERT INTO written (id, {kind}, {who}) SELECT id, ?, ? FROM content WHERE id = ? AND hash = ?"
            f" ON CONFLICT (id) DO UPDATE SET {kind} = excluded.{kind}, {who} = excluded.{who}",
            [(text, author, content, digest) for content, digest, text in texts],
        )


def write_again(catalog: Catalog, kind: Kind, scope: Scope) -> None:
    """Have the contents within `scope` looked at anew; until then they keep what they have."""
    with catalog.atomic():
        catalog.connection.execute(
            f"UPDATE written SET {_AUTHORS[kind]} = NULL"
            f" WHERE id IN (SELECT content FROM photo WHERE {scope.where})",
            scope.values,
        )


def drop_texts(catalog: Catalog, kind: Kind, scope: Scope) -> None:
    """Take what was written of the contents within `scope` away."""
    where = f"id IN (SELECT content FROM photo WHERE {scope.where})"
    with catalog.atomic(), _indexed(catalog.connection, where, scope.values):
        catalog.connection.execute(
            f"UPDATE written SET {kind} = NULL, {_AUTHORS[kind]} = NULL WHERE {where}", scope.values
        )
        catalog.connection.execute("DELETE FROM written WHERE caption IS NULL AND words IS NULL")


def drop_orphan_texts(connection: sqlite3.Connection) -> None:
    """Within a transaction, take texts away whose content is gone."""
    where = "id NOT IN (SELECT id FROM content)"
    with _indexed(connection, where, ()):
        connection.execute(f"DELETE FROM written WHERE {where}")


@contextmanager
def _indexed(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterator[None]:
    """Rows of `written` are changed in the body: take them out of the index, and in again."""
    # https://www.sqlite.org/fts5.html, section 6.3: the old texts have to be told.
    connection.execute(
        "INSERT INTO full_text (full_text, rowid, caption, words)"
        f" SELECT 'delete', id, caption, words FROM written WHERE {where}",
        values,
    )
    yield
    connection.execute(
        f"INSERT INTO full_text (rowid, caption, words) SELECT id, caption, words FROM written WHERE {where}",
        values,
    )


def texts_of(catalog: Catalog, kind: Kind, contents: Sequence[int]) -> dict[int, tuple[str, str]]:
    """What was written of each content, and by whom; those of which nothing was are left out."""
    found: dict[int, tuple[str, str]] = {}
    for start in range(0, len(contents), _VARIABLES):
        part = [int(content) for content in contents[start : start + _VARIABLES]]
        rows = catalog.rows(
            f"SELECT id, {kind}, ifnull({_AUTHORS[kind]}, '') FROM written"
            f" WHERE {kind} != '' AND id IN ({','.join('?' * len(part))})",
            part,
        )
        with sound_values(catalog.path):
            found |= {int(content): (str(text), str(author)) for content, text, author in rows}
    return found


def bearing_texts(catalog: Catalog, kind: Kind, scope: Scope) -> list[int]:
    """Ids of the contents within `scope` that have such a text, ascending."""
    rows = catalog.rows(
        f"SELECT id FROM written WHERE {kind} != ''"
        f" AND id IN (SELECT content FROM photo WHERE {scope.where}) ORDER BY id",
        scope.values,
    )
    with sound_values(catalog.path):
        return [int(content) for (content,) in rows]


def ranked(catalog: Catalog, expression: str, scope: Scope, limit: int) -> dict[int, float]:
    """The contents within `scope` whose texts fit best, best first, each with its BM25 (higher is better).

    Args:
        catalog: Open.
        expression: From `all_of` or `any_of`.
        scope: Of which photos.
        limit: At most this many.
    """
    rows = catalog.rows(
        "SELECT rowid, rank FROM full_text WHERE full_text MATCH ?"
        f" AND rowid IN (SELECT content FROM photo WHERE {scope.where}) ORDER BY rank, rowid LIMIT ?",
        (expression, *scope.values, limit),
    )
    with sound_values(catalog.path):
        return {int(content): -float(rank) for content, rank in rows}


def has_texts(catalog: Catalog) -> bool:
    """Whether anything was written of any photo."""
    return bool(catalog.rows("SELECT 1 FROM written WHERE caption != '' OR words != '' LIMIT 1"))


def index_differs(catalog: Catalog) -> bool:
    """Whether the full-text index does not say what the texts say. Not known where nothing can be written."""
    try:
        # SQLite lets only a connection check that could write, too; nothing is.
        with closing(connect(catalog.path, write=True)) as writer, spoken_errors(catalog.path):
            writer.execute("BEGIN")
            writer.execute(_CHECK)
    except LibraryDamagedError:
        return True
    except (LibraryWriteError, LibraryBusyError):
        return False
    return False


def mend_index(catalog: Catalog) -> bool:
    """Make the full-text index anew where it does not say what the texts say; whether it did not."""
    try:
        with catalog.atomic():
            catalog.connection.execute(_CHECK)
    except LibraryDamagedError:
        with catalog.atomic():
            catalog.connection.execute("INSERT INTO full_text (full_text) VALUES ('rebuild')")
        return True
    return False
