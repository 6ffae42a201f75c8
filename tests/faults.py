"""Processes that are killed and disks that fail: what the tests of faults share."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from mean_color import paint
from older import age
from program import EMBEDDED, RUN

import clipsearch
from clipsearch import Library
from clipsearch.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).with_name("program.py")
PACKAGE = Path(clipsearch.__file__).parent
QUERIES = ("red", "a blue boat", "green and grey")
BATCH = 8
# Every system call by which a library changes on disk, but for the memory that WAL's readers share.
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink")


@dataclass(frozen=True)
class Truth:
    """What a catalog holds, told by what it is about: no ids, no times.

    Attributes:
        photos: Path and hash of every photo.
        vectors: Hash and stored embedding of every content that a photo has.
        skipped: Path and reason of every skipped file.
    """

    photos: dict[str, bytes]
    vectors: dict[bytes, bytes]
    skipped: dict[str, str]

    def holds(self, other: Truth) -> bool:
        """Whether everything of the other is here, too."""
        return self.photos.items() >= other.photos.items() and self.vectors.items() >= other.vectors.items()


class Bench:
    """A folder of photos, a library, and the real command on them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.photos = home / "photos"
        self.library = home / "library"
        self._log = home / "embedded"
        self._runs = 0

    def paint(self, count: int, random: Random) -> None:
        """Photos of random colours in some folders; a tenth are copies, some are no pictures."""
        for number in range(count):
            color = (random.randrange(256), random.randrange(256), random.randrange(256))
            path = self.photos / f"{number % 5}" / f"{number:04}.png"
            if number % 10 == 9:
                shutil.copy(paint(path.with_name(f"{number - 1:04}.png"), color), path)
            elif number % 40 == 7:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"no picture")
            else:
                paint(path, color)

    @property
    def embedded(self) -> int:
        """Pictures given to the encoder by all runs so far."""
        return self._log.stat().st_size if self._log.exists() else 0

    def start(self, *arguments: object, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, under another program (a tracer) if named."""
        self._runs += 1
        return subprocess.Popen(
            [*under, sys.executable, PROGRAM, *map(str, arguments), "--library", str(self.library)],
            env={
                **os.environ,
                EMBEDDED: str(self._log),
                RUN: str(self._runs),
                "PYTHONPATH": str(PACKAGE.parent),  # what the tests import, wherever they were started
                "PYTHONDONTWRITEBYTECODE": "1",
                "COLUMNS": "1000",  # a message is one line
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, under: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Exit code, output and errors of a command; a signal's number is negative."""
        process = self.start(*arguments, under=under)
        out, err = process.communicate(timeout=600)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def done(self, *arguments: object) -> str:
        """Run a command that must succeed; its output."""
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out

    def here(self, *arguments: object) -> tuple[int, str]:
        """Run a command in this process, where `program.install` was called; exit code and errors."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*map(str, arguments), "--library", str(self.library)])
        return code, err.getvalue()

    def truth(self) -> Truth:
        """What the catalog holds, once SQLite has found nothing wrong with it."""
        path = self.library / "catalog.sqlite"
        if not path.exists() or not path.stat().st_size:
            return Truth({}, {}, {})
        with closing(sqlite3.connect(path)) as connection:
            ask = connection.execute
            assert ask("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert ask("PRAGMA foreign_key_check").fetchall() == []
            if not ask("PRAGMA user_version").fetchone()[0]:
                return Truth({}, {}, {})
            photos = ask(
                "SELECT root.path, photo.path, hash FROM photo JOIN root ON root.id = root"
                " JOIN content ON content.id = content"
            )
            vectors = ask(
                "SELECT hash, vector FROM embedding JOIN content ON content.id = content"
                " WHERE EXISTS (SELECT 1 FROM photo WHERE photo.content = content.id)"
            )
            skipped = ask("SELECT root.path, skipped.path, reason FROM skipped JOIN root ON root.id = root")
            return Truth(
                {_joined(root, name): digest for root, name, digest in photos},
                dict(vectors.fetchall()),
                {_joined(root, name): reason for root, name, reason in skipped},
            )

    def answers(self) -> list[list[tuple[str, float]]]:
        """Paths and scores for some queries: all photos, best first."""
        with Library.open(self.library) as library:
            found = [library.search(query, limit=10_000) for query in QUERIES]
        return [[(str(match.path), round(match.score, 6)) for match in matches] for matches in found]

    def check(self) -> Truth:
        """The catalog is sound, its photos are those on disk, and searches find what it holds."""
        truth = self.truth()
        for path, digest in truth.photos.items():
            assert hashlib.sha256(Path(path).read_bytes()).digest() == digest
        assert set(truth.photos.values()) == set(truth.vectors), "each photo with its embedding"
        for vector in truth.vectors.values():
            assert abs(np.linalg.norm(np.frombuffer(vector, "<f2").astype(np.float32)) - 1) < 2e-3
        if truth.photos:
            for found in self.answers():
                assert {path for path, _ in found} == set(truth.photos)
        return truth

    def leftovers(self) -> set[str]:
        """Files in the library's folder that nothing names."""
        with closing(sqlite3.connect(self.library / "catalog.sqlite")) as connection:
            named = {name for (name,) in connection.execute("SELECT file FROM projection")}
        ours = {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "writer.lock"}
        return {path.name for path in self.library.iterdir()} - named - ours

    def copy(self, home: Path) -> Bench:
        """The same library, free to harm; the photos are shared."""
        other = Bench(home)
        other.photos = self.photos
        home.mkdir()
        if self.library.exists():
            shutil.copytree(self.library, other.library)
        return other

    # -- faults by system call -------------------------------------------------------------------

    @property
    def _next_paths(self) -> list[Path]:
        """What the next run may write, things that do not exist yet included."""
        catalog = [f"catalog.sqlite{rest}" for rest in ("", "-wal", "-shm", "-journal")]
        vectors = [f"vectors-1-{self._runs + 1}-{n}.{end}" for n in range(1, 9) for end in ("tmp", "faiss")]
        names = [*catalog, *vectors, "writer.json", "writer.lock"]
        return [self.library, *(self.library / name for name in names)]

    def under_strace(self, *options: str) -> tuple[str, ...]:
        """The beginning of a command line that traces what the next run does to the library."""
        aimed = [word for path in self._next_paths for word in ("-P", str(path))]
        return ("strace", "-f", "-qq", *aimed, *options)

    def calls(self, *arguments: object) -> list[tuple[str, int]]:
        """Run a command; every system call by which it changed the library, as name and number."""
        log = self.home / "calls"
        code, _, err = self.run(
            *arguments, under=self.under_strace("-o", str(log), "-e", f"trace={','.join(CALLS)}")
        )
        assert code == 0, err
        main, seen, found = None, Counter[str](), []
        for line in log.read_text().splitlines():
            if match := re.match(r"(\d+) +(\w+)\(", line):
                thread, call = match.groups()
                main = main or thread
                if thread == main:  # strace counts by thread; one alone writes
                    seen[call] += 1
                    found.append((call, seen[call]))
        return found

    def inject(self, call: str, when: object, fault: str, *arguments: object) -> tuple[int, str, str]:
        """Run a command; at its `when`-th such call on the library, the fault happens instead."""
        options = ("-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}")
        return self.run(*arguments, under=self.under_strace(*options))

    def kill_at(self, call: str, number: int, *arguments: object) -> bool:
        """Kill a command as it enters a system call on the library; whether it came that far."""
        code, _, _ = self.inject(call, number, "signal=KILL", *arguments)
        return code in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def kill_soon(self, random: Random, *arguments: object, spread: float = 0.1) -> bool:
        """Kill a command's process group at a random moment; whether it was still running.

        Half of the moments lie anywhere, half after the first batch has been embedded.
        """
        before, started = self.embedded, time.monotonic()
        process = self.start(*arguments)
        if random.random() < 0.5:
            while process.poll() is None and self.embedded == before and time.monotonic() - started < 30:
                time.sleep(0.002)
            time.sleep(random.random() * spread)
        else:
            time.sleep(random.random() * 6 * spread)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL


class Deed(NamedTuple):
    """A command that changes a library, and what it must find."""

    prepare: Callable[[Bench], object]
    arguments: Callable[[Bench], tuple[object, ...]]


def _indexed(bench: Bench) -> None:
    assert bench.here("index", *sorted(bench.photos.iterdir()), "--batch-size", BATCH)[0] == 0


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
    age(bench.library / "catalog.sqlite")


DEEDS = {
    "index": Deed(lambda _: None, lambda bench: ("index", bench.photos, "--batch-size", 64)),  # 5 commits
    "rebuild": Deed(_without_vectors, lambda _: ("index",)),
    "forget": Deed(_indexed, lambda bench: ("forget", bench.photos / "0")),
    "relocate": Deed(_moved, lambda bench: ("relocate", bench.photos / "0", bench.home / "elsewhere")),
    "optimize": Deed(_indexed, lambda _: ("optimize",)),
    "migration": Deed(_older, lambda _: ("index",)),
}


class Trial:
    """A deed, how it ends undisturbed, and whether a disturbed one left everything in order."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self._home = home
        self._made = Bench(home / "made")
        self._made.paint(160, Random(name))
        DEEDS[name].prepare(self._made)
        self.arguments = DEEDS[name].arguments(self._made)
        self.before = self._made.truth()
        whole = self.bench(home / "whole")
        code, errors = whole.here(*self.arguments)
        assert code == 0, errors
        self.after, self.answers = whole.truth(), whole.answers()
        assert self.after.photos

    def bench(self, home: Path | None = None) -> Bench:
        """The library before the deed, in another folder if named."""
        return self._made.copy(home or self._home / "disturbed")

    @cached_property
    def calls(self) -> list[tuple[str, int]]:
        """See `Bench.calls`."""
        return self.bench(self._home / "traced").calls(*self.arguments)

    def check(self, bench: Bench) -> None:
        """After a fault: sound, nothing lost; and done again, all is as if nothing had been."""
        halfway = bench.truth()
        if self.name == "index":
            assert self.after.holds(halfway)
        else:
            assert halfway in (self.before, self.after), "all or nothing"
        code, errors = bench.here(*self.arguments)
        assert code == 0 or (halfway == self.after and "not an indexed folder" in errors), errors
        if code:
            assert bench.here("index")[0] == 0  # sweeps what the disturbed run left behind
        assert (bench.truth(), bench.answers()) == (self.after, self.answers)
        assert not bench.leftovers()
        shutil.rmtree(bench.home)


def _joined(root: bytes, path: bytes) -> str:
    return os.fsdecode(root + b"/" + path)


@cache
def _why_no_strace() -> str:
    """Why system calls cannot be made to fail here; empty where they can."""
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here"


def needs_strace() -> None:
    """Skip the test where system calls cannot be made to fail."""
    if why := _why_no_strace():
        pytest.skip(why)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount something on a folder for a while; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", *options, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip(f"may not mount: {' '.join(options)}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written in a folder, not even by root."""
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


@contextmanager
def filled(disk: Path, free: int) -> Iterator[None]:
    """Leave so many bytes free on a disk, meanwhile."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free)
    try:
        yield
    finally:
        ballast.unlink()
