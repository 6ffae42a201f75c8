"""A library that is watched is at any quiet moment what a fresh index would make of the disk."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

import program
import pytest
from faults import Bench
from mean_color import MeanColor, paint

from clipsearch.encoders import kept
from clipsearch.lock import writer_lock
from clipsearch.types import ModelSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Promised

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "home")
    bench.paint(40, Random(4))
    assert bench.here("index", bench.photos)[0] == 0
    return bench


class Watching:
    """`clipsearch watch` at work, and what it says."""

    def __init__(self, bench: Bench, *options: object, under: tuple[str, ...] = ()) -> None:
        self.process = bench.start("watch", *options, under=under)
        self.lines: list[str] = []
        self._read = 0
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stdout
        self.lines.extend(self.process.stdout)

    def says(self, words: str) -> str:
        """Wait for a line with these words, after those that were waited for before."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for number in range(self._read, len(self.lines)):
                if words in self.lines[number]:
                    self._read = number + 1
                    return self.lines[number]
            time.sleep(0.02)
        raise AssertionError(f"{words!r} is not among {self.lines}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(timeout=60)
        self._reader.join()
        assert self.process.stderr
        with self.process.stderr as errors:
            assert "Traceback" not in errors.read()
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.returncode


@contextmanager
def watching(bench: Bench, *options: object, under: tuple[str, ...] = ()) -> Iterator[Watching]:
    """Watch, and end well."""
    watch = Watching(bench, *options, under=under)
    try:
        watch.says("watching")
        yield watch
    finally:
        code = watch.end()
    assert code == 0, watch.lines


def check_like_fresh(bench: Bench) -> None:
    """The library is sound, and what a fresh one would be."""
    fresh = Bench(bench.home / f"fresh-{time.monotonic_ns()}")
    fresh.photos = bench.photos
    fresh.home.mkdir()
    assert fresh.here("index", bench.photos)[0] == 0
    assert bench.check() == fresh.truth()
    assert not bench.leftovers()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_new_changed_moved_renamed_and_deleted_photos_are_taken_in(bench: Bench) -> None:
    photos = bench.photos
    before = bench.embedded
    with watching(bench) as watch:
        paint(photos / "new" / "deep" / "er" / "one.png", (1, 2, 3))
        watch.says("1 new")
        paint(photos / "new" / "deep" / "er" / "two.png", (1, 2, 4))
        watch.says("1 new")
        paint(photos / "0" / "0000.png", (4, 5, 6))
        watch.says("1 changed")
        (photos / "1" / "0001.png").rename(photos / "new" / "elsewhere.png")
        watch.says("1 moved")
        (photos / "new").rename(photos / "renamed")
        watch.says("3 moved")
        shutil.copy(photos / "renamed" / "elsewhere.png", photos / "2" / "copy.png")
        watch.says("1 copied")
        (photos / "2" / "copy.png").unlink()
        watch.says("1 removed")
        shutil.rmtree(photos / "3")
        watch.says("removed")
        (photos / "4" / "bad.jpg").write_bytes(b"no picture")
        watch.says("1 skipped")
    assert bench.embedded - before == 3, "what moved was not embedded again"
    check_like_fresh(bench)


def test_what_changed_while_nobody_watched_is_taken_in_at_the_start(bench: Bench) -> None:
    paint(bench.photos / "new.png", (1, 2, 3))
    shutil.rmtree(bench.photos / "0")
    with watching(bench) as watch:
        assert "1 new" in watch.lines[0]
    check_like_fresh(bench)


@pytest.mark.slow
def test_names_of_any_kind_are_taken_in(bench: Bench) -> None:
    names = [b"with space", "\N{CAMERA} \N{WHITE SMILING FACE}".encode(), b"new\nline", b"\xff\xfe", b"-n"]
    picture = paint(bench.home / "picture.png", (9, 9, 9)).read_bytes()
    with watching(bench) as watch:
        for name in names:
            folder = bench.photos / os.fsdecode(name)
            folder.mkdir()
            (folder / f"{folder.name}.png").write_bytes(picture)
            eventually(lambda: f"{folder}/" in "\0".join(bench.truth().photos))  # noqa: B023
            folder = folder.rename(f"{folder} 2")
            eventually(lambda: f"{folder}/" in "\0".join(bench.truth().photos))  # noqa: B023
        paint(bench.photos / "after.png", (9, 9, 8))
        eventually(lambda: str(bench.photos / "after.png") in bench.truth().photos)
        assert not any("error" in line for line in watch.lines)
    check_like_fresh(bench)


def test_a_file_that_is_still_being_copied_is_waited_for(bench: Bench) -> None:
    data = paint(bench.home / "large.png", (7, 7, 7), size=(900, 900)).read_bytes()
    with watching(bench) as watch:
        with (bench.photos / "large.png").open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 12):
                file.write(data[start : start + len(data) // 12])
                time.sleep(0.15)
        watch.says("1 new")
        assert not any("skipped" in line or "changed" in line for line in watch.lines)
    check_like_fresh(bench)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_burst_of_files_is_taken_in(bench: Bench, promised: Promised, count: int) -> None:
    picture = paint(bench.home / "picture.png", (9, 9, 9)).read_bytes()
    before = len(bench.truth().photos)
    with watching(bench):
        for number in range(count):
            folder = bench.photos / f"burst {number % 20}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.png").write_bytes(picture + bytes(str(number), "ascii"))
        eventually(lambda: len(bench.truth().photos) == before + count)
        shutil.rmtree(bench.photos / "burst 3")
        eventually(lambda: len(bench.truth().photos) == before + count - count // 20)
    check_like_fresh(bench)
    promised("a watched library takes in a burst of files", count, "files at once")


def test_a_root_goes_away_and_comes_back(bench: Bench) -> None:
    everything = bench.truth()
    away = bench.home / "unplugged"
    with watching(bench) as watch:
        bench.photos.rename(away)
        watch.says("is empty or away; its photos are kept")
        bench.photos.mkdir()  # the mount point that a drive leaves
        time.sleep(1)
        assert bench.truth() == everything
        bench.photos.rmdir()
        paint(away / "meanwhile.png", (3, 2, 1))
        away.rename(bench.photos)
        watch.says("is back")
        watch.says("1 new")
        paint(bench.photos / "0" / "later.png", (3, 2, 2))
        watch.says("1 new")
    check_like_fresh(bench)


def test_a_busy_library_is_waited_for(bench: Bench) -> None:
    with watching(bench) as watch:
        with writer_lock(bench.library):
            paint(bench.photos / "new.png", (1, 2, 3))
            line = watch.says("waiting until that is over")
            assert f"process {os.getpid()}" in line
            paint(bench.photos / "newer.png", (1, 2, 4))
            time.sleep(1.5)
        watch.says("2 new")
        assert sum("waiting" in line for line in watch.lines) == 1, "said once"
    check_like_fresh(bench)


@pytest.mark.slow
def test_others_write_between_refreshes_and_their_folders_are_watched_too(bench: Bench) -> None:
    other = bench.home / "other"
    paint(other / "one.png", RED)
    with watching(bench) as watch:
        bench.done("index", other)
        time.sleep(1)
        paint(other / "two.png", GREEN)
        watch.says("1 new")
        bench.done("forget", other)
        paint(other / "three.png", BLUE)
        paint(bench.photos / "last.png", (9, 8, 7))
        watch.says("1 new")
        assert not any(path.startswith(str(other)) for path in bench.truth().photos)
    check_like_fresh(bench)


@pytest.mark.slow
def test_links_excludes_and_hidden_files_are_as_an_index_run_has_them(bench: Bench) -> None:
    outside = bench.home / "outside"
    paint(outside / "out.png", (8, 8, 8))
    assert bench.here("index", bench.photos, "--exclude", "private/*")[0] == 0
    with watching(bench) as watch:
        (bench.photos / "0" / "link").symlink_to(outside)
        (bench.photos / "0" / "inside").symlink_to(bench.photos / "1")
        watch.says("1 new")
        paint(outside / "more.png", (8, 8, 9))
        watch.says("1 new")
        paint(bench.photos / "0" / "inside" / "real.png", (8, 8, 7))
        watch.says("1 new")
        paint(bench.photos / "private" / "mine.png", (6, 6, 6))
        paint(bench.photos / ".hidden" / "mine.png", (6, 6, 7))
        paint(bench.photos / "1" / ".partial.png", (6, 6, 8))
        paint(bench.photos / "1" / "public.png", (6, 6, 9))
        watch.says("1 new")
    found = bench.check().photos
    assert not any("mine" in path or "partial" in path or "/inside/" in path for path in found)
    assert {str(bench.photos / "0" / "link" / name) for name in ("out.png", "more.png")} <= set(found)
    truth = bench.truth()
    assert bench.here("index")[0] == 0
    assert bench.truth() == truth, "nothing was left for an index run"


@pytest.mark.slow
def test_a_folder_that_may_not_be_watched_is_polled(bench: Bench) -> None:
    limit = ("unshare", "-Ur", "sh", "-c", 'echo 3 > /proc/sys/user/max_inotify_watches; exec "$@"', "sh")
    if (
        not shutil.which("unshare")
        or subprocess.run([*limit, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("may not set the system's limit here")
    with watching(bench, under=limit) as watch:
        assert any("raise fs.inotify.max_user_watches" in line for line in watch.lines)
        paint(bench.photos / "new.png", (1, 2, 3))
        watch.says("1 new")
    check_like_fresh(bench)


@pytest.mark.slow
def test_polling_finds_what_changed(bench: Bench) -> None:
    data = paint(bench.home / "large.png", (7, 7, 7), size=(900, 900)).read_bytes()
    with watching(bench, "--poll", 1) as watch:
        with (bench.photos / "large.png").open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 30):
                file.write(data[start : start + len(data) // 30])
                time.sleep(0.1)
        watch.says("1 new")
        assert not any("skipped" in line or "changed" in line for line in watch.lines)
        paint(bench.photos / "new.png", (1, 2, 3))
        watch.says("1 new")
        shutil.rmtree(bench.photos / "0")
        watch.says("removed")
        bench.photos.rename(bench.home / "away")
        watch.says("is empty or away")
        (bench.home / "away").rename(bench.photos)
        watch.says("is back")
    check_like_fresh(bench)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow)]
)
def test_a_signal_ends_it_with_what_is_done_committed(bench: Bench, number: int, code: int) -> None:
    watch = Watching(bench)
    watch.says("watching")
    for n in range(100):
        paint(bench.photos / "many" / f"{n}.png", (n, 1, 1))
    before = len(bench.truth().photos)
    eventually(lambda: len(bench.truth().photos) > before)
    assert watch.end(number) == code
    assert not bench.leftovers()
    assert bench.here("index")[0] == 0
    check_like_fresh(bench)


def test_without_folders_there_is_nothing_to_watch(tmp_path: Path) -> None:
    code, _, errors = Bench(tmp_path).run("watch")
    assert code == 2
    assert "clipsearch index" in errors


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_at_random_moments_while_files_change_it_catches_up(
    bench: Bench, promised: Promised, kills: int
) -> None:
    chance = Random(kills)
    for turn in range(kills):
        watch = Watching(bench)
        if chance.random() < 0.7:
            watch.says("watching")
        for step in range(chance.randrange(3, 30)):
            _change(bench.photos, chance, f"{turn}-{step}")
            time.sleep(chance.random() * 0.05)
        time.sleep(chance.random() * 1.5)
        assert watch.end(signal.SIGKILL) == -signal.SIGKILL
        bench.truth()  # sound
    with watching(bench):
        pass
    check_like_fresh(bench)
    promised("a watch that is killed catches up when it starts again", kills, "kills at random")


def _change(photos: Path, chance: Random, name: str) -> None:
    known = sorted(path for path in photos.rglob("*.png") if path.is_file())
    path = chance.choice(known)
    match chance.randrange(5):
        case 0:
            path.rename(path.with_name(f"moved {name}.png"))
        case 1 if len(known) > 20 and len(list(path.parent.iterdir())) > 1:
            path.unlink()
        case 2:
            path.parent.rename(photos / f"folder {name}")
        case _:
            paint(photos / f"{chance.randrange(5)}" / f"{name}.png", (chance.randrange(256), 5, 5))


def test_the_model_stays_loaded_between_refreshes_and_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[MeanColor]] = []

    def open_encoder(_: ModelSource | None) -> MeanColor:
        encoder = MeanColor()
        opened.append(weakref.ref(encoder))
        return encoder

    one, other = ModelSource("one"), ModelSource("other")
    held = kept.KeptEncoder(open_encoder)
    assert held.open(one, 1) is held.open(one, 1000)
    held.rest()
    assert held.open(one, 1) is opened[0]()
    held.open(other, 1)
    assert [ref() is None for ref in opened] == [True, False]
    monkeypatch.setattr(kept, "IDLE_S", 0.0)
    held.rest()
    gc.collect()
    assert [ref() is None for ref in opened] == [True, True]
    assert held.open(other, 1) is not None
    assert len(opened) == 3
