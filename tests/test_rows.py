"""Photos as rows of a table: nothing of a path or of what is known is lost on the way."""

from __future__ import annotations

import hashlib
import io
import os
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mean_color import unit

from clipsearch.rows import Row, from_arrow, read_path, row_id, schema, spell_path, to_arrow
from clipsearch.types import Metadata, Place

pa = pytest.importorskip("pyarrow")

PATHS = [
    "/photos/plain.jpg",
    "/photos/100%41 é 🐕.jpg",
    "/photos/two\nlines \x1a.jpg",
    os.fsdecode(b"/photos/caf\xe9.jpg"),
    "/photos/\N{REPLACEMENT CHARACTER}41.jpg",
    "s3://bucket/a b/1.jpg?x=%20",
]


@given(st.binary().filter(lambda raw: b"\0" not in raw))
def test_any_file_name_survives_as_text(raw: bytes) -> None:
    path = os.fsdecode(raw)
    text = spell_path(path)
    assert text.encode().decode() == text
    assert os.fsencode(read_path(text)) == raw


@given(st.binary(), st.binary())
def test_no_two_paths_are_spelled_alike_and_folders_stay_prefixes(one: bytes, other: bytes) -> None:
    spelled = [spell_path(os.fsdecode(raw)) for raw in (one, other, one + b"/" + other)]
    assert (spelled[0] == spelled[1]) == (one == other)
    assert spelled[2] == "/".join(spelled[:2])


def test_ordinary_paths_are_spelled_as_they_are() -> None:
    assert [spell_path(path) for path in PATHS[:3]] == PATHS[:3]
    assert spell_path(PATHS[3]) == "/photos/caf\N{REPLACEMENT CHARACTER}E9.jpg"


def test_a_path_has_the_same_id_in_every_run() -> None:
    digest = hashlib.blake2b(b"/photos/caf\xe9.jpg", digest_size=8).digest()
    assert row_id(PATHS[3]) == int.from_bytes(digest, "big") // 2
    assert len({row_id(path) for path in PATHS}) == len(PATHS)
    assert all(0 <= row_id(path) < 2**63 for path in PATHS)


def test_rows_come_back_from_a_parquet_file_as_they_were() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    zone = timezone(timedelta(hours=-3))
    facts = [
        Metadata(),
        Metadata(datetime(2024, 5, 1, 12, 30), "Nikon D5", "50mm", Place(-0.5, 12.25)),  # noqa: DTZ001 - a camera's
        Metadata(datetime(2024, 5, 1, 12, 30, 1, 500, tzinfo=zone), None, "é", None),
    ]
    rows = [
        Row(
            path,
            hashlib.sha256(path.encode("utf-8", "replace")).digest(),
            3,
            2,
            2**40,
            facts[n % 3],
            {"n": [n]},
        )
        for n, path in enumerate(PATHS)
    ]
    vectors = unit(np.random.default_rng(0).normal(size=(len(rows), 5)))
    batch = to_arrow(rows, vectors, 5)
    assert batch.schema == schema(5)
    batch.validate(full=True)
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_batches([batch]), file)
    (back,) = parquet.read_table(file).to_batches()
    assert back.schema == schema(5)
    found, found_vectors = from_arrow(back)
    assert found == rows
    assert back.column("id").to_pylist() == [row.id for row in rows]
    assert found_vectors.dtype == np.float16
    assert np.array_equal(found_vectors, vectors.astype(np.float16))
    part, part_vectors = from_arrow(back.slice(2, 2))
    assert part == rows[2:4]
    assert np.array_equal(part_vectors, vectors[2:4].astype(np.float16))


def test_no_rows_are_an_empty_table() -> None:
    batch = to_arrow([], np.empty((0, 5), np.float32), 5)
    assert (batch.num_rows, batch.schema) == (0, schema(5))
    rows, vectors = from_arrow(batch)
    assert (rows, vectors.shape) == ([], (0, 5))
