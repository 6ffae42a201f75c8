"""Whatever happens to a library's files: clear words, and no answer that is silently wrong."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import CACHE
from damaged import PHOTOS, Shell, Whole, same

from clipsearch import vector_files
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.connection import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Promised


class Healthy(NamedTuple):
    """A library in good health and what it answers."""

    whole: Whole
    searched: dict[str, float]
    similar: dict[str, float]
    classified: dict[str, float]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny_models / CACHE, folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(folder / "cache"))
        patch.setattr(vector_files, "MIN_TAIL", 30)
        made = Whole(folder, tiny_models / "clip")
    assert len(list(made.library.glob("vectors-*"))) == 1
    return made


@pytest.fixture
def healthy(whole: Whole, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Healthy:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(whole.photos.parent / "cache"))
    monkeypatch.setattr(vector_files, "MIN_TAIL", 30)
    shell = Shell(whole.library, capfd)
    answers = [shell.search()[1], shell.similar(whole.photos / "0/00.png")[1], shell.classify()[1]]
    assert [len(answer) for answer in answers] == [PHOTOS, PHOTOS - 1, PHOTOS]
    return Healthy(whole, *answers)


def flip(path: Path, place: int, bits: int = 1) -> None:
    with path.open("rb+") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ bits]))


def flipped_somewhere(path: Path, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 1, 8, 64])):
        flip(path, chance.randrange(path.stat().st_size), 1 << chance.randrange(8))


def zeroed_page(path: Path, chance: random.Random) -> None:
    with path.open("rb+") as file:
        file.seek(512 * chance.randrange(path.stat().st_size // 512))
        file.write(bytes(chance.choice([512, 4096, 8192])))


def truncated(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def flipped_in_header(path: Path, chance: random.Random) -> None:
    flip(path, chance.randrange(100), 1 << chance.randrange(8))


def survives(
    healthy: Healthy, folder: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> str:
    """Damage a copy of the library and hold every command against what must be; returns what came of it."""
    whole = healthy.whole
    library = whole.copy(folder)
    damage(library)
    shell = Shell(library, capfd)
    asked = {
        "search": (shell.search(), healthy.searched),
        "similar": (shell.similar(whole.photos / "0/00.png"), healthy.similar),
        "classify": (shell.classify(), healthy.classified),
    }
    shell.run("status")
    examined = shell.run("doctor")
    for command, ((said, found), wanted) in asked.items():
        told = "damaged" in said.err or "left out" in said.err
        # What no query can see, the doctor does.
        assert said.code == 2 or same(found, wanted) or told or examined.code, (command, said, examined)
    repaired = shell.run("doctor", "--repair")
    indexed = shell.run("index") if repaired.code == 0 else None
    if indexed is not None and indexed.code == 0:
        assert same(shell.search()[1], healthy.searched), (examined, repaired, indexed)
        assert same(shell.classify()[1], healthy.classified), (examined, repaired, indexed)
        assert shell.run("doctor").code == 0, (examined, repaired, indexed)
        return "sound" if examined.code == 0 else "repaired"
    restored = shell.run("doctor", "--restore", whole.backup)
    assert restored.code == 0, (examined, repaired, indexed, restored)
    assert same(shell.search()[1], healthy.searched), (examined, repaired, indexed, restored)
    return "restored"


DAMAGES = [flipped_somewhere, flipped_somewhere, zeroed_page, truncated, flipped_in_header]


def many(healthy: Healthy, folder: Path, capfd: pytest.CaptureFixture[str], count: int, seed: int) -> None:
    for number in range(count):
        chance = random.Random(seed + number)
        damage = DAMAGES[number % len(DAMAGES)]
        try:
            survives(healthy, folder, capfd, lambda folder: damage(folder / FILE_NAME, chance))  # noqa: B023
        except BaseException as error:
            error.add_note(f"damage {number} of {seed}: {damage.__name__}")
            raise


def test_no_damage_of_the_catalog_is_answered_with(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    many(healthy, tmp_path / "library", capfd, count=12, seed=0)
    promised("No damage of the catalog ends in a traceback or a silently wrong answer", 12, "damages")


@pytest.mark.slow
def test_no_damage_of_the_catalog_is_answered_with_in_a_thousand(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    many(healthy, tmp_path / "library", capfd, count=1000, seed=int(os.environ.get("SEED", "1000")))
    promised("No damage of the catalog ends in a traceback or a silently wrong answer", 1000, "damages")


def places_of_root(healthy: Healthy) -> tuple[bytes, list[int]]:
    """The path of the one root, and where it stands in the catalog's file."""
    path = os.fsencode(healthy.whole.photos)
    database = (healthy.whole.library / FILE_NAME).read_bytes()
    return path, [found.start() for found in re.finditer(re.escape(path), database)]


