"""The vector file lags, tears and vanishes; answers stay those of the catalog."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mean_color import MODEL, unit
from older import age

from clipsearch import projection, vector_files
from clipsearch.catalog.catalog import FILE_NAME, Arrival, Catalog
from clipsearch.errors import LibraryWriteError
from clipsearch.projection import Projection
from clipsearch.types import Listeners, Metadata, Model
from clipsearch.vector_files import refresh

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM = 24
WIDE = Model(MODEL.source, "wide", DIM, 1.0, None, MODEL.preprocessing)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "MIN_TAIL", 20)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> int:
    """Vectors that fit into a segment."""
    monkeypatch.setattr(vector_files, "SEGMENT", 100 * 2 * DIM + 1)
    return 100


class Made:
    """A catalog with random vectors, and what numpy says about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = Catalog(folder, write=True)
        self.key = self.catalog.choose_model(WIDE)
        known = self.catalog.roots()
        self.root = known[0].id if known else self.catalog.add_root(Path("/photos"), [])
        self.random = np.random.default_rng(3)
        self.vectors = np.empty((0, DIM), np.float16)
        self.told: list[str] = []

    def add(self, count: int) -> None:
        self.add_rows(unit(self.random.standard_normal((count, DIM))))

    def add_rows(self, rows: NDArray[np.float32]) -> None:
        start = len(self.vectors)
        self.vectors = np.concatenate([self.vectors, rows.astype(np.float16)])
        arrivals = [
            Arrival(self.root, b"%d.jpg" % n, 1, 1, b"%032d" % n, (1, 1, Metadata()), row)
            for n, row in enumerate(rows, start)
        ]
        self.catalog.record(arrivals, [], self.key)

    def refresh(self) -> bool:
        return refresh(self.catalog, self.folder, self.key, WIDE)

    def open(self) -> Projection:
        return Projection(self.catalog, self.folder, self.key, WIDE, Listeners(notice=self.told.append))

    def check(self, k: int = 10) -> None:
        """Ids and scores as numpy has them, over everything; content n + 1 is row n."""
        opened = self.open()
        assert len(opened) == len(self.vectors)
        for query in unit(self.random.standard_normal((5, DIM))):
            scores = self.vectors.astype(np.float64) @ query
            wanted = np.argsort(-scores)[:k]
            found = opened.search(query, k)
            assert found.ids.tolist() == (wanted + 1).tolist()
            np.testing.assert_allclose(found.scores, scores[wanted], atol=1e-6)
        rows = np.concatenate([rows for _, rows in opened.blocks()])
        np.testing.assert_array_equal(rows, self.vectors)

    @property
    def rows(self) -> list[int]:
        """Of each segment."""
        return [segment.rows for segment in self.catalog.segments(self.key)]

    @property
    def files(self) -> list[Path]:
        """Of the segments, all there are."""
        files = [self.folder / segment.file for segment in self.catalog.segments(self.key)]
        assert sorted(files) == sorted(self.folder.glob("vectors-*"))
        return files

    @property
    def file(self) -> Path:
        (path,) = self.files
        return path


@pytest.fixture
def made(tmp_path: Path):
    made = Made(tmp_path)
    yield made
    made.catalog.close()


def test_a_small_library_needs_no_file(made: Made) -> None:
    made.add(20)
    assert not made.refresh()
    assert not list(made.folder.glob("vectors-*"))
    made.check()


def test_a_growing_library_gets_a_file_and_a_tail(made: Made) -> None:
    made.add(300)
    assert made.refresh()
    made.check()
    size = made.file.stat().st_size
    made.add(15)
    assert not made.refresh(), "15 more of 300 are no reason to write the file again"
    assert made.file.stat().st_size == size
    made.check(k=310)
    file = made.file
    made.add(30)
    assert made.refresh()
    assert made.files[0] == file, "what it had is not written again"
    assert made.rows == [300, 45]
    made.check()
    made.check(k=345)
    assert made.told == []


def test_the_tail_that_queries_read_stays_short_however_large_the_library(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "MAX_TAIL", 25)
    made.add(1000)
    made.refresh()
    made.add(26)
    assert made.refresh()
    assert made.rows == [1000, 26]


def test_segments_are_joined_so_that_they_stay_few(made: Made, room: int) -> None:
    made.add(250)
    made.refresh()
    assert made.rows == [room, room, 50]
    for _ in range(30):
        made.add(21)
        made.refresh()
        rows = made.rows
        pairs = list(pairwise(rows))
        assert all(size <= room for size in rows)
        assert all(first >= 2 * second or first + second > room for first, second in pairs)
        made.check()
    assert made.told == []


def test_only_the_damaged_segment_is_written_anew(made: Made, room: int) -> None:
    made.add(3 * room)
    made.refresh()
    first, second, third = made.files
    second.write_bytes(b"?" * second.stat().st_size)
    made.check()
    assert [str(second) in told for told in made.told] == [True]
    assert made.refresh()
    assert made.rows == [room] * 3
    assert made.files[::2] == [first, third]
    made.told.clear()
    made.check()
    assert made.told == []


