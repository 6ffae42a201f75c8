"""What must hold in a catalog, looked at in full: pages, rows, references, vectors.

SQLite notices damage only where it happens to read, and none in the middle of a value. A row that no
clipsearch wrote is dropped by a repair: the next `index` meets its file as if it were new.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.catalog import WHOLE, report_of
from clipsearch.catalog.connection import DATABASE_ERRORS, forbids_writing, sound_values, spoken_errors
from clipsearch.catalog.vector import checksum_of, unpack
from clipsearch.half_units import are_units
from clipsearch.types import LIKENESS_BYTES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.types import Model

_BLOCK = 65_536
_MOST_PROBLEMS = 100_000
_DISAGREEING_ROW = re.compile(r"row (\d+) missing from index (\w+)")
# Size and time that no file has: the next `index` reads the photo again.
_AGAIN = -1

_IS_PATH = "typeof(path) = 'blob' AND length(path) > 0 AND instr(path, x'00') = 0"
# Of each table, what is true of every row that clipsearch writes.
_SOUND = {
    "root": f"{_IS_PATH} AND is_list(CAST(excludes AS BLOB))"
    " AND (indexed IS NULL OR is_moment(CAST(indexed AS BLOB)))",
    "content": "typeof(hash) = 'blob' AND length(hash) = 32"
    " AND typeof(width) = 'integer' AND typeof(height) = 'integer' AND width > 0 AND height > 0"
    " AND (taken IS NULL OR is_moment(CAST(taken AS BLOB)))"
    " AND (camera IS NULL OR is_text(CAST(camera AS BLOB))) AND (lens IS NULL OR is_text(CAST(lens AS BLOB)))"
    " AND (latitude IS NULL) = (longitude IS NULL)"
    " AND (latitude IS NULL OR typeof(latitude) = 'real' AND abs(latitude) <= 90)"
    " AND (longitude IS NULL OR typeof(longitude) = 'real' AND abs(longitude) <= 180)",
    "photo": f"{_IS_PATH} AND typeof(size) = 'integer' AND typeof(mtime_ns) = 'integer'",
    "frame": "typeof(seconds) = 'real' AND seconds >= 0 AND typeof(total) = 'integer' AND total > 0",
    "likeness": f"typeof(hash) = 'blob' AND length(hash) = {LIKENESS_BYTES}"
    " AND typeof(contrast) = 'real' AND contrast BETWEEN 0 AND 128"
    " AND typeof(sharpness) = 'real' AND sharpness >= 0",
    "skipped": f"{_IS_PATH} AND typeof(size) = 'integer' AND typeof(mtime_ns) = 'integer'"
    " AND is_text(CAST(reason AS BLOB)) AND is_moment(CAST(noticed AS BLOB))",
    "run": "is_report(CAST(report AS BLOB))",
    "vocabulary": "is_text(CAST(label AS BLOB))",
    "tag": "is_text(CAST(name AS BLOB))",
    "content_tag": "typeof(probability) = 'real'",
    "concept": "is_text(CAST(name AS BLOB)) AND is_moment(CAST(learned AS BLOB)) AND crc32(vector) = checksum"
    " AND length(vector) = 4 * (SELECT dim FROM model WHERE model.id = concept.model)"
    " AND typeof(slope) = 'real' AND typeof(offset) = 'real'"
    " AND typeof(liked) = 'integer' AND typeof(unliked) = 'integer'",
    "written": " AND ".join(
        f"({column} IS NULL OR is_text(CAST({column} AS BLOB)))"
        for column in ("caption", "captioner", "words", "reader")
    ),
    "projection": "typeof(first) = 'integer' AND typeof(last) = 'integer' AND typeof(bytes) = 'integer'"
    " AND typeof(rows) = 'integer' AND is_text(CAST(file AS BLOB)) AND instr(file, '/') = 0",
}
_TAGS = ("vocabulary", "tag", "content_tag")
# Rows that name one that is not there.
_DANGLING = {
    "content": "0",
    "photo": "root NOT IN (SELECT id FROM root) OR content NOT IN (SELECT id FROM content)",
    "embedding": "model NOT IN (SELECT id FROM model) OR content NOT IN (SELECT id FROM content)",
    "frame": "id NOT IN (SELECT id FROM content) OR video NOT IN (SELECT id FROM content)",
    "likeness": "content NOT IN (SELECT id FROM content)",
    "skipped": "root NOT IN (SELECT id FROM root)",
    "projection": "model NOT IN (SELECT id FROM model)",
    "content_tag": "content NOT IN (SELECT id FROM content) OR tag NOT IN (SELECT id FROM tag)",
    "tagged": "content NOT IN (SELECT id FROM content) OR model NOT IN (SELECT id FROM model)",
    "concept": "model NOT IN (SELECT id FROM model)",
}


def page_problems(catalog: Catalog) -> list[str]:
    """What SQLite itself finds wrong with the header, pages, trees and indexes."""
    if forbids_writing(catalog.path):
        return ["the header names a format that is not ours"]
    try:
        rows = catalog.connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
    except DATABASE_ERRORS as error:
        return [str(error)]
    return [line for (text,) in rows for line in str(text).splitlines() if text != "ok"]


def only_indexes(problems: Sequence[str]) -> bool:
    """Whether all that is wrong is in indexes, which follow from the tables."""
    return all(" index " in problem for problem in problems)


def indexed_roots(connection: sqlite3.Connection) -> dict[int, bytes]:
    """Where roots are, by id, as the index of their paths has it; none where it cannot be read."""
    try:
        return dict(connection.execute("SELECT id, path FROM root INDEXED BY sqlite_autoindex_root_1"))
    except DATABASE_ERRORS:
        return {}


def name_roots(catalog: Catalog, indexed: dict[int, bytes]) -> None:
    """Have roots where the index said that they are, if there is a folder and none where their rows say."""
    with catalog.atomic():
        rows = dict(catalog.connection.execute("SELECT id, path FROM root").fetchall())
        catalog.connection.executemany(
            "UPDATE OR IGNORE root SET path = ? WHERE id = ?",
            [
                (path, root)
                for root, path in indexed.items()
                if root in rows and _is_folder(path) and not _is_folder(rows[root])
            ],
        )


def _is_folder(path: object) -> bool:
    return isinstance(path, bytes) and b"\0" not in path and os.path.isdir(path)  # noqa: PTH112 - bytes


def unsound_rows(catalog: Catalog) -> dict[str, int]:
    """Rows of each table that no clipsearch wrote, or that name others which are not there."""
    with spoken_errors(catalog.path):
        _teach(catalog.connection)
        found = {
            table: int(
                catalog.connection.execute(f"SELECT count(*) FROM {table} WHERE {wrong}").fetchone()[0]
            )
            for table, wrong in _wrong().items()
        }
    return {table: count for table, count in found.items() if count}


def drop_unsound_rows(catalog: Catalog) -> None:
    """Take those rows out, and what depended on them."""
    with catalog.atomic():
        _teach(catalog.connection)
        catalog.connection.execute("PRAGMA defer_foreign_keys = ON")  # photos go after their contents
        for table, wrong in _wrong().items():
            gone = catalog.connection.execute(f"DELETE FROM {table} WHERE {wrong}").rowcount
            if gone and table in _TAGS:  # the next `tag` gives all of them anew
                catalog.connection.execute("DELETE FROM tagged")


def _wrong() -> dict[str, str]:
    """Parents first: what a row depended on is gone when it is looked at."""
    tables = dict.fromkeys([*_SOUND, *_DANGLING])
    return {
        table: f"NOT ifnull({_SOUND.get(table, '1')}, 0) OR ({_DANGLING.get(table, '0')})" for table in tables
    }


def _teach(connection: sqlite3.Connection) -> None:
    """SQL functions that say whether the bytes of a text are what they should be."""
    readers: dict[str, Callable[[str], object]] = {
        "is_text": str,
        "is_moment": datetime.fromisoformat,
        "is_report": report_of,
        "is_list": lambda text: "".join(json.loads(text)),
    }
    for name, read in readers.items():
        connection.create_function(name, 1, _succeeds(read), deterministic=True)
    connection.create_function("crc32", 1, _crc32, deterministic=True)


def _crc32(value: object) -> int | None:
    return zlib.crc32(value) if type(value) is bytes else None


def _succeeds(read: Callable[[str], object]) -> Callable[[bytes | None], bool]:
    def succeeds(value: bytes | None) -> bool:
        try:
            read((value or b"").decode())
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        return True

    return succeeds


@dataclass(frozen=True, slots=True)
class Held:
    """The embeddings of one model, as the catalog has them.

    Attributes:
        ids: `(n,)` int64, ascending, of those that are sound.
        contents: `(n,)` int64.
        sums: `(n,)` uint32, `checksum_of` each vector.
        damaged: Ids of the others; with each its content, and its checksum (None if it has none).
    """

    ids: NDArray[np.int64]
    contents: NDArray[np.int64]
    sums: NDArray[np.uint32]
    damaged: dict[int, tuple[int, int | None]]


def held(catalog: Catalog, key: int, model: Model, advance: Callable[[int], None] = lambda _: None) -> Held:
    """Read every embedding of a model, and see that it has the right length, is finite and of unit length.

    Args:
        catalog: Open, its pages sound.
        key: The model's id.
        model: Its identity.
        advance: Told how many were read so far.
    """
    ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    contents, sums = list(ids), [np.empty(0, np.uint32)]
    damaged: dict[int, tuple[int, int | None]] = {}
    done = 0
    with spoken_errors(catalog.path):
        cursor = catalog.connection.execute(
            "SELECT id, content, vector, checksum FROM embedding WHERE model = ? ORDER BY id", (key,)
        )
        while rows := cursor.fetchmany(_BLOCK):
            with sound_values(catalog.path):
                numbers, owners, blobs, checksums = zip(*rows, strict=True)
                sound, vectors = unpack(blobs, owners, checksums, model.dim)
                sound[np.flatnonzero(sound)[~are_units(vectors)]] = False
                for place in np.flatnonzero(~sound).tolist():
                    damaged[numbers[place]] = owners[place], checksums[place]
                kept = np.flatnonzero(sound).tolist()
                ids.append(np.array([numbers[place] for place in kept], np.int64))
                contents.append(np.array([owners[place] for place in kept], np.int64))
                sums.append(checksums_of([blobs[place] for place in kept], contents[-1]))
            done += len(rows)
            advance(done)
    return Held(np.concatenate(ids), np.concatenate(contents), np.concatenate(sums), damaged)


def checksums_of(blobs: Sequence[bytes], contents: NDArray[np.int64]) -> NDArray[np.uint32]:
    """`checksum_of` each of some vectors."""
    return np.fromiter(map(checksum_of, blobs, contents.tolist()), np.uint32, len(blobs))


def mend_vectors(catalog: Catalog, key: int, good: dict[int, bytes]) -> None:
    """Put back vectors that were found elsewhere, by embedding id."""
    with catalog.atomic():
        catalog.connection.executemany(
            "UPDATE embedding SET vector = ? WHERE id = ? AND model = ?",
            [(blob, number, key) for number, blob in good.items()],
        )


def drop_vectors(catalog: Catalog, ids: Sequence[int]) -> None:
    """Take embeddings out."""
    with catalog.atomic():
        catalog.connection.executemany("DELETE FROM embedding WHERE id = ?", [(number,) for number in ids])


def without_embedding(catalog: Catalog, key: int) -> int:
    """Photos that no query under a model can find, those that the next `index` reads again not counted."""
    with spoken_errors(catalog.path):
        sql = f"SELECT count(*) FROM photo WHERE size != {_AGAIN} AND {_BARE}"
        return int(catalog.connection.execute(sql, (key, key)).fetchone()[0])


def to_be_read_again(catalog: Catalog) -> int:
    """Photos that the next `index` reads again."""
    with spoken_errors(catalog.path):
        sql = f"SELECT count(*) FROM photo WHERE size = {_AGAIN}"
        return int(catalog.connection.execute(sql).fetchone()[0])


def read_again(catalog: Catalog, key: int) -> int:
    """Have the next `index` read the photos that have no embedding; returns how many there are."""
    with catalog.atomic():
        return int(catalog.connection.execute(f"{_MARK} size != {_AGAIN} AND {_BARE}", (key, key)).rowcount)


def read_all_again(catalog: Catalog) -> None:
    """Have the next `index` read every photo, and embed those whose bytes are not known."""
    with catalog.atomic():
        catalog.connection.execute(f"{_MARK} 1")


def read_disagreeing_again(catalog: Catalog, problems: Sequence[str]) -> None:
    """Have the next `index` read the photos whose rows said something else than their indexes."""
    with catalog.atomic():
        execute = catalog.connection.execute
        tables = dict(execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'").fetchall())
        for problem in problems:
            if match := _DISAGREEING_ROW.search(problem):
                column = {"photo": "id", "content": "content"}.get(tables.get(match[2], ""))
                if column is not None:
                    execute(f"{_MARK} {column} = ?", (int(match[1]),))


# A photo without an embedding; a video one of whose frames has none, or is gone.
_BARE = (
    "(NOT EXISTS (SELECT 1 FROM embedding WHERE embedding.content = photo.content AND model = ?)"
    f" OR EXISTS (SELECT 1 FROM content WHERE content.id = photo.content AND NOT {WHOLE}))"
)
_MARK = f"UPDATE photo SET size = {_AGAIN}, mtime_ns = {_AGAIN} WHERE"


def uncovered(catalog: Catalog, key: int) -> int:
    """Embeddings that lie between the spans of the vector store's files, where no query looks."""
    segments = catalog.segments(key)
    if not segments:
        return 0
    last = max(segment.last for segment in segments)
    overlap = any(one.last > two.first for one, two in pairwise(segments))
    between = (
        catalog.count_embeddings(key)
        - catalog.count_embeddings(key, after=last)
        - sum(catalog.surviving(key, segments))
    )
    return abs(between) or int(overlap)