def test_a_root_is_where_its_folder_is_whether_its_row_or_its_index_is_damaged(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, places = places_of_root(healthy)
    assert len(places) >= 2, "a row and an index"
    for place in places:
        came = survives(
            healthy,
            tmp_path / "library",
            capfd,
            lambda folder: flip(folder / FILE_NAME, place + path.rindex(b"/"), 16),  # noqa: B023
        )
        assert came == "repaired"


def test_a_root_whose_row_is_damaged_is_found_again_when_all_must_be_saved(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, places = places_of_root(healthy)

    with closing(sqlite3.connect(healthy.whole.library / FILE_NAME)) as catalog:
        (page,) = catalog.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run'").fetchone()

    def damage(folder: Path, place: int) -> None:
        flip(folder / FILE_NAME, place + 1, 16)
        with (folder / FILE_NAME).open("rb+") as file:  # what is no index, and not of photos
            file.seek((page - 1) * PAGE_SIZE)
            file.write(bytes(PAGE_SIZE))

    came = [
        survives(healthy, tmp_path / "library", capfd, lambda folder: damage(folder, place))  # noqa: B023
        for place in places
    ]
    assert set(came) == {"repaired"}


def test_a_header_that_forbids_writing_is_damage(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_version = 18  # https://www.sqlite.org/fileformat2.html, section 1.3
    came = survives(
        healthy, tmp_path / "library", capfd, lambda folder: flip(folder / FILE_NAME, write_version, 4)
    )
    assert came == "repaired"


@pytest.mark.slow
def test_no_bit_of_the_header_is_trusted(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    for bit in range(800):
        try:
            survives(
                healthy,
                tmp_path / "library",
                capfd,
                lambda folder: flip(folder / FILE_NAME, bit // 8, 1 << bit % 8),  # noqa: B023
            )
        except BaseException as error:
            error.add_note(f"bit {bit % 8} of byte {bit // 8}")
            raise
    promised("No damage of the catalog ends in a traceback or a silently wrong answer", 800, "header bits")


def test_other_files_in_place_of_the_catalog_are_told_apart(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    def text(folder: Path) -> None:
        (folder / FILE_NAME).write_text("not a database, but a letter\n" * 1000)

    def empty(folder: Path) -> None:
        (folder / FILE_NAME).write_bytes(b"")

    def gone(folder: Path) -> None:
        (folder / FILE_NAME).unlink()

    def foreign(folder: Path) -> None:
        (folder / FILE_NAME).unlink()
        with sqlite3.connect(folder / FILE_NAME) as connection:
            connection.execute("CREATE TABLE recipe (name TEXT)")
        connection.close()

    def half_written(folder: Path) -> None:
        path = folder / FILE_NAME
        os.truncate(path, path.stat().st_size // 2)

    damages = [text, empty, gone, foreign, half_written]
    for damage in damages:
        assert survives(healthy, tmp_path / "library", capfd, damage) in {"repaired", "restored"}
    promised("A catalog that is something else, or gone, is recognised", len(damages), "kinds")


def test_a_newer_library_is_refused_and_left_as_it_is(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = healthy.whole.copy(tmp_path / "library")
    with Catalog(library, write=True) as catalog:
        catalog.connection.execute("PRAGMA user_version = 99")
    before = (library / FILE_NAME).read_bytes()
    shell = Shell(library, capfd)
    for command in (["search", "dog"], ["status"], ["index"], ["doctor"], ["doctor", "--repair"]):
        said = shell.run(*command)
        assert said.code == 2
        assert "format 99" in said.err
    assert (library / FILE_NAME).read_bytes() == before


def test_logs_left_behind_cost_nothing_or_are_told(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    whole = healthy.whole
    other = tmp_path / "other"
    whole.copy(other)
    script = (
        "import os, sys; from pathlib import Path; from clipsearch.catalog.catalog import Catalog\n"
        "catalog = Catalog(Path(sys.argv[1]), write=True)\n"
        "catalog.set_excludes(1, ['*.tif'])\n"
        "os._exit(9)"  # as if killed: nobody brings the log into the database
    )
    subprocess.run([sys.executable, "-c", script, str(other)], check=False)
    log, index = (other / f"{FILE_NAME}{suffix}" for suffix in ("-wal", "-shm"))
    assert log.stat().st_size
    kept, noise = log.read_bytes(), random.Random(3).randbytes(len(index.read_bytes()))

    def own_log(folder: Path) -> None:
        shutil.copy(other / FILE_NAME, folder / FILE_NAME)
        shutil.copy(log, folder / log.name)

    def torn_log(folder: Path) -> None:
        own_log(folder)
        os.truncate(folder / log.name, len(kept) // 2)

    def flipped_log(folder: Path) -> None:
        own_log(folder)
        flip(folder / log.name, len(kept) // 2)

    def stray_log(folder: Path) -> None:
        shutil.copy(log, folder / log.name)

    def noisy_log(folder: Path) -> None:
        (folder / log.name).write_bytes(random.Random(4).randbytes(len(kept)))

    def noisy_index(folder: Path) -> None:
        own_log(folder)
        (folder / index.name).write_bytes(noise)

    damages = [own_log, torn_log, flipped_log, stray_log, noisy_log, noisy_index]
    for damage in damages:
        survives(healthy, tmp_path / "library", capfd, damage)
    promised("Logs left behind, torn, damaged or of another library do no harm", len(damages), "kinds")


def vector_file(folder: Path) -> Path:
    (path,) = folder.glob("vectors-*.faiss")
    return path


def test_no_damage_of_the_vector_file_is_answered_with(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    def missing(folder: Path) -> None:
        vector_file(folder).unlink()

    def short(folder: Path) -> None:
        os.truncate(vector_file(folder), 100)

    def longer(folder: Path) -> None:
        with vector_file(folder).open("ab") as file:
            file.write(b"more")

    def of_another(folder: Path) -> None:
        path = vector_file(folder)
        data = path.read_bytes()
        path.write_bytes(bytes(len(data)))

    def flipped(folder: Path) -> None:
        flip(vector_file(folder), chance.randrange(120, vector_file(folder).stat().st_size), 64)

    chance = random.Random(5)
    damages = [missing, short, longer, of_another, *[flipped] * 4]
    for damage in damages:
        assert survives(healthy, tmp_path / "library", capfd, damage) == "repaired"
    promised("No damage of a vector file ends in a silently wrong answer", len(damages), "damages")


def test_a_photo_that_a_damaged_vector_file_lets_answer_is_seen_at_once(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    """Every bit that makes a score higher: the search itself notices, without the doctor."""
    library = healthy.whole.copy(tmp_path / "library")
    shell = Shell(library, capfd)
    path = vector_file(library)
    whole, seen = path.read_bytes(), 0
    for place in random.Random(6).sample(range(300, 1500), 20):
        path.write_bytes(whole)
        flip(path, place, 0x40 if place % 2 else 0x20)
        said, found = shell.search()
        assert same(found, healthy.searched), (place, said)
        seen += "damaged" in said.err
    assert seen, "the flipped bits matter"
    promised("A search that shows all photos notices each flipped vector", 20, "bits")


def test_a_damaged_vector_in_the_catalog_is_left_out_told_and_embedded_again(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str], promised: Promised
) -> None:
    library = healthy.whole.copy(tmp_path / "library")
    shell = Shell(library, capfd)
    with Catalog(library, write=True) as catalog:
        execute = catalog.connection.execute
        last = 60  # not in the vector file
        (blob,) = execute("SELECT vector FROM embedding WHERE id = ?", (last,)).fetchone()
        execute("UPDATE embedding SET vector = ? WHERE id = ?", (bytes([blob[0] ^ 1]) + blob[1:], last))
        first = 10  # this one is
        (blob,) = execute("SELECT vector FROM embedding WHERE id = ?", (first,)).fetchone()
        execute("UPDATE embedding SET vector = ? WHERE id = ?", (bytes([blob[0] ^ 1]) + blob[1:], first))
    said, found = shell.search()
    assert len(found) == PHOTOS - 1
    assert "1 of the embeddings" in said.err
    examined = shell.run("doctor")
    assert examined.code == 1
    assert "2 vectors are damaged" in examined.out
    repaired = shell.run("doctor", "--repair")
    assert repaired.code == 0
    assert "Brought 1 damaged vectors back from the vector index." in repaired.out
    assert "1 photos have no vector now" in repaired.out
    assert json.loads(shell.run("index", "--json").out)["embedded"] == 1
    assert same(shell.search()[1], healthy.searched)
    promised("A vector damaged in a single bit never answers", 2, "vectors")


def test_a_vector_embedded_again_answers_once(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = healthy.whole.copy(tmp_path / "library")
    shell = Shell(library, capfd)
    with Catalog(library, write=True) as catalog:
        catalog.connection.execute("UPDATE embedding SET checksum = checksum + 1 WHERE id = 10")
    assert shell.run("doctor", "--repair").code == 0
    assert json.loads(shell.run("index", "--json").out)["embedded"] == 1
    assert shell.run("doctor").code == 0, "the vector file has let go of it"
    assert same(shell.search()[1], healthy.searched)


def test_an_index_that_leads_to_another_row_is_damage(
    healthy: Healthy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = healthy.whole.copy(tmp_path / "library")
    without_index = ["PRAGMA writable_schema = ON", "DELETE FROM sqlite_master WHERE name = 'photo_content'"]
    with Catalog(library, write=True) as catalog:
        execute = catalog.connection.execute
        index = execute("SELECT * FROM sqlite_master WHERE name = 'photo_content'").fetchone()
        for sql in without_index:
            execute(sql)
    with Catalog(library, write=True) as catalog:  # which does not know the index, and leaves it as it is
        execute = catalog.connection.execute
        execute("UPDATE photo SET content = 11 WHERE content = 10")
        execute("PRAGMA writable_schema = ON")
        execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    shell = Shell(library, capfd)
    said, found = shell.search()
    assert said.code == 2 or same(found, healthy.searched)
    assert shell.run("doctor").code == 1
    repaired = shell.run("doctor", "--repair")
    assert repaired.code == 0
    assert "indexes anew" in repaired.out
    shell.run("index")
    assert same(shell.search()[1], healthy.searched), "the photo was read again"
