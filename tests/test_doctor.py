"""`clipsearch doctor`: looks, repairs, backs up and brings back; and what it keeps private."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mean_color import MODEL, unit

from clipsearch import Library, vector_files
from clipsearch.catalog.catalog import FILE_NAME, Arrival, Catalog
from clipsearch.cli import main
from clipsearch.encoders import cache
from clipsearch.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryError,
    LibraryTooNewError,
    NoLibraryError,
    UsageError,
)
from clipsearch.lock import writer_lock
from clipsearch.types import Metadata
from clipsearch.vector_files import refresh

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Promised

PHOTOS = 100


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "MIN_TAIL", 20)


def fill(folder: Path, count: int, *, first: int = 0) -> None:
    """Photos with random embeddings, in a catalog and a vector file."""
    vectors = unit(np.random.default_rng(first).standard_normal((count, MODEL.dim)))
    with writer_lock(folder), Catalog(folder, write=True) as catalog:
        key = catalog.choose_model(MODEL)
        known = catalog.roots()
        root = known[0].id if known else catalog.add_root(folder.parent, [])
        arrivals = [
            Arrival(root, b"%d.jpg" % n, 1, 1, b"%032d" % n, (1, 1, Metadata()), vector)
            for n, vector in enumerate(vectors, first)
        ]
        catalog.record(arrivals, [], key)
        refresh(catalog, folder, key, MODEL)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    fill(tmp_path / "library", PHOTOS)
    return tmp_path / "library"


def contents(folder: Path, name: str = FILE_NAME) -> list[tuple[object, ...]]:
    """All photos with their vectors, as the catalog has them."""
    with Catalog(folder, name=name) as catalog:
        return catalog.connection.execute(
            "SELECT path, hash, vector FROM photo JOIN content ON content.id = photo.content"
            " JOIN embedding ON embedding.content = content.id ORDER BY path"
        ).fetchall()


def findings(library: Path) -> list[str]:
    with Library.open(library) as opened:
        return [finding.what for finding in opened.examine().findings if not finding.harmless]


def test_a_sound_library_is_sound(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in library.iterdir()}
    assert main(["doctor", "--library", str(library)]) == 0
    assert {path: path.read_bytes() for path in library.iterdir() if path in before} == before
    capsys.readouterr()
    assert main(["doctor", "--json", "--library", str(library)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sound"]
    assert {checked["part"]: checked["count"] for checked in said["checked"]}["vectors"] == PHOTOS


def test_where_there_is_no_library_it_says_so_and_makes_none(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with Library.open(folder) as opened:
        for ask in (opened.examine, opened.repair, lambda: opened.back_up(tmp_path / "backup")):
            with pytest.raises(NoLibraryError):
                ask()
    assert list(tmp_path.iterdir()) == []


def test_each_kind_of_damage_is_found_and_repaired(library: Path, promised: Promised) -> None:
    def sql(*statements: str) -> None:
        with Catalog(library, write=True) as catalog:
            catalog.connection.execute("PRAGMA foreign_keys = OFF")
            for statement in statements:
                catalog.connection.execute(statement)

    def vector_file() -> Path:
        return next(library.glob("vectors-*.faiss"))

    damages = {
        "1 damaged rows of photo": lambda: sql("UPDATE photo SET path = 'text' WHERE id = 7"),
        "1 damaged rows of skipped": lambda: sql(
            "INSERT INTO skipped VALUES (1, x'61', 1, 1, 'bad', 'never')"
        ),
        "1 damaged rows of content": lambda: sql("UPDATE content SET taken = 'June' WHERE id = 9"),
        "1 damaged rows of run": lambda: sql("INSERT INTO run (report) VALUES ('{}')"),
        "1 vectors are damaged": lambda: sql("UPDATE embedding SET vector = zeroblob(6) WHERE id = 11"),
        "1 photos without a vector": lambda: sql("DELETE FROM embedding WHERE id = 12"),
        "100 vectors that no file and no search covers": lambda: sql(
            "UPDATE projection SET first = 1000, last = 2000"
        ),
        "the vector index is missing or damaged": lambda: vector_file().write_bytes(b"?"),
        "left behind by a run that was killed": lambda: (library / "vectors-1-00.tmp").touch(mode=0o600),
        "others can look at it (mode 755)": lambda: library.chmod(0o755),
        "others can look at it (mode 644)": lambda: (library / FILE_NAME).chmod(0o644),
    }
    for what, damage in damages.items():
        damage()
        found = findings(library)
        assert any(what.split(" ", 1)[-1] in finding for finding in found), (what, found)
        with Library.open(library) as opened:
            assert opened.repair().now.sound, what
        assert findings(library) == []
    promised("What the doctor finds it repairs", len(damages), "kinds of damage")


def test_flipped_vectors_of_the_file_are_found_one_by_one(library: Path, promised: Promised) -> None:
    path = next(library.glob("vectors-*.faiss"))
    whole = path.read_bytes()
    start = whole.index(b"".join(row[2] for row in contents_by_id(library))[:60])
    chance, tried = random.Random(1), 40
    for _ in range(tried):
        place = start + chance.randrange(6 * PHOTOS)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert findings(library) == ["1 of its rows are not what the catalog has"]
    promised("A single flipped bit in a vector file is found", tried, "bits")


def contents_by_id(library: Path) -> list[tuple[object, ...]]:
    with Catalog(library) as catalog:
        return catalog.connection.execute("SELECT id, content, vector FROM embedding ORDER BY id").fetchall()


def test_the_model_cache_is_held_against_its_hashes(library: Path) -> None:
    folder = cache.folder_of(MODEL.fingerprint)
    with cache.drafting() as draft:
        (draft / "text.onnx.data").write_bytes(bytes(1000))
        (draft / cache.MODEL_NAME).write_text("{}")
        cache.publish(draft, MODEL.fingerprint)
    assert cache.damaged_files(MODEL.fingerprint) == (2, [])
    (folder / "text.onnx.data").write_bytes(bytes(999) + b"\1")
    assert cache.damaged_files(MODEL.fingerprint) == (2, [folder / "text.onnx.data"])
    with Library.open(library) as opened:
        assert not opened.examine().sound
        assert opened.repair().now.sound
    assert not folder.exists()


def test_a_table_that_is_half_unreadable_is_saved_but_for_what_is_gone(
    tmp_path: Path, promised: Promised
) -> None:
    library = tmp_path / "library"
    fill(library, 3000)
    whole = contents(library)
    with Catalog(library, write=True) as catalog:
        page = 8192 * (catalog.connection.execute("PRAGMA page_count").fetchone()[0] // 2)
    path = library / FILE_NAME
    damaged = bytearray(path.read_bytes())
    damaged[page : page + 8192] = random.Random(2).randbytes(8192)
    path.write_bytes(damaged)
    with Library.open(library) as opened:
        assert not opened.examine().sound
        repair = opened.repair()
        assert [finding.what for finding in repair.now.findings if not finding.harmless] == []
    assert any("kept in" in sentence for sentence in repair.done)
    (kept,) = library.glob("catalog-damaged-*.sqlite")
    assert kept.read_bytes() == damaged, "the damaged one is kept as it was"
    saved = contents(library)
    assert set(saved) <= set(whole)
    assert len(saved) > 0.8 * len(whole)
    promised("What can be read of a damaged catalog is saved", len(saved), f"of {len(whole):,} photos saved")


def test_a_backup_brings_everything_back(library: Path, tmp_path: Path, promised: Promised) -> None:
    backup, before = tmp_path / "backup", contents(library)
    with Library.open(library) as opened:
        made = opened.back_up(backup)
    assert (made.photos, made.vectors) == (PHOTOS, PHOTOS)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [backup, library], "no draft is left"
    fill(library, 10, first=PHOTOS)
    with Library.open(library) as opened:
        restored = opened.restore(backup)
        assert opened.examine().sound
    assert contents(library) == before
    assert restored.replaced is not None
    assert len(contents(library, restored.replaced.name)) == PHOTOS + 10
    with Library.open(tmp_path / "new" / "library") as opened:
        opened.restore(backup)
        assert opened.status().photos == PHOTOS
    promised("A backup brings a library back", 2, "places")


def test_a_backup_never_overwrites_and_never_lands_nowhere(library: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with Library.open(library) as opened:
        with pytest.raises(UsageError, match="a file already"):
            opened.back_up(tmp_path / "there")
        with pytest.raises(UsageError, match="no such folder"):
            opened.back_up(tmp_path / "none" / "backup")
    assert (tmp_path / "there").read_text() == "mine"


def test_a_damaged_library_is_not_backed_up(library: Path, tmp_path: Path) -> None:
    with Catalog(library, write=True) as catalog:
        catalog.connection.execute("UPDATE embedding SET vector = zeroblob(6) WHERE id = 11")
    with Library.open(library) as opened, pytest.raises(LibraryDamagedError, match="not backed up"):
        opened.back_up(tmp_path / "backup")
    assert list(tmp_path.iterdir()) == [library]


def test_what_is_no_backup_is_not_restored(library: Path, tmp_path: Path) -> None:
    before = contents(library)
    backup = tmp_path / "backup"
    with Library.open(library) as opened:
        opened.back_up(backup)
        whole = backup.read_bytes()

        def refused(data: bytes, error: type[LibraryError]) -> None:
            backup.write_bytes(data)
            with pytest.raises(error):
                opened.restore(backup)

        refused(b"", LibraryDamagedError)
        refused(b"a letter" * 1000, LibraryDamagedError)
        refused(whole[: len(whole) // 2], LibraryDamagedError)
        refused(whole[:60] + b"\0\0\0\x63" + whole[64:], LibraryTooNewError)
        with pytest.raises(UsageError, match="no such file"):
            opened.restore(tmp_path / "none")
        with pytest.raises(UsageError, match="own database"):
            opened.restore(library / FILE_NAME)
    assert contents(library) == before
    assert not list(library.glob("*.tmp"))
    assert not list(library.glob("catalog-replaced-*"))


def test_a_backup_made_while_another_process_writes_is_one_state(
    library: Path, tmp_path: Path, promised: Promised
) -> None:
    going = threading.Event()

    def write() -> None:
        for number in range(1, 1000):
            if going.is_set():
                return
            fill(library, 10, first=PHOTOS + 10 * number)

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    try:
        for number in range(5):
            with Library.open(library) as opened:
                sizes.append(opened.back_up(tmp_path / f"backup-{number}").photos)
    finally:
        going.set()
        writer.join()
    assert sizes == sorted(sizes)
    assert all(size % 10 == 0 for size in sizes), "whole batches"
    promised("A backup made during writing is one consistent state", len(sizes), "backups")


def test_repair_and_restore_wait_for_nobody_but_refuse_while_another_writes(
    library: Path, tmp_path: Path
) -> None:
    with Library.open(library) as opened:
        opened.back_up(tmp_path / "backup")
        with writer_lock(library):
            for ask in (opened.examine, opened.repair, lambda: opened.restore(tmp_path / "backup")):
                with pytest.raises(LibraryBusyError):
                    ask()


def kill_at(moment: float, *arguments: object) -> bool:
    """Run a command and kill it after so many seconds; returns whether it was still running."""
    command = [sys.executable, "-m", "clipsearch", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True
    return False


def killed(tmp_path: Path, count: int) -> int:
    """Kill repairs and restores at random moments; whatever is left, the next one brings home."""
    library, backup = tmp_path / "library", tmp_path / "backup"
    fill(library, 2000)
    whole = contents(library)
    with Library.open(library) as opened:
        opened.back_up(backup)
    started = time.monotonic()
    kill_at(600, "doctor", "--library", library)
    took = time.monotonic() - started
    chance, kills = random.Random(4), 0
    for number in range(count):
        damaged = bytearray((library / FILE_NAME).read_bytes())
        page = 8192 * (len(damaged) // 8192 // 2)
        damaged[page : page + 8192] = chance.randbytes(8192)
        (library / FILE_NAME).write_bytes(damaged)
        ask = ["--repair"] if number % 2 else ["--restore", str(backup)]
        kills += kill_at(chance.uniform(0.3, 1.3) * took, "doctor", *ask, "--library", library)
        with Library.open(library) as opened:
            repair = opened.repair()
            assert repair.now.sound, repair
            assert set(contents(library)) <= set(whole)
            assert len(contents(library)) > len(whole) / 2
            opened.restore(backup)
            assert opened.examine().sound
        assert contents(library) == whole
        for path in library.glob("catalog-*.sqlite*"):
            path.unlink()
    return kills


def test_repairs_and_restores_may_be_killed(tmp_path: Path, promised: Promised) -> None:
    promised("A killed repair or restore loses nothing", killed(tmp_path, 4), "kills survived")


@pytest.mark.slow
def test_repairs_and_restores_may_be_killed_often(tmp_path: Path, promised: Promised) -> None:
    promised("A killed repair or restore loses nothing", killed(tmp_path, 60), "kills survived")


@pytest.mark.skipif(os.name != "posix", reason="modes say nothing on Windows")
def test_a_library_is_private_to_its_user(tmp_path: Path, promised: Promised) -> None:
    before = os.umask(0)
    try:
        made, named = tmp_path / "made", tmp_path / "named"
        named.mkdir(mode=0o755)
        for folder in (made, named):
            fill(folder, PHOTOS)
            with Catalog(folder, write=True) as catalog, Library.open(folder) as opened:
                catalog.set_excludes(1, ["*.tif"])  # so that there is a log
                opened.back_up(tmp_path / f"{folder.name}-backup")
                files = [*folder.glob("catalog*"), *folder.glob("vectors-*"), *tmp_path.glob("*-backup")]
                assert len(files) >= 4
                assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert stat.S_IMODE(named.stat().st_mode) == 0o755, "a folder of the user's own stays as it is"
    finally:
        os.umask(before)
    promised("The library's files are private to the user, whatever the umask", len(files), "files")


def test_at_most_one_of_repair_backup_and_restore(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--repair", "--backup", "x"]) == 2
    assert "one thing each" in capsys.readouterr().err
