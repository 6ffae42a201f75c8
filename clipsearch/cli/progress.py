"""What a command shows while it works: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from clipsearch.cli.terminal import console, harmless, remark
from clipsearch.cli.wording import duration
from clipsearch.matches import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from clipsearch.library import Library
    from clipsearch.types import DownloadProgress, IndexProgress, IndexReport
    from clipsearch.warm import WarmLibrary

STOPPING = "stopping after this batch; press Ctrl-C again to quit at once"
_SECONDS_BETWEEN_LINES = 10.0  # where there is no live display
_RATE_WINDOW = 20.0  # seconds the shown rate looks back
_FRAMES_A_SECOND = 8
_MEGA = 1_000_000
_STDERR = 2
_BAR_WIDTHS = (30, 20, 12)  # of which the widest that fits is drawn
_SIGNS = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "━", "─")  # spinner, bar done, bar to do
_ASCII_SIGNS = ("|/-\\", "#", ".")


@contextmanager
def open_library(
    folder: Path | None, reporter: Reporter | None = None, model: str | None = None
) -> Iterator[Library]:
    """The library a command works on, telling of its progress on standard error."""
    from clipsearch.library import Library

    with (
        reporter or Reporter() as active,
        Library.open(folder, model=model, listeners=active.listeners) as library,
    ):
        yield library


@contextmanager
def open_for_search(folder: Path | None, model: str | None = None) -> Iterator[WarmLibrary]:
    """The library to search, which a server may hold open; telling of its progress likewise."""
    from clipsearch.address import place_of
    from clipsearch.warm import WarmLibrary

    with Reporter() as reporter:
        yield WarmLibrary(place_of(folder), reporter.listeners, model)


class Reporter:
    """Shows what the library tells. Nothing appears before the first word of it."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._activity: _Activity | None = None
        self._spoken = time.monotonic()
        self._stopping = False

    @cached_property
    def _console(self) -> Console:
        # Most commands have nothing to tell, and rich takes 30 ms to import.
        return console(stderr=True)

    @property
    def listeners(self) -> Listeners:
        """What to open a library with."""
        return Listeners(notice=self.notice, download=self.download, index=self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def rest(self) -> None:
        """Take the live display down, until there is more to show."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def notice(self, sentence: str) -> None:
        """One line that stays."""
        if self._live is None:
            remark(sentence)
        else:
            self._live.console.print(harmless(sentence), style="dim")

    def download(self, progress: DownloadProgress) -> None:
        """A model on its way."""
        title = f"downloading {harmless(progress.file)}"
        self._show(title, "MB", progress.done / _MEGA, progress.total / _MEGA)

    def work(self, title: str, unit: str, done: int, total: int) -> None:
        """Any other work that takes a while."""
        self._show(title, unit, done, total)

    def index(self, progress: IndexProgress) -> None:
        """A moment of an index run."""
        details = ", ".join(f"{number:,} {name}" for name, number in counted(progress.report).items())
        match progress.phase:
            case "scan":
                self._show("looking for photos", "files", progress.done, 0)
            case "load":
                self._show("loading the model", "", 0, 0, details)
            case "embed":
                self._show("embedding", "photos", progress.done, progress.total, details)
            case "finish":
                self._show("finishing", "", 0, 0, details)
            case "prepare":
                self._show("preparing the model for queries", "prompts", progress.done, progress.total)

    def stopping(self) -> None:
        """Say that the run will stop. Safe to call from a signal handler: it takes no lock."""
        self._stopping = True
        if self._live is None:
            os.write(_STDERR, f"\n{STOPPING}\n".encode())

    def _show(self, title: str, unit: str, done: float, total: float, details: str = "") -> None:
        if self._activity is None or self._activity.title != title:
            self._activity = _Activity(title, unit)
        self._activity.note(done, total, details)
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._start()
        elif time.monotonic() - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = time.monotonic()
            self._console.print(self._activity.sentence())

    def _start(self) -> None:
        if self._live is not None:
            return
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            transient=True,
            refresh_per_second=_FRAMES_A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _draw(self) -> Text:
        from rich.text import Text

        if self._activity is None:
            return Text()
        lines = [self._activity.line(self._console.width, plain=self._console.options.ascii_only)]
        if self._activity.details:
            lines.append(Text(f"  {self._activity.details}", "dim"))
        if self._stopping:
            lines.append(Text(f"  {STOPPING}", "yellow"))
        return Text("\n", no_wrap=False, overflow="fold").join(lines)


class _Activity:
    """One thing going on: how far it is, how fast, how long still."""

    def __init__(self, title: str, unit: str) -> None:
        self.title = title
        self.details = ""
        self._unit = unit
        self._done = 0.0
        self._total = 0.0
        self._history: deque[tuple[float, float]] = deque()

    def note(self, done: float, total: float, details: str) -> None:
        now = time.monotonic()
        self._done, self._total, self.details = done, total, details
        self._history.append((now, done))
        while now - self._history[0][0] > _RATE_WINDOW:
            self._history.popleft()

    def sentence(self) -> str:
        return f"{self.title}: {', '.join(part for part in (*self._facts(), self.details) if part)}"

    def line(self, width: int, *, plain: bool) -> Text:
        from rich.text import Text

        facts = "  ".join(fact for fact in self._facts() if fact)
        frames, full, empty = _ASCII_SIGNS if plain else _SIGNS
        frame = frames[int(time.monotonic() * _FRAMES_A_SECOND) % len(frames)]
        line = Text.assemble((frame, "cyan"), " ", (self.title, "bold"), "  ")
        room = width - 1 - len(line) - len(facts) - 2
        if room < 0:
            line.append("\n  ")
        elif self._total:
            for bar in _BAR_WIDTHS:
                if bar <= room:
                    reached = int(bar * min(1.0, self._done / self._total))
                    line.append(full * reached, "cyan").append(empty * (bar - reached), "dim").append("  ")
                    break
        return line.append(facts)

    def _facts(self) -> list[str]:
        if not self._unit:
            return []
        done = f"{self._done:,.0f}"
        amount = f"{done} of {self._total:,.0f} {self._unit}" if self._total else f"{done} {self._unit}"
        rate = self._rate()
        if not rate:
            return [amount]
        left = f"{duration((self._total - self._done) / rate)} left" if self._total else ""
        return [amount, f"{rate:,.{0 if rate >= 10 else 1}f}/s", left]  # noqa: PLR2004 - 7.4/s, 74/s

    def _rate(self) -> float:
        (began, before), (now, done) = self._history[0], self._history[-1]
        return (done - before) / (now - began) if now - began >= 1 else 0.0


def counted(report: IndexReport) -> dict[str, int]:
    """The counts of an index run that are not zero, by their names for the user."""
    counts = {
        "new": report.new,
        "changed": report.changed,
        "moved": report.moved,
        "copied": report.copied,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": report.skipped,
        "skipped before": report.still_skipped,
        "companions": report.companions,
    }
    return {name: number for name, number in counts.items() if number}
