"""The catalog holds what it was given, in one transaction a batch, through crashes and versions."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from mean_color import MODEL

from clipsearch.catalog import schema
from clipsearch.catalog.catalog import FILE_NAME, Arrival, Catalog, Refusal
from clipsearch.catalog.scope import Scope, scope_of
from clipsearch.errors import (
    LibraryError,
    LibraryTooNewError,
    LibraryWriteError,
    NoLibraryError,
)
from clipsearch.types import Filters, IndexReport, Metadata

TAKEN = datetime(2024, 5, 1, 12, 30)  # noqa: DTZ001 - as cameras write it


def arrival(root: int, path: bytes, digest: bytes, vector: list[float] | None = None) -> Arrival:
    return Arrival(
        root=root,
        path=path,
        size=10,
        mtime_ns=1,
        hash=digest.ljust(32, b"."),
        facts=(640, 480, Metadata(TAKEN)),
        vector=None if vector is None else np.array(vector, np.float32),
    )


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog(tmp_path, write=True) as catalog:
        yield catalog


@pytest.fixture
def model(catalog: Catalog) -> int:
    return catalog.choose_model(MODEL)


def test_reading_where_nothing_was_indexed_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoLibraryError, match="nothing is indexed"):
        Catalog(tmp_path)
    assert list(tmp_path.iterdir()) == [], "and makes nothing"


def test_the_model_comes_back_as_it_was_stored(catalog: Catalog, model: int) -> None:
    assert catalog.current_model() == (model, MODEL)
    assert catalog.choose_model(MODEL) == model, "the same model is no second one"


def test_a_batch_comes_back_with_facts_and_half_precision_vectors(catalog: Catalog, model: int) -> None:
    root = catalog.add_root(Path("/photos"), [])
    batch = [arrival(root, b"b.jpg", b"B", [0.6, 0.8, 0]), arrival(root, b"a/a.jpg", b"A", [1, 0, 0])]
    assert catalog.record(batch, [Refusal(root, b"c.jpg", 3, 4, "truncated")], model) == 2
    (a,) = catalog.photos([catalog.content_of(batch[1].hash)], Scope()).popitem()[1]
    assert (a.path, a.taken, a.width, a.height) == (Path("/photos/a/a.jpg"), TAKEN, 640, 480)
    ((last, contents, rows),) = catalog.vectors(MODEL, model)
    assert last == 2
    assert contents.tolist() == [1, 2]
    np.testing.assert_array_equal(rows, np.array([[0.6, 0.8, 0], [1, 0, 0]], np.float16))
    assert [(file.path, file.reason, file.size) for file in catalog.skipped()] == [
        (Path("/photos/c.jpg"), "truncated", 3)
    ]


def test_a_batch_that_fails_leaves_nothing_behind(catalog: Catalog, model: int) -> None:
    root = catalog.add_root(Path("/photos"), [])
    bad = Arrival(root=root, path=b"x.jpg", size=1, mtime_ns=1, hash=b"?" * 32)  # no facts, not known
    with pytest.raises(ValueError, match="no facts"):
        catalog.record([arrival(root, b"a.jpg", b"A", [1, 0, 0]), bad], [], model)
    assert catalog.count_photos() == 0
    assert catalog.count_embeddings(model) == 0


def test_copies_share_one_content_and_one_embedding(catalog: Catalog, model: int) -> None:
    root = catalog.add_root(Path("/photos"), [])
    copies = [arrival(root, name, b"A", [1, 0, 0]) for name in (b"a.jpg", b"b.jpg")]
    assert catalog.record(copies, [], model) == 1
    assert catalog.count_contents() == 1
    ((content, photos),) = catalog.photos([1], Scope()).items()
    assert (content, [photo.path.name for photo in photos]) == (1, ["a.jpg", "b.jpg"])


def test_names_that_are_not_utf8_come_back_byte_for_byte(catalog: Catalog, model: int) -> None:
    root = catalog.add_root(Path("/photos"), [])
    name = b"caf\xe9 \n'\"\xf0\x9f\x90\x95.jpg"
    catalog.record([arrival(root, name, b"A", [1, 0, 0])], [], model)
    ((photo,),) = catalog.photos([1], Scope()).values()
    assert bytes(photo.path) == b"/photos/" + name
    assert catalog.content_at(photo.path) == 1


def test_a_root_around_others_takes_them_in(catalog: Catalog, model: int) -> None:
    inner = catalog.add_root(Path("/photos/2024"), [])
    other = catalog.add_root(Path("/photos-old"), [])
    catalog.record(
        [arrival(inner, b"a.jpg", b"A", [1, 0, 0])], [Refusal(inner, b"x.jpg", 1, 1, "bad")], model
    )
    outer = catalog.add_root(Path("/photos"), [])
    assert {root.id for root in catalog.roots()} == {outer, other}
    assert catalog.content_at(Path("/photos/2024/a.jpg")) == 1
    assert [file.path for file in catalog.skipped()] == [Path("/photos/2024/x.jpg")]


def test_removing_a_root_keeps_contents_that_another_root_holds(catalog: Catalog, model: int) -> None:
    one, two = catalog.add_root(Path("/one"), []), catalog.add_root(Path("/two"), [])
    catalog.record(
        [arrival(one, b"a.jpg", b"A", [1, 0, 0]), arrival(one, b"b.jpg", b"B", [0, 1, 0])], [], model
    )
    catalog.record([arrival(two, b"a.jpg", b"A")], [], model)
    assert catalog.remove_root(one) == 2
    assert catalog.count_photos() == 1
    assert catalog.count_embeddings(model) == 1
    assert catalog.content_of(b"B".ljust(32, b".")) is None


def test_content_ids_are_never_reused(catalog: Catalog, model: int) -> None:
    root = catalog.add_root(Path("/one"), [])
    catalog.record([arrival(root, b"a.jpg", b"A", [1, 0, 0])], [], model)
    catalog.remove_root(root)
    root = catalog.add_root(Path("/one"), [])
    catalog.record([arrival(root, b"b.jpg", b"B", [1, 0, 0])], [], model)
    assert catalog.content_of(b"B".ljust(32, b".")) == 2, "a vector store may still know content 1"


@pytest.mark.parametrize(
    ("inside", "names"),
    [
        ("/photos", {"a.jpg", "b.jpg", "c.jpg"}),
        ("/photos/2024", {"b.jpg"}),
        ("/photos/2024-05", {"c.jpg"}),
        ("/", {"a.jpg", "b.jpg", "c.jpg", "d.jpg"}),
        ("/photos/20", set()),
        ("/elsewhere", set()),
    ],
)
def test_a_folder_filter_means_that_folder_and_below(
    catalog: Catalog, model: int, inside: str, names: set
) -> None:
    root, other = catalog.add_root(Path("/photos"), []), catalog.add_root(Path("/other"), [])
    paths = {b"A": b"a.jpg", b"B": b"2024/b.jpg", b"C": b"2024-05/c.jpg"}
    catalog.record([arrival(root, path, digest, [1, 0, 0]) for digest, path in paths.items()], [], model)
    catalog.record([arrival(other, b"d.jpg", b"D", [1, 0, 0])], [], model)
    scope = scope_of(Filters(Path(inside)), catalog.roots())
    contents = catalog.contents(scope)
    photos = catalog.photos([1, 2, 3, 4], scope)
    assert contents.tolist() == sorted(photos)
    assert {photo.path.name for held in photos.values() for photo in held} == names


def test_photos_of_an_offline_root_are_out_of_scope(catalog: Catalog, model: int) -> None:
    one, two = catalog.add_root(Path("/one"), []), catalog.add_root(Path("/two"), [])
    catalog.record(
        [arrival(one, b"a.jpg", b"A", [1, 0, 0]), arrival(two, b"b.jpg", b"B", [1, 0, 0])], [], model
    )
    offline = [root for root in catalog.roots() if root.id == one]
    assert catalog.contents(scope_of(Filters(), catalog.roots(), offline)).tolist() == [2]


def test_the_last_report_comes_back(catalog: Catalog) -> None:
    report = IndexReport(
        started=datetime(2026, 1, 2, tzinfo=UTC), seconds=1.5, new=3, offline=(Path("/usb"),)
    )
    catalog.finish_run(report, [])
    assert catalog.last_run() == report


def test_a_reader_sees_only_whole_batches_while_a_writer_works(
    catalog: Catalog, model: int, tmp_path: Path
) -> None:
    root = catalog.add_root(Path("/photos"), [])
    with Catalog(tmp_path) as reader:
        catalog.connection.execute("BEGIN IMMEDIATE")
        catalog.connection.execute(
            "INSERT INTO photo (root, path, content, size, mtime_ns) SELECT ?, 'x', 1, 1, 1 WHERE 0", (root,)
        )
        assert reader.count_photos() == 0
        catalog.connection.execute("COMMIT")
        before = reader.state()
        catalog.record([arrival(root, b"a.jpg", b"A", [1, 0, 0])], [], model)
        assert reader.count_photos() == 1
        assert reader.state() != before


@pytest.mark.usefixtures("catalog")
def test_readers_cannot_write(tmp_path: Path) -> None:
    with Catalog(tmp_path) as reader, pytest.raises(LibraryWriteError):
        reader.add_root(Path("/photos"), [])


def test_a_library_of_a_newer_version_is_refused_and_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    catalog.connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    for write in (False, True):
        with pytest.raises(LibraryTooNewError, match=f"format {schema.VERSION + 1}"):
            Catalog(tmp_path, write=write)
    assert catalog.connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as foreign:
        foreign.execute("CREATE TABLE recipes (name)")
    foreign.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    for write in (False, True):
        with pytest.raises(LibraryError, match="not a clipsearch library"):
            Catalog(tmp_path, write=write)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("damage", [b"this is not SQLite" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_database_is_named_in_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    for write in (False, True):
        with pytest.raises(LibraryError) as caught:
            Catalog(tmp_path, write=write)
        assert FILE_NAME in caught.value.message
        assert "\n" not in caught.value.message


def test_migrations_are_applied_once_each_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalog(tmp_path, write=True).close()
    steps = (*schema.MIGRATIONS, lambda connection: connection.execute("CREATE TABLE note (text TEXT)"))
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    monkeypatch.setattr(schema, "VERSION", len(steps))
    with Catalog(tmp_path) as reader:  # a reader of an older library brings it up to date, too
        assert reader.connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
        assert reader.connection.execute("SELECT count(*) FROM note").fetchone() == (0,)


def test_a_migration_that_fails_leaves_the_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalog(tmp_path, write=True).close()

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fails))
        patch.setattr(schema, "VERSION", len(schema.MIGRATIONS))
        with pytest.raises(LibraryError, match="made to fail"):
            Catalog(tmp_path, write=True)
    with Catalog(tmp_path) as catalog:
        assert (
            catalog.connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchone()
            is None
        )
