"""A library as the first format had it, from one of today: every step of the migrations taken back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from clipsearch.catalog import schema

if TYPE_CHECKING:
    from pathlib import Path


def age(database: Path) -> None:
    """Take a catalog back to format 1; it has one vector file at most."""
    with closing(sqlite3.connect(":memory:")) as first:
        schema.MIGRATIONS[0](first)
        before = dict(first.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
        columns = {table: _columns(first, table) for table in before}
    with closing(sqlite3.connect(database)) as connection, connection:
        segments = connection.execute("SELECT model, file, bytes, rows, last FROM projection").fetchall()
        connection.execute("DROP TABLE projection")
        connection.execute(before["projection"])
        connection.executemany("INSERT INTO projection VALUES (?, ?, ?, ?, ?)", segments)
        connection.execute("DROP INDEX embedding_model")
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in before:
                connection.execute(f"DROP TABLE IF EXISTS {table}")  # some go with another
                continue
            for column in _columns(connection, table) - columns[table]:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
