"""Killed anywhere, a library loses nothing that was committed, and the next run ends where any run ends."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import program
import pytest
from faults import Bench, needs_strace

from clipsearch.catalog import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Promised

BATCH = 8


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.mark.parametrize(
    ("kills", "photos", "model"),
    [
        pytest.param(10, 160, (), id="10 kills"),
        pytest.param(200, 600, ("--model", "builtin"), id="200 kills", marks=pytest.mark.slow),
    ],
)
def test_an_index_run_killed_at_random_moments(
    tmp_path: Path, promised: Promised, kills: int, photos: int, model: tuple[str, ...]
) -> None:
    chance = random.Random(kills)
    whole = Bench(tmp_path / "whole")
    whole.paint(photos, chance)
    index = ("index", whole.photos, "--batch-size", BATCH, *model)
    whole.done(*index)
    wanted, answers = whole.check(), whole.answers()
    killed = again = libraries = 0
    while killed < kills:
        libraries += 1
        bench = Bench(tmp_path / f"{libraries}")
        bench.home.mkdir()
        before, finished = bench.truth(), False
        while not finished:
            embedded = bench.embedded
            finished = killed == kills or not bench.kill_soon(chance, *index)
            killed += not finished
            if killed == kills:
                bench.done(*index)
            after = bench.truth()
            assert after.holds(before), "what was committed stays"
            lost = bench.embedded - embedded - (len(after.vectors) - len(before.vectors))
            assert 0 <= lost <= BATCH, "at most one batch is embedded again"
            again += lost
            before = after
        bench.done(*index)
        assert bench.check() == wanted
        assert bench.answers() == answers
        assert not bench.leftovers()
    assert again, "kills that cost nothing at all did not hit a run at work"
    promised("an index run that is killed loses at most the batch under way", killed, "kills at random")


class Deed(NamedTuple):
    """A command that changes a library, and what it must find."""

    prepare: Callable[[Bench], object]
    arguments: Callable[[Bench], tuple[object, ...]]


def _indexed(bench: Bench) -> None:
    bench.done("index", *sorted(bench.photos.iterdir()), "--batch-size", BATCH)


def _moved(bench: Bench) -> None:
    _indexed(bench)
    shutil.copytree(bench.photos / "0", bench.home / "elsewhere")


def _without_vectors(bench: Bench) -> None:
    _indexed(bench)
    (path,) = bench.library.glob("vectors-*")
    path.unlink()


def _older(bench: Bench) -> None:
    """The library as the first format had it."""
    _indexed(bench)
    with closing(sqlite3.connect(bench.library / "catalog.sqlite")) as connection, connection:
        (segment,) = connection.execute("SELECT model, file, bytes, rows, last FROM projection").fetchall()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        connection.execute("DROP TABLE projection")
        first = sqlite3.connect(":memory:")
        schema.MIGRATIONS[0](first)
        (sql,) = first.execute("SELECT sql FROM sqlite_master WHERE name = 'projection'").fetchone()
        first.close()
        assert "projection" in tables
        connection.execute(sql)
        connection.execute("INSERT INTO projection VALUES (?, ?, ?, ?, ?)", segment)
        connection.execute("PRAGMA user_version = 1")


DEEDS = {
    "index": Deed(lambda _: None, lambda bench: ("index", bench.photos, "--batch-size", BATCH)),
    "rebuild": Deed(_without_vectors, lambda _: ("index",)),
    "forget": Deed(_indexed, lambda bench: ("forget", bench.photos / "0")),
    "relocate": Deed(_moved, lambda bench: ("relocate", bench.photos / "0", bench.home / "elsewhere")),
    "optimize": Deed(_indexed, lambda _: ("optimize",)),
    "migration": Deed(_older, lambda _: ("index",)),
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize(
    "steps", [pytest.param(1, id="a step"), pytest.param(None, id="every step", marks=pytest.mark.slow)]
)
def test_a_command_killed_at_a_step_of_a_write(
    tmp_path: Path, promised: Promised, deed: str, steps: int | None
) -> None:
    """Before a system call is after the one before: every write, flush, rename and deletion is between two."""
    needs_strace()
    made = Bench(tmp_path / "made")
    made.paint(100, random.Random(deed))
    DEEDS[deed].prepare(made)
    arguments = DEEDS[deed].arguments(made)
    before = made.truth()

    whole = made.copy(tmp_path / "whole")
    calls = whole.calls(*arguments)
    after, answers = whole.truth(), whole.answers()
    assert after.photos
    chosen = calls if steps is None else random.Random(len(calls)).sample(calls, steps)
    for number, (call, when) in enumerate(chosen):
        bench = made.copy(tmp_path / f"killed-{number}")
        assert bench.kill_at(call, when, *arguments), (call, when)
        halfway = bench.truth()
        if deed == "index":
            assert after.holds(halfway)
        else:
            assert halfway in (before, after), "all or nothing"
        code, _, err = bench.run(*arguments)
        assert code == 0 or (halfway == after and "not an indexed folder" in err), err
        if code:
            bench.done("index")  # sweeps what the killed run left behind
        assert (bench.truth(), bench.answers()) == (after, answers), (call, when)
        assert not bench.leftovers()
        shutil.rmtree(bench.home)
    promised(f"{deed}: killed anywhere, it is done wholly or not at all, and can be done again",
             len(chosen), "kills, each before another write, flush, rename or deletion")
