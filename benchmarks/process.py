"""Runs programs as a user would, one whole process at a time, and watches what they take."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_WATCH_S = 0.002
_SHOWN_LINES = 15
_READ_BYTES = 1 << 24

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """One program call.

    Attributes:
        arguments: Program and arguments.
        folder: Working directory.
        environment: Added to this process's own.
    """

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Where and with what it is started, for `subprocess`; nothing to read on standard input."""
        return {
            "cwd": self.folder,
            "env": {**_environment(), **self.environment},
            "stdin": subprocess.DEVNULL,
        }


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took.

    Attributes:
        seconds: Wall clock, from before it was started until it had ended.
        resident: Peak resident memory in bytes, mapped files included (`VmHWM`, looked at
            every 2 ms: the kernel remembers the peak, so only the last 2 ms can be missed).
        private: Peak anonymous memory in bytes: what only this process has and the system cannot
            drop (`RssAnon`, looked at every 2 ms). Pages of mapped files, which live in the page
            cache, do not count.
        handed: Bytes passed to write calls, to files and pipes alike (`wchar`).
        stored: Bytes of file pages it made dirty, mapped ones included (`write_bytes`).
    """

    seconds: float
    resident: float
    private: float
    handed: float
    stored: float


@dataclass(frozen=True, slots=True)
class Contender:
    """One side of a comparison.

    Attributes:
        command: What is measured.
        prepare: Called before each run, not measured.
        clean_up: Called after each run, not measured.
        accepted: Exit codes that mean success.
    """

    command: Command
    prepare: Callable[[], object] = lambda: None
    clean_up: Callable[[], object] = lambda: None
    accepted: frozenset[int] = frozenset({0})


def _environment() -> dict[str, str]:
    """Ours, without what a developer may have told Python: unbuffered output, no compiled files."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def read_files(folder: Path) -> None:
    """Bring the files of a folder into the page cache, from which the other side may have driven them."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                while file.read(_READ_BYTES):
                    pass


class ProgramFailedError(Exception):
    """A measured program ended with an error; carries its last lines of output."""


def run(command: Command, accepted: frozenset[int] = frozenset({0})) -> Usage:
    """Run a program to its end and say what it took. Its output goes to a file, as through a pipe.

    Raises:
        ProgramFailedError: It ended with a code that is not among the accepted.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.arguments,
            **command.settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peaks = _Peaks(process.pid)
        # Not reaped yet: the counters of what it wrote can still be read.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - started
        peaks.stop()
        written = counters(Path(f"/proc/{process.pid}/io"))
        if process.wait() not in accepted:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
            said = "\n".join(lines)
            raise ProgramFailedError(f"exit code {process.returncode}: {' '.join(command.arguments)}\n{said}")
    return Usage(seconds, peaks.resident, peaks.private, written["wchar"], written["write_bytes"])


def output_of(command: Command) -> str:
    """Standard output of a program."""
    found = subprocess.run(
        command.arguments,
        **command.settings,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise ProgramFailedError(f"{' '.join(command.arguments)}\n{found.stdout}{found.stderr}")
    said: str = found.stdout
    return said


def in_turns(contenders: Sequence[Contender], rounds: int, *, warm_up: bool = True) -> list[Usage]:
    """Measure programs one after the other, round by round, so that a busy moment meets all of them.

    Args:
        contenders: The programs.
        rounds: How often each is measured.
        warm_up: Run each once before, so that its files are in the page cache.

    Returns:
        For each its medians, field by field.
    """
    taken: list[list[Usage]] = [[] for _ in contenders]
    for number in range(-1 if warm_up else 0, rounds):
        for contender, usages in zip(contenders, taken, strict=True):
            contender.prepare()
            usage = run(contender.command, contender.accepted)
            contender.clean_up()
            if number >= 0:
                usages.append(usage)
    return [_medians(usages) for usages in taken]


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a fresh interpreter: torch and its threads end with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _medians(usages: Sequence[Usage]) -> Usage:
    return Usage(
        *(statistics.median(getattr(usage, item.name) for usage in usages) for item in fields(Usage))
    )


class _Peaks:
    """Watches a process's memory from a thread until told to stop."""

    def __init__(self, pid: int) -> None:
        self.resident = self.private = 0
        self._path = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_S):
            found = counters(self._path)
            self.resident = max(self.resident, 1024 * found.get("VmHWM", 0))  # the kernel says kB, means KiB
            self.private = max(self.private, 1024 * found.get("RssAnon", 0))


def counters(path: Path) -> dict[str, int]:
    """The numbers of a `name: number` file of /proc; none when the process is gone."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines)
    return {pair[0].rstrip(":"): int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}
