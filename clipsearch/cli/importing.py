"""`clipsearch import`: photos that a cluster has embedded, into a library."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, LibraryFolder, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_json
from clipsearch.cli.terminal import console, shown
from clipsearch.cli.wording import count, duration
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.importing import ImportReport


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        name="import",
        epilog=examples(
            "clipsearch import /mnt/embedded",
            "clipsearch import s3://bucket/embedded --root s3://bucket/photos=/mnt/photos",
            "clipsearch import embedded --library ~/team-photos",
        ),
    )(bring_in)


def bring_in(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="Folder or URL that [cyan]clipsearch cluster index[/cyan] has written."
        ),
    ],
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="Folder that stands for one where photos were embedded; may be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
    library: LibraryFolder = None,
) -> int:
    """Take photos that a cluster has embedded into the library.

    Searches find them whether or not their files are on this machine.
    Run it again for what has come since; nothing is embedded here.
    """
    roots = _pairs(root or ())
    with Reporter() as reporter, open_library(library, reporter) as opened:
        report = opened.import_photos(
            place, roots=roots, progress=partial(reporter.work, "importing", "photos")
        )
    write_json(report) if as_json else _summarise(report)
    return Exit.DONE


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for pair in given:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UsageError(
                f"--root is {pair!r}", "write it as OLD=NEW, such as s3://bucket/photos=/mnt/photos"
            )
        pairs[old] = new
    return pairs


def _summarise(report: ImportReport) -> None:
    out = console()
    came = report.new + report.changed
    below = ", ".join(shown(root) for root in report.roots)
    what = f"Imported {count(came, 'photo')}" if came else "Nothing new"
    out.print(f"{what} below {below} in {duration(report.seconds)}.", style="bold green")
    for name in ("changed", "unchanged", "kept", "skipped"):
        if number := getattr(report, name):
            out.print(f"  {name}  {number:,}")
