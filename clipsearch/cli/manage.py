"""`clipsearch status`, `optimize`, `forget` and `relocate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, Format, LibraryFolder, Null, WithModel, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_json, write_records
from clipsearch.cli.report import print_skipped, print_status
from clipsearch.cli.terminal import console, remark, shown
from clipsearch.cli.wording import count, duration
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.types import OptimizeReport, SkippedFile


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog=examples(
            "clipsearch status",
            "clipsearch status --skipped",
            "clipsearch status --skipped -0 | xargs -0 ls -l",
        )
    )(status)
    app.command(epilog=examples("clipsearch optimize", "clipsearch optimize --exact"))(optimize)
    app.command(epilog=examples("clipsearch forget ~/Photos/old"))(forget)
    app.command(epilog=examples("clipsearch relocate /media/old-disk/Photos /media/new-disk/Photos"))(
        relocate
    )


def status(
    skipped: Annotated[
        bool, typer.Option("--skipped", help="List the files that could not be read, and why.")
    ] = False,
    as_json: AsJson = False,
    null: Null = False,
    library: LibraryFolder = None,
) -> int:
    """Show what the library holds."""
    if null and (as_json or not skipped):
        raise UsageError("-0 is for the paths of --skipped", "write `clipsearch status --skipped -0`")
    with open_library(library) as opened:
        if not skipped:
            held = opened.status()
            write_json(held) if as_json else print_status(held)
            return Exit.DONE
        files = opened.skipped()
    _write_skipped(files, as_json=as_json, null=null)
    return Exit.DONE


def _write_skipped(files: Sequence[SkippedFile], *, as_json: bool, null: bool) -> None:
    if as_json:
        write_json(files)
    elif null:
        write_records(({"path": str(file.path)} for file in files), Format.PATHS, null=True)
    elif files:
        print_skipped(files)
    else:
        remark("no file was skipped")


def optimize(
    exact: Annotated[bool, typer.Option("--exact", help="Undo it: compare with every photo again.")] = False,
    as_json: AsJson = False,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> None:
    """Make searches in a library of millions faster, at the price of a rare match missed.

    Similar photos are brought together, and a search looks only where the best matches are likely.
    Ctrl-C leaves the library as it was.
    """
    with Reporter() as reporter, open_library(library, reporter, model) as opened:
        report = opened.optimize(exact=exact, progress=partial(reporter.work, "grouping", "photos"))
    write_json(report) if as_json else console().print(_optimized(report, exact=exact))


def _optimized(report: OptimizeReport, *, exact: bool) -> str:
    photos, took = count(report.vectors, "photo"), f"{1000 * report.after:,.0f} ms"
    if not report.grouped:
        what = "is" if exact else "stays"
        return f"A search compares {photos} in {took}; it {what} exact."
    grouped = f"{report.grouped:,} of {photos} grouped"
    if report.recall is None:
        return f"Nothing to do: {grouped}; a search takes {took}."
    return (
        f"{grouped} in {duration(report.seconds)}. A search finds {100 * report.recall:.1f} % of the ten best"
        f" in {took} instead of {1000 * report.before:,.0f} ms."
    )


def forget(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that was indexed.")],
    library: LibraryFolder = None,
) -> None:
    """Take a folder out of the library; its photos stay untouched on disk."""
    with open_library(library) as opened:
        photos = opened.forget(root)
    console().print(
        f"{count(photos, 'photo')} of {shown(root)} left the library. The files themselves are untouched."
    )


def relocate(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The folder as it was indexed.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where it is now.")],
    library: LibraryFolder = None,
) -> None:
    """Tell the library that a folder has moved; nothing is embedded again."""
    with open_library(library) as opened:
        photos = opened.relocate(old, new)
    console().print(f"{count(photos, 'photo')} carried over from {shown(old)} to {shown(new)}.")
