"""A disk that is full, fails or cannot be written: one clear line, nothing lost, and on it goes after."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import program
import pytest
from faults import DEEDS, Bench, Trial, filled, mounted, needs_strace, read_only
from mean_color import paint, unit

from clipsearch.errors import LibraryBusyError
from clipsearch.lock import writer_lock
from clipsearch.stores.faiss import FaissStore, build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Promised

BLOCK = 4096
SOME_OR_ALL = pytest.mark.parametrize(
    "every", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        program.install(patch.setattr)
        yield


@pytest.fixture(scope="module", params=DEEDS)
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(tmp_path_factory.mktemp(request.param), request.param)


def told(errors: str) -> str:
    """The one line of a failed command, which has a hint below."""
    lines = [line for line in errors.splitlines() if "rror" in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: "), errors
    assert "internal" not in errors
    assert "\nhint: " in errors
    return lines[0]


@SOME_OR_ALL
def test_a_disk_that_fills_up(trial: Trial, tmp_path: Path, promised: Promised, *, every: bool) -> None:
    full = 0
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=16m", "tmpfs") as disk:
        for blocks in count() if every else (0, *(4**n for n in range(10))):
            bench = trial.bench(disk / "disturbed")
            with filled(disk, blocks * BLOCK):
                code, errors = bench.here(*trial.arguments)
                if code:
                    full += 1
                    line = told(errors)
                    assert "full" in line or "no space" in line
                    if trial.before.photos and trial.name != "migration":
                        assert bench.here("search", "red")[0] == 0, "searching goes on"
            trial.check(bench)
            if not code:
                break
    assert full
    promised("a full disk costs one clear line", full, f"places where {trial.name} met it")


@SOME_OR_ALL
def test_a_disk_that_fails(trial: Trial, promised: Promised, *, every: bool) -> None:
    needs_strace()
    chance = Random(trial.name)
    chosen = trial.calls if every else chance.sample(trial.calls, 1)
    for call, when in chosen:
        lasting = chance.choice(["", "+"])  # once, or from then on
        bench = trial.bench()
        code, _, errors = bench.inject(call, f"{when}{lasting}", "error=EIO", *trial.arguments)
        assert code in (0, 2), (call, when, errors)
        if code:
            told(errors)
        else:
            assert bench.truth() == trial.after, (call, when, "made no difference")
        trial.check(bench)
    promised("a disk that fails costs one clear line", len(chosen), f"failed writes of {trial.name}")


@pytest.fixture
def indexed(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "home")
    bench.paint(60, Random(3))
    assert bench.here("index", bench.photos)[0] == 0
    return bench


def _killed(bench: Bench) -> None:
    """Let an index run leave its log behind, with photos that are nowhere else."""
    with closing(sqlite3.connect(bench.library / "catalog.sqlite")) as reader:
        reader.execute("SELECT * FROM photo").fetchone()  # whoever reads last would clear the log away
        paint(bench.photos / "new.png", (1, 2, 3))
        bench.done("index")
        shutil.copytree(bench.library, bench.home / "copy")
    bench.library = bench.home / "copy"
    assert (bench.library / "catalog.sqlite-wal").stat().st_size


def test_a_library_that_cannot_be_written_answers(indexed: Bench, promised: Promised) -> None:
    answers = indexed.answers()
    asks = [("search", "red"), ("similar", indexed.photos / "0" / "0000.png"), ("status",)]
    asks += [("status", "--skipped"), ("classify", "--labels", "red,blue")]
    writes = [("index",), ("forget", indexed.photos), ("optimize",)]
    with read_only(indexed.library):
        for ask in asks:
            code, errors = indexed.here(*ask)
            assert code == 0
            assert "rror" not in errors
        assert indexed.answers() == answers
        for write in writes:
            code, errors = indexed.here(*write)
            assert code == 2
            assert "cannot be written" in told(errors)
    promised("a read-only library answers", len(asks), "commands")


@pytest.mark.parametrize("shared_memory", [True, False])
def test_what_a_killed_run_committed_is_never_left_out(
    indexed: Bench, promised: Promised, *, shared_memory: bool
) -> None:
    _killed(indexed)
    if not shared_memory:
        (indexed.library / "catalog.sqlite-shm").unlink()
    with read_only(indexed.library):
        code, errors = indexed.here("search", "red")
        if shared_memory:
            assert code == 0
            assert {path for path, _ in indexed.answers()[0]} >= {str(indexed.photos / "new.png")}
        else:
            assert code == 2
            assert "killed, and its disk is read-only now" in told(errors)
    assert str(indexed.photos / "new.png") in indexed.check().photos, "writable once, all is there"
    promised("a read-only library never hides what was committed last", 1, "libraries of killed runs")


def test_a_disk_that_cannot_be_read_is_no_empty_library(indexed: Bench, promised: Promised) -> None:
    needs_strace()
    log = indexed.home / "reads"
    indexed.run("search", "red", under=indexed.under_strace("-o", str(log), "-e", "trace=pread64"))
    reads = len(log.read_text().splitlines())
    told_of = 0
    for when in range(1, reads + 1, max(1, reads // 5)):
        code, out, errors = indexed.inject("pread64", f"{when}+", "error=EIO", "search", "red")
        assert (code, out) == (2, ""), when
        line = told(errors)
        assert "failed" in line or "damaged" in line, "SQLite takes some unreadable pages for damaged ones"
        told_of += 1
    promised("a library that cannot be read says so", told_of, "failed reads")


def test_vectors_that_find_no_room_are_noticed(tmp_path: Path) -> None:
    """FAISS itself ignores that the last of them could not be written."""

    def write(rows: int) -> int:
        vectors = unit(np.random.default_rng(1).random((rows, 3))).astype(np.float16)
        build(disk / "vectors", 3, rows, [(np.arange(rows), vectors)])
        return len(FaissStore(disk / "vectors"))

    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        most = 65_536 // (3 * 2 + 8)  # bytes of a vector and its id
        assert write(most - 100) == most - 100
        for rows in range(most, most + 300, 20):
            with pytest.raises(OSError, match="No space left"):
                write(rows)


def test_a_full_disk_does_not_keep_one_from_taking_the_lock(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        (disk / "writer.lock").touch()
        with filled(disk, 0), writer_lock(disk), pytest.raises(LibraryBusyError), writer_lock(disk):
            pass
        with writer_lock(disk):
            assert "pid" in (disk / "writer.json").read_text()
