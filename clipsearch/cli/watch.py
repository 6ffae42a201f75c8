"""`clipsearch watch`."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.index import Device, OnDevice
from clipsearch.cli.options import LibraryFolder, examples
from clipsearch.cli.progress import Reporter, counted
from clipsearch.cli.terminal import console, harmless
from clipsearch.cli.wording import count, duration
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from types import FrameType

    from rich.live import Live

    from clipsearch.types import IndexProgress, IndexReport

_UNCHANGING = frozenset(("unchanged", "skipped before", "companions"))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch watch",
            "clipsearch watch --poll 600             # a NAS, whose files others change",
        )
    )(watch)


def watch(
    *,
    poll: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Look through all folders every so many seconds, for network drives.",
        ),
    ] = None,
    device: OnDevice = Device.AUTO,
    library: LibraryFolder = None,
) -> int:
    """Keep the library up to date as files change, until stopped.

    Watches all folders that were indexed. New, changed, moved and deleted
    photos are taken in once they have been quiet for two seconds, a line each
    time. Other commands work meanwhile, also those that write.
    """
    from clipsearch.library import Library

    with _Journal() as journal, StopOnSignals() as stop:
        with Library.open(library, listeners=journal.listeners) as opened:
            opened.watch(poll=poll, device=device.value, on_refresh=journal.refreshed, stop=stop)
        return Exit.INTERRUPTED if stop.signal == signal.SIGINT else Exit.DONE


class _Journal:
    """A line for each refresh that changed something; on a terminal, a status below them."""

    def __init__(self) -> None:
        self._reporter = Reporter()
        self._console = console()
        self._live: Live | None = None
        self._began = False
        # The journal of systemd has times of its own.
        self._timed = "JOURNAL_STREAM" not in os.environ

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest()

    @property
    def listeners(self) -> Listeners:
        """What to open the library with: progress is for people who are looking."""
        index = self._progress if self._console.is_terminal else None
        return Listeners(notice=self.say, download=self._reporter.download, index=index)

    def refreshed(self, report: IndexReport) -> None:
        """Say what a refresh did, unless that is nothing."""
        counts = {name: number for name, number in counted(report).items() if name not in _UNCHANGING}
        parts = [f"{number:,} {name}" for name, number in counts.items()]
        if parts:
            self.say(f"{', '.join(parts)} ({duration(report.seconds)})")
        if not self._began:
            self._began = True
            known = report.unchanged + report.new + report.changed + report.moved + report.copied
            self.say(f"watching {count(known, 'photo')}")
            for folder in report.offline:
                self.say(f"{folder} is empty or away; its photos are kept")
        for folder in report.unreadable:
            self.say(f"{folder} cannot be read; its photos are kept")
        self._idle()

    def say(self, sentence: str) -> None:
        """One line that stays."""
        self._rest()
        now = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  " if self._timed else ""
        self._console.print(f"{now}{harmless(sentence)}")
        sys.stdout.flush()  # a log file shows it now
        if self._began:
            self._idle()

    def _progress(self, progress: IndexProgress) -> None:
        self._rest_status()
        self._reporter.index(progress)

    def _idle(self) -> None:
        self._reporter.rest()
        if not self._console.is_terminal or self._live is not None:
            return
        from rich.live import Live
        from rich.text import Text

        status = Text("watching; Ctrl-C to stop", "dim")
        self._live = Live(status, console=self._console, transient=True, auto_refresh=False)
        self._live.start(refresh=True)

    def _rest_status(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rest(self) -> None:
        self._rest_status()
        self._reporter.rest()


class StopOnSignals:
    """Ctrl-C and SIGTERM ask the watch to end once its batch is committed; a second one ends it now.

    Attributes:
        signal: The one that came, None before.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self.signal: int | None = None

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.getsignal(number)
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether the watch is to end."""
        return self.signal is not None

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
