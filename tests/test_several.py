"""Several models in one library: each answers as if it were alone, and none is disturbed by another."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import program
import pytest
from faults import BATCH, QUERIES, Bench
from mean_color import paint

from clipsearch import Library
from clipsearch.address import Address
from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.salvage import salvage
from clipsearch.catalog.tags import record_tags
from clipsearch.cli import main
from clipsearch.errors import UnknownModelError, UsageError
from clipsearch.holdings import open_holdings
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Answers = list[list[tuple[str, float]]]

FIRST = "mean-color"
PHOTOS, CONTENTS = 64, 58  # as `paint` makes them of 60


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        program.install(patch.setattr)
        yield


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the other model is called."""
    folder = tmp_path_factory.mktemp("models") / "the other"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A library of one model."""
    bench = Bench(tmp_path_factory.mktemp("made"))
    bench.paint(60, random.Random(7))
    assert bench.here("index", bench.photos, "--batch-size", BATCH)[0] == 0
    return bench


@pytest.fixture(scope="module")
def alone(made: Bench, other: str, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What the other model answers in a library of its own."""
    folder = tmp_path_factory.mktemp("alone") / "library"
    with Library.open(folder) as library:
        library.index([made.photos], model=other)
    return answers(folder)


@pytest.fixture(scope="module")
def pair(made: Bench, other: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A library of two."""
    bench = made.copy(tmp_path_factory.mktemp("pair") / "home")
    code, told = bench.here("index", "--model", other, "--batch-size", BATCH)
    assert code == 0
    assert (
        f"has all {PHOTOS} photos. By default, {FIRST} answers. To change that: clipsearch models use" in told
    )
    return bench


@pytest.fixture
def own(pair: Bench, tmp_path: Path) -> Bench:
    """The same, free to change, with photos of its own."""
    bench = pair.copy(tmp_path / "own")
    bench.photos = bench.home / "photos"
    shutil.copytree(pair.photos, bench.photos)
    with Library.open(bench.library) as library:
        library.relocate(pair.photos, bench.photos)
    return bench


def answers(folder: Path, model: str | None = None) -> Answers:
    """Paths and exact scores for some queries: all photos, best first."""
    with Library.open(folder, model=model) as library:
        found = [library.search(query, limit=10_000) for query in QUERIES]
    return [[(str(match.path), match.score) for match in matches] for matches in found]


def rows(folder: Path, *tables: str) -> list[list[tuple[object, ...]]]:
    """All that tables of a catalog hold."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def of_model(folder: Path, key: int) -> dict[int, bytes]:
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        return dict(connection.execute("SELECT content, vector FROM embedding WHERE model = ?", (key,)))


def test_each_model_answers_as_if_it_were_alone(made: Bench, pair: Bench, alone: Answers, other: str) -> None:
    assert answers(pair.library) == answers(made.library)
    assert answers(pair.library, FIRST) == answers(made.library)
    assert answers(pair.library, other) == alone
    assert answers(pair.library, f"local-dir:{other}") == alone
    assert alone != answers(made.library)
    tables = ("photo", "content", "likeness", "skipped", "frame")  # of roots, only the time of the last run
    assert rows(pair.library, *tables) == rows(made.library, *tables), "photos are what they were"


@pytest.mark.parametrize(
    "kills", [pytest.param(3, id="3 kills"), pytest.param(100, id="100 kills", marks=pytest.mark.slow)]
)
def test_killed_while_another_model_embeds_the_first_answers_as_before(
    made: Bench, pair: Bench, other: str, tmp_path: Path, kills: int
) -> None:
    chance, whole = random.Random(kills), of_model(pair.library, 2)
    before, index = answers(made.library), ("index", "--model", other, "--batch-size", BATCH)
    killed = libraries = 0
    while killed < kills:
        libraries += 1
        bench = made.copy(tmp_path / f"{libraries}")
        finished, had = False, {}
        while not finished and killed < kills:
            finished = not bench.kill_soon(chance, *index)
            killed += not finished
            assert answers(bench.library) == before
            has = of_model(bench.library, 2)
            assert has.items() >= had.items(), "what was committed stays"
            had = has
        embedded = bench.embedded
        bench.done(*index)
        assert bench.embedded - embedded == CONTENTS - len(had), "only the rest is embedded"
        assert answers(bench.library) == before
        assert of_model(bench.library, 2) == whole
        assert not bench.leftovers()


def test_stopped_early_the_next_run_goes_on(made: Bench, other: str, tmp_path: Path) -> None:
    bench = made.copy(tmp_path / "stopped")
    told: list[str] = []
    with Library.open(bench.library, listeners=Listeners(notice=told.append)) as library:
        before = library.search("red", limit=100)
        report = library.index(model=other, batch_size=BATCH, stop=lambda: bool(of_model(bench.library, 2)))
        assert report.interrupted
        assert 0 < report.embedded < CONTENTS
        assert library.search("red", limit=100) == before
        first, second = library.models()
        assert (first.photos, first.missing, first.is_default) == (PHOTOS, 0, True)
        assert second.photos + second.missing == PHOTOS
        assert second.photos >= report.embedded
        assert told == []
        with Library.open(bench.library, model=other, listeners=Listeners(notice=told.append)) as seen:
            assert len(seen.search("red", limit=100)) == second.photos
        assert [f"{second.missing} of {PHOTOS} photos are left out" in line for line in told] == [True]
        assert library.index(model=other).embedded == CONTENTS - report.embedded
        assert [model.missing for model in library.models()] == [0, 0]


def test_the_default_model_is_kept_up_to_date_and_the_others_are_told_of(own: Bench, other: str) -> None:
    paint(own.photos / "new.png", (3, 200, 90))
    paint(own.photos / "0/0000.png", (77, 1, 200))
    code, told = own.here("index")
    assert code == 0
    assert f"lacks 2 of {PHOTOS + 1} photos: clipsearch index --model 'local-dir:" in told
    assert len(answers(own.library)[0]) == PHOTOS + 1
    code, told = own.here("search", "red", "--model", other, "-n", "100")
    assert (code, f"2 of {PHOTOS + 1} photos are left out, which local-dir:" in told) == (0, True)
    assert own.here("search", "red") == (0, ""), "of the default model there is nothing to tell"
    assert own.here("index", own.photos / "0", "--model", other)[0] == 0
    assert len(answers(own.library, other)[0]) == PHOTOS, "of a folder, what is in it"
    assert own.here("index", "--model", other)[0] == 0
    assert len(answers(own.library, other)[0]) == PHOTOS + 1


def test_what_a_model_lacks_that_becomes_the_default_comes_with_the_next_index(
    own: Bench, other: str
) -> None:
    paint(own.photos / "new.png", (3, 200, 90))
    assert own.here("index")[0] == 0
    before = answers(own.library)
    with Library.open(own.library) as library:
        assert library.model().source.name == FIRST
        assert library.use_model(other).missing == 1
        assert library.model().source.name == f"local-dir:{other}", "what is open follows"
        assert len(library.search("red", limit=100)) == PHOTOS
        assert library.index().embedded == 1
        assert len(library.search("red", limit=100)) == PHOTOS + 1
    assert answers(own.library, FIRST) == before


def test_another_process_chooses_the_model_while_a_library_is_open(own: Bench, other: str) -> None:
    with Library.open(own.library) as library:
        before = library.search("red", limit=100)
        own.done("models", "use", other)
        assert library.search("red", limit=100) != before
        own.done("models", "use", FIRST)
        assert library.search("red", limit=100) == before


def test_remove_takes_out_all_that_is_of_a_model_and_nothing_else(
    own: Bench, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Library.open(own.library, model=other) as library:
        library.learn("dark", [own.photos / "0"])
    with Library.open(own.library) as library:
        library.learn("light", [own.photos / "1"])
        with Catalog(own.library, write=True) as catalog:
            for key, content in (1, 1), (2, 2), (2, 3):
                record_tags(catalog, key, [content], [[(f"word {key}", 0.9)]])
        assert library.tags() == [("word 2", 2), ("word 1", 1)]
    before, photos = answers(own.library), rows(own.library, "root", "photo", "content", "skipped")
    assert list(own.library.glob("vectors-2-*"))
    room = (own.library / "catalog.sqlite").stat().st_size

    for name, message in ((FIRST, "is the model that answers, and stays"), ("best", "has no model 'best'")):
        code, told = own.here("models", "remove", name)
        assert (code, message in told, other in told) == (2, True, True)
    with Library.open(own.library) as library:
        gone = library.remove_model(other)
        assert (gone.model.photos, gone.tagged) == (PHOTOS, 2)
        assert library.search("red", limit=100)
        assert [concept.name for concept in library.concepts()] == ["light"]
        assert [model.source.name for model in library.models()] == [FIRST]
        assert library.tags() == [("word 1", 1)]
        assert library.examine().sound
        with pytest.raises(UnknownModelError, match="no model"):
            library.remove_model(other)
    assert answers(own.library) == before
    assert rows(own.library, "root", "photo", "content", "skipped") == photos
    assert not of_model(own.library, 2)
    assert not list(own.library.glob("vectors-2-*"))
    assert (own.library / "catalog.sqlite").stat().st_size <= room
    assert not own.leftovers()
    capsys.readouterr()
    assert main(["search", "red", "--model", other, "--library", str(own.library)]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: this library has no model {other!r}"
    assert hint.startswith(f"hint: it has {FIRST}; ")


def test_what_is_left_alone_with_photos_missing_embeds_them(own: Bench, other: str) -> None:
    paint(own.photos / "new.png", (3, 200, 90))
    assert own.here("index")[0] == 0
    with Library.open(own.library) as library:
        library.use_model(other)
        library.remove_model(FIRST)
        assert library.index().embedded == 1
        assert len(library.search("red", limit=100)) == PHOTOS + 1
        with pytest.raises(UsageError, match="stays"):
            library.remove_model(other)


def test_tags_and_concepts_are_those_of_the_model_asked(
    own: Bench, other: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert own.here("concept", "learn", "dark", "--like", own.photos / "0", "--model", other)[0] == 0
    assert own.here("search", "@dark", "--model", other)[0] == 0
    code, told = own.here("search", "@dark")
    assert (code, "no concept" in told) == (2, True)
    for command in (
        ("classify", "--labels", "red,blue"),
        ("similar", str(own.photos / "0/0000.png")),
        ("duplicates",),
        ("export",),
        ("tag", "--vocabulary", "builtin"),
    ):
        library = ("--library", str(own.library))
        assert main([*command, "--model", other, *library]) == 0, command
        capfd.readouterr()
        assert main([*command, "--model", "best", *library]) == 2
        told = capfd.readouterr().err
        assert ("has no model 'best'" in told, FIRST in told) == (True, True)


def test_status_models_and_doctor_know_all_of_them(
    own: Bench, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library = ("--library", str(own.library))
    assert main(["status", *library]) == 0
    assert f"beside it local-dir:{other}, 3 dimensions" in capsys.readouterr().out
    assert main(["models", "--json", *library]) == 0
    held = json.loads(capsys.readouterr().out)["library"]
    assert [(one["photos"], one["missing"], one["is_default"]) for one in held] == [
        (PHOTOS, 0, True),
        (PHOTOS, 0, False),
    ]
    assert main(["models", *library]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(FIRST in line and "default" in line for line in lines)
    assert main(["doctor", *library]) == 0
    capsys.readouterr()

    (file,) = own.library.glob("vectors-2-*.faiss")
    data = bytearray(file.read_bytes())
    data[-20] ^= 0x40
    file.write_bytes(data)
    assert main(["doctor", *library]) == 1
    assert "of its rows are not what the catalog has" in capsys.readouterr().out
    assert main(["doctor", "--repair", *library]) == 0
    assert main(["doctor", *library]) == 0
    with Catalog(own.library, write=True) as catalog, catalog.atomic():
        catalog.connection.execute("DELETE FROM embedding WHERE model = 2 AND content = 3")
    capsys.readouterr()
    assert main(["doctor", *library]) == 0, "worth knowing, and nothing wrong"
    assert "photos without a vector of local-dir:" in capsys.readouterr().out


def test_a_backup_has_all_models(own: Bench, other: str, tmp_path: Path) -> None:
    first, second = answers(own.library), answers(own.library, other)
    with Library.open(own.library) as library:
        library.back_up(tmp_path / "backup")
    with Library.open(tmp_path / "restored") as library:
        library.restore(tmp_path / "backup")
    assert answers(tmp_path / "restored") == first
    assert answers(tmp_path / "restored", other) == second


def test_forgetting_a_folder_takes_it_from_every_model(own: Bench, other: str) -> None:
    assert own.here("forget", own.photos)[0] == 0
    assert own.here("index", own.photos / "1", "--model", other)[0] == 0
    assert own.check().photos.keys() == {path for path, _ in answers(own.library, other)[0]}
    with Library.open(own.library) as library:
        assert library.examine().sound


def test_a_damaged_catalog_is_saved_with_all_models(own: Bench, other: str) -> None:
    first, second = of_model(own.library, 1), of_model(own.library, 2)
    salvage(own.library)
    with Library.open(own.library) as library:
        assert library.index().embedded == 0
        assert library.index(model=other).embedded == 0
        assert library.repair().now.sound
    assert (of_model(own.library, 1), of_model(own.library, 2)) == (first, second)
    assert len(answers(own.library, other)[0]) == PHOTOS


def test_embeddings_of_the_named_model_are_exported(
    own: Bench, other: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for key, name in (1, FIRST), (2, other):
        file = tmp_path / f"{key}.npy"
        options = ["--vectors", str(file), "--model", name, "--library", str(own.library)]
        assert main(["export", "--format", "paths", *options]) == 0
        assert len(capfd.readouterr().out.splitlines()) == PHOTOS
        assert {row.tobytes() for row in np.load(file)} == set(of_model(own.library, key).values())


def test_a_collection_has_no_models_to_choose_from() -> None:
    with pytest.raises(UsageError, match="has one model"):
        open_holdings(Address("localhost:1", "photos", "plain"), Listeners(), FIRST)
