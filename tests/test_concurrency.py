"""Many at once: one writes, any number ask; nobody waits for ever, nobody sees half of anything."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import program
import pytest
from faults import QUERIES, Bench

from clipsearch import Library
from clipsearch.errors import LibraryBusyError
from clipsearch.lock import writer_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Promised


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "home")
    bench.paint(200, Random(8))
    return bench


@contextmanager
def searching(bench: Bench, check: Callable[[list[str]], None], readers: int = 4) -> Iterator[list[int]]:
    """Threads that search all the while, each with a library of its own; what they saw is counted."""
    over = threading.Event()
    seen: list[int] = []

    def search() -> None:
        with Library.open(bench.library) as library:
            while True:
                last = over.is_set()
                for query in QUERIES:
                    found = [str(match.path) for match in library.search(query, limit=10_000)]
                    check(found)
                    seen.append(len(found))
                if last:
                    return

    with ThreadPoolExecutor(readers) as pool:
        asked = [pool.submit(search) for _ in range(readers)]
        try:
            yield seen
        finally:
            over.set()
        for answer in asked:
            answer.result(timeout=300)


def test_of_two_index_runs_one_waits_for_its_turn(bench: Bench, promised: Promised) -> None:
    runs = [bench.start("index", bench.photos, "--batch-size", 4) for _ in range(4)]
    ends = [(run.communicate(timeout=300), run.returncode) for run in runs]
    for (_, errors), code in ends:
        assert code == 0 or "is writing to this library" in errors
        assert "Traceback" not in errors
    assert any(code == 0 for _, code in ends)
    assert bench.embedded == len(bench.check().vectors), "none twice"
    promised("index runs at once: one works, the others say who does", len(runs), "runs")


def test_a_search_sees_whole_batches_while_photos_are_indexed(bench: Bench, promised: Promised) -> None:
    bench.here("index", bench.photos / "0")
    least = len(bench.truth().photos)
    run = bench.start("index", bench.photos, "--batch-size", 4)

    def check(found: list[str]) -> None:
        assert len(found) == len(set(found)) >= least

    with searching(bench, check) as seen:
        _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    truth = bench.check()
    assert max(seen) == len(truth.photos)
    assert len(set(seen)) > 2, "they saw it grow"
    promised("searches go on during an index run", len(seen), "searches")


def test_the_first_search_may_come_before_the_first_photo(bench: Bench) -> None:
    run = bench.start("index", bench.photos)
    answers = set()
    while run.poll() is None:
        code, errors = bench.here("search", "red")
        assert code in (0, 1) or "nothing is indexed yet" in errors, errors
        answers.add(code)
    run.communicate()
    assert run.returncode == 0
    assert bench.here("search", "red")[0] == 0
    assert answers


def test_a_search_finds_a_folder_wholly_or_not_at_all_while_it_is_forgotten(
    bench: Bench, promised: Promised
) -> None:
    bench.here("index", *sorted(bench.photos.iterdir()))
    everything = set(bench.truth().photos)
    gone = {path for path in everything if path.startswith(str(bench.photos / "0"))}
    run = bench.start("forget", bench.photos / "0")

    def check(found: list[str]) -> None:
        assert set(found) in (everything, everything - gone)

    with searching(bench, check) as seen:
        run.communicate(timeout=300)
    assert run.returncode == 0
    assert set(bench.check().photos) == everything - gone
    assert bench.here("index")[0] == 0
    promised("a folder is forgotten wholly or not at all, whoever searches", len(seen), "searches")


def test_vectors_are_grouped_and_ungrouped_while_others_search(bench: Bench, promised: Promised) -> None:
    bench.here("index", bench.photos)
    everything = set(bench.truth().photos)

    def check(found: list[str]) -> None:
        assert set(found) == everything

    with searching(bench, check) as seen:
        for arguments in (["optimize"], ["optimize", "--exact"]) * 2:
            code, errors = bench.here(*arguments)
            assert code == 0, errors
    assert not bench.leftovers()
    promised("vector files are replaced under running searches", len(seen), "searches")


def test_a_program_that_reads_and_writes_is_seen_by_others(bench: Bench) -> None:
    bench.here("index", bench.photos / "0")
    with Library.open(bench.library) as library:
        library.search("red")  # opens a connection that stays
        for folder in "1", "2", "3":
            bench.done("search", "red")  # as it ends, it clears the log away unless someone holds it
            library.index([bench.photos / folder])
            _, found, _ = bench.run("search", "red", "-n", 1000, "--format", "paths")
            assert f"{bench.photos / folder}/" in found


def test_a_hundred_searches_at_once(bench: Bench, promised: Promised) -> None:
    bench.here("index", bench.photos)
    wanted = bench.answers()
    start = threading.Barrier(100)

    def ask(_: int) -> list[list[tuple[str, float]]]:
        start.wait(timeout=300)
        return bench.answers()

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100), timeout=120)) == [wanted] * 100
    promised("many search at once", 100, "libraries opened at the same moment")


@pytest.mark.slow
def test_a_hundred_processes_search_at_once(bench: Bench, promised: Promised) -> None:
    bench.here("index", bench.photos)
    _, wanted, _ = bench.run("search", "red", "--format", "json")
    indexing = bench.start("index", bench.photos)
    asks = [bench.start("search", "red", "--format", "json") for _ in range(100)]
    for ask in asks:
        out, errors = ask.communicate(timeout=300)
        assert (ask.returncode, out) == (0, wanted), errors
    indexing.communicate(timeout=300)
    promised("many search at once", 100, "processes")


def test_the_lock_of_a_killed_holder_is_free(bench: Bench, promised: Promised) -> None:
    bench.here("index", bench.photos / "0")
    run = bench.start("index", bench.photos, "--batch-size", 2)
    note = bench.library / "writer.json"
    while not note.exists() or not note.read_text():
        time.sleep(0.005)
    run.send_signal(signal.SIGSTOP)  # it hangs, holding the lock
    code, errors = bench.here("forget", bench.photos / "0")
    assert (code, f"process {run.pid}" in errors) == (2, True)
    assert bench.here("search", "red")[0] == 0, "searching goes on"
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert json.loads(note.read_text())["pid"] == run.pid, "its note stays"
    assert bench.here("index", bench.photos)[0] == 0
    assert not bench.leftovers()
    bench.check()
    promised("the lock of a killed process is free at once", 1, "holders killed")


def test_whoever_holds_the_lock_holds_it_alone(tmp_path: Path, promised: Promised) -> None:
    held, most, taken = 0, 0, 0

    def work(seed: int) -> None:
        nonlocal held, most, taken
        chance = Random(seed)
        for _ in range(50):
            try:
                with writer_lock(tmp_path / "library"):
                    held += 1
                    most, taken = max(most, held), taken + 1
                    time.sleep(chance.random() / 1000)
                    held -= 1
            except LibraryBusyError:
                time.sleep(chance.random() / 1000)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert (most, taken > 8) == (1, True)
    promised("one writer at a time", taken, "times that the lock was taken by one of 8")
