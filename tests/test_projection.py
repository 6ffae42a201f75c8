"""The vector file lags, tears and vanishes; answers stay those of the catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mean_color import MODEL, unit

from clipsearch import projection
from clipsearch.catalog.catalog import Arrival, Catalog
from clipsearch.projection import Projection, refresh
from clipsearch.types import Listeners, Model

DIM = 24
WIDE = Model(MODEL.source, "wide", DIM, 1.0, None, MODEL.preprocessing)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MIN_TAIL", 20)


class Made:
    """A catalog with random vectors, and what numpy says about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = Catalog(folder, write=True)
        self.key = self.catalog.choose_model(WIDE)
        self.root = self.catalog.add_root(Path("/photos"), [])
        self.random = np.random.default_rng(3)
        self.vectors = np.empty((0, DIM), np.float16)
        self.told: list[str] = []

    def add(self, count: int) -> None:
        rows = unit(self.random.standard_normal((count, DIM)))
        start = len(self.vectors)
        self.vectors = np.concatenate([self.vectors, rows.astype(np.float16)])
        arrivals = [
            Arrival(self.root, b"%d.jpg" % n, 1, 1, b"%032d" % n, (1, 1, None), row)
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
    def file(self) -> Path:
        (path,) = self.folder.glob("vectors-*.faiss")
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
    made.add(30)
    assert made.refresh()
    made.check()
    assert len(list(made.folder.glob("vectors-*"))) == 1, "the old file is gone"
    assert made.told == []


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
    stamp = made.catalog.projection(made.key)
    made.add(50)
    made.refresh()
    newer = made.file
    # As if the process had been killed between the rename and the commit.
    assert stamp is not None
    made.catalog.set_projection(made.key, stamp)
    made.check()
    assert made.refresh()
    assert newer.exists()
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
    draft = made.folder / f"vectors-{made.key}.tmp"
    draft.write_bytes(b"half")
    made.refresh()
    assert not draft.exists()
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
