"""`clipsearch index`."""

from __future__ import annotations

import shlex
import signal
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Self

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, LibraryFolder, examples
from clipsearch.cli.progress import Reporter, counted, open_library
from clipsearch.cli.render import write_json
from clipsearch.cli.terminal import console, remark, shown
from clipsearch.cli.wording import count, duration
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from clipsearch.types import IndexReport


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"


OnDevice = Annotated[
    Device, typer.Option(help="Where the model runs.", rich_help_panel="Model", case_sensitive=False)
]
BatchSize = Annotated[str, typer.Option(help="Photos a batch.", metavar="auto|N", rich_help_panel="Model")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch index ~/Photos /media/archive",
            "clipsearch index                      # bring all folders up to date",
            'clipsearch index ~/Photos --exclude "*.tif" --exclude "**/rejected/**"',
            "clipsearch index --model multilingual # embed them by another model, too",
        )
    )(index)


def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of photos; without one, all folders indexed before."),
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of a new library, or one more of this: a preset of [cyan]clipsearch models[/cyan], "
            "NAME/PRETRAINED, hf-hub:ORG/REPO or a folder.",
            metavar="NAME",
            rich_help_panel="Model",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Local checkpoint; --model then names its architecture.",
            metavar="FILE",
            rich_help_panel="Model",
        ),
    ] = None,
    device: OnDevice = Device.AUTO,
    batch_size: BatchSize = "auto",
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Leave out what matches; may be repeated.")
    ] = None,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try files again that could not be read before.")
    ] = False,
    as_json: AsJson = False,
    library: LibraryFolder = None,
) -> int:
    """Index folders of photos, or bring the library up to date.

    Only photos that are new or changed go through the model.
    Ctrl-C keeps everything done so far; the next run goes on from there.
    """
    size = batch_size_of(batch_size)
    with Reporter() as reporter, open_library(library, reporter) as opened, StopOnInterrupt(reporter) as stop:
        report = opened.index(
            folders or (),
            model=model,
            weights=weights,
            exclude=exclude or (),
            device=device.value,
            batch_size=size,
            retry_skipped=retry_skipped,
            stop=stop,
        )
    if as_json:
        write_json(report)
    elif _saw_nothing(report):
        remark("no photos found")
    else:
        _summarise(report, _again(model, weights))
    if report.interrupted:
        return Exit.INTERRUPTED
    return Exit.NOTHING_FOUND if _saw_nothing(report) else Exit.DONE


class StopOnInterrupt:
    """The first Ctrl-C asks the run to stop after its batch, the second one ends it at once.

    Where Ctrl-C is ignored (`nohup`), it stays ignored.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._pressed = False
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._pressed

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self._pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._reporter.stopping()


def batch_size_of(text: str) -> int | None:
    """What `--batch-size` says; None for what suits the device.

    Raises:
        UsageError: It is no number.
    """
    if text.lower() == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--batch-size is {text!r}", "give a whole number of at least 1, or auto")
    return int(text)


def _saw_nothing(report: IndexReport) -> bool:
    return not (counted(report) or report.offline or report.unreadable or report.interrupted)


def _again(model: str | None, weights: Path | None) -> str:
    """What to type to go on with a run."""
    named = {"--model": model, "--weights": None if weights is None else str(weights)}
    options = [f"{name} {shlex.quote(value)}" for name, value in named.items() if value is not None]
    return " ".join(["clipsearch index", *options])


def _summarise(report: IndexReport, again: str) -> None:
    from rich.text import Text

    out = console()
    out.print(Text(_headline(report), "yellow" if report.interrupted else "bold green"))
    counts = counted(report)
    hints = {
        "skipped": "see `clipsearch status --skipped`",
        "skipped before": "try again with `clipsearch index --retry-skipped`",
        "companions": "RAW files and Live Photo movies, part of the picture beside them",
    }
    names = max(map(len, counts), default=0)
    digits = max((len(f"{number:,}") for number in counts.values()), default=0)
    for name, number in counts.items():
        line = Text(f"  {name:<{names}}  {number:>{digits},}")
        if hint := hints.get(name):
            line.append(f"   {hint}", "dim")
        out.print(line)
    _list(report.offline, "empty or offline, photos kept")
    _list(report.unreadable, "not readable, photos kept")
    if report.interrupted:
        out.print(Text(f"Run `{again}` again to go on."))


def _headline(report: IndexReport) -> str:
    took = duration(report.seconds)
    if report.interrupted:
        return f"Stopped early after {took}; everything done so far is kept."
    if report.embedded and report.seconds:
        rate = (report.embedded + report.frames) / report.seconds
        more = f" and {count(report.frames, 'more frame')} of videos" if report.frames else ""
        return f"Embedded {count(report.embedded, 'photo')}{more} in {took} ({rate:,.1f} a second)."
    idle = counted(report).keys() <= {"unchanged", "skipped before", "companions"}
    return f"Up to date ({took})." if idle else f"Done in {took}."


def _list(folders: Sequence[Path], what: str) -> None:
    for folder in folders:
        console().print(f"  {shown(folder)}: {what}", style="yellow")