def test_only_segments_full_of_dead_vectors_are_written_anew(made: Made, room: int) -> None:
    made.add(3 * room)
    made.refresh()
    first, _, third = made.files
    made.catalog.connection.execute("DELETE FROM photo WHERE content BETWEEN 150 AND 203")
    assert made.refresh()
    assert made.rows == [room, 49, room]
    assert made.files[::2] == [first, third]
    made.catalog.connection.execute("DELETE FROM photo WHERE content > 140 AND content < 301")
    assert made.refresh()
    assert made.rows == [room, 40]
    assert made.files[0] == first


def test_contents_that_a_forgotten_folder_took_along_leave_the_file(made: Made) -> None:
    made.add(100)
    made.refresh()
    made.catalog.connection.execute("DELETE FROM photo WHERE content <= 60")
    made.catalog.drop_orphans()
    assert made.refresh()
    assert made.rows == [40]


def test_equal_scores_come_by_ascending_id_across_segments(made: Made, room: int) -> None:
    made.add_rows(np.tile(unit(np.ones((1, DIM))), (2 * room + 30, 1)))
    made.refresh()
    found = made.open().search(unit(np.ones(DIM)), 2 * room + 10)
    assert found.ids.tolist() == list(range(1, 2 * room + 11))


def test_a_failed_write_leaves_the_library_as_it_was(
    made: Made, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.add(room)
    made.refresh()
    before = made.files
    made.add(2 * room)
    flush, calls = vector_files.flush_folder, iter([True])

    def full_disk(folder: Path) -> None:
        flush(folder)
        if not next(calls, False):  # the first segment fits, the second does not
            raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(vector_files, "flush_folder", full_disk)
        with pytest.raises(LibraryWriteError, match="disk full"):
            made.refresh()
    assert made.files == before
    made.check()
    made.refresh()
    assert made.rows == [room] * 3


def test_the_one_file_of_an_older_version_is_the_first_segment(tmp_path: Path) -> None:
    old = Made(tmp_path)
    old.add(100)
    assert old.refresh()
    (file,) = old.files
    old.add(10)
    old.catalog.close()
    age(tmp_path / FILE_NAME)
    made = Made(tmp_path)
    made.vectors, made.random = old.vectors, old.random
    assert made.file == file
    made.check()
    made.add(20)
    assert made.refresh()
    assert (made.rows, made.files[0]) == ([100, 30], file)
    made.check()
    assert made.told == []
    made.catalog.close()


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_damaged_file_costs_a_sentence_and_is_written_anew(made: Made, damage: str) -> None:
    made.add(100)
    made.refresh()
    whole = made.file.read_bytes()
    if damage == "missing":
        made.file.unlink()
    else:
        made.file.write_bytes(whole[:-7] if damage == "truncated" else b"?" * len(whole))
    made.check()
    assert len(made.told) == 1
    assert "missing or damaged" in made.told[0]
    assert made.refresh()
    assert made.file.read_bytes() == whole
    made.told.clear()
    made.check()
    assert made.told == []


def test_a_file_that_lags_behind_after_a_crash_is_completed_by_the_tail(made: Made) -> None:
    made.add(100)
    made.refresh()
    segments = made.catalog.segments(made.key)
    made.add(30)
    made.refresh()
    newer = made.files[-1]
    # As if the process had been killed between the rename and the commit.
    made.catalog.set_segments(made.key, segments)
    made.check()
    assert made.refresh()
    assert newer not in made.files, "what the killed run left behind is swept"
    made.check()


def test_a_file_that_is_replaced_while_a_query_opens_it_costs_nothing(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.add(50)
    assert made.refresh()
    opened = projection.open_store
    writers = iter([made])

    def replaced_first(*what: object) -> object:
        for writer in writers:  # once
            writer.add(40)
            assert writer.refresh()
        return opened(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(projection, "open_store", replaced_first)
    with Catalog(made.folder) as reader:
        stores = Projection(reader, made.folder, made.key, WIDE, Listeners(notice=made.told.append))
    assert len(stores) == 90
    assert not made.told
    made.check()


def test_drafts_of_a_killed_run_are_swept(made: Made) -> None:
    made.add(100)
    drafts = [made.folder / f"vectors-{made.key}{rest}" for rest in (".tmp", "-0a1b.tmp", "-0a1b.faiss")]
    other = made.folder / f"vectors-{made.key}1-100.faiss"
    for path in (*drafts, other):
        path.write_bytes(b"half")
    made.refresh()
    assert not any(path.exists() for path in drafts)
    assert other.exists(), "that of another model"
    other.unlink()
    made.check()


def test_contents_that_are_gone_leave_the_file_once_they_are_many(made: Made) -> None:
    made.add(100)
    made.refresh()
    execute = made.catalog.connection.execute
    execute("DELETE FROM photo WHERE content <= 15")
    assert not made.refresh()
    assert len(made.open()) == 100
    execute("DELETE FROM photo WHERE content <= 30")
    assert made.refresh()
    opened = made.open()
    assert len(opened) == 70
    assert min(np.concatenate([ids for ids, _ in opened.blocks()])) == 31
