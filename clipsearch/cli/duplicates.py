"""`clipsearch duplicates`."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.options import Format, LibraryFolder, Null, OutputFormat, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import chosen, write_records
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, remark, shown
from clipsearch.cli.wording import count, size
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.cli.render import Record
    from clipsearch.library import Library
    from clipsearch.placing import Placement
    from clipsearch.types import Duplicate

    Groups = Sequence[Sequence[Duplicate]]

_KINDS = "Which duplicates"
_ACTIONS = "What to do with them"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch duplicates",
            "clipsearch duplicates --exact --in ~/Photos/2023",
            "clipsearch duplicates --bursts --link-to ~/bursts",
            "clipsearch duplicates --move-to ~/duplicates --dry-run",
            "clipsearch duplicates -0 | xargs -0 ls -l",
        )
    )(filtered(duplicates))


def duplicates(
    *,
    exact: Annotated[
        bool, typer.Option("--exact", help="Files with the same content.", rich_help_panel=_KINDS)
    ] = False,
    similar: Annotated[
        bool,
        typer.Option(
            "--similar",
            help="The same picture in another size or quality, brighter, slightly cropped.",
            rich_help_panel=_KINDS,
        ),
    ] = False,
    bursts: Annotated[
        bool,
        typer.Option(
            "--bursts",
            help="Photos alike that one camera took within seconds.",
            rich_help_panel=_KINDS,
        ),
    ] = False,
    gap: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Between two photos of a burst, at most.", rich_help_panel=_KINDS
        ),
    ] = 3.0,
    filters: Filtered = NO_FILTERS,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most this many groups.")
    ] = None,
    link_to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Make a folder of links for each group, to look at.",
            rich_help_panel=_ACTIONS,
        ),
    ] = None,
    move_to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Move all but the best of each group there; nothing is overwritten.",
            rich_help_panel=_ACTIONS,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be made or moved.", rich_help_panel=_ACTIONS),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Move without asking.", rich_help_panel=_ACTIONS)
    ] = False,
    output: OutputFormat = None,
    null: Null = False,
    library: LibraryFolder = None,
) -> int:
    """Find photos that are there more than once.

    Without a kind: exact copies and similar pictures. Nothing is ever deleted.

    The groups that take most room come first; in each, the best photo:
    most pixels, then sharpest, then largest file. Paths alone
    ([cyan]--format paths[/cyan], [cyan]-0[/cyan]) leave the best out.
    """
    form = chosen(output, null=null)
    _check(link_to, move_to, dry_run=dry_run)
    if not (exact or similar or bursts):
        exact = similar = True
    with Reporter() as reporter, open_library(library, reporter) as opened:
        groups = opened.duplicates(
            exact=exact, similar=similar, bursts=bursts, gap=gap, filters=filters, progress=reporter.work
        )
        reporter.rest()
        groups = groups[:limit]
        if not groups:
            remark("no duplicates")
            return Exit.NOTHING_FOUND
        if move_to is not None:
            planned = opened.move_duplicates(groups, move_to, dry_run=True)  # refuses before it asks
            if dry_run:
                return _write_plan(planned, form, null=null)
            if not yes and not _confirmed(f"Move {_summary(groups)} to {shown(move_to)}?"):
                remark("nothing was moved")
                return Exit.DONE
            return _move(opened, reporter, groups, move_to)
        if link_to is not None:
            planned = opened.link_duplicates(groups, link_to, dry_run=True)
            return (
                _write_plan(planned, form, null=null) if dry_run else _link(opened, reporter, groups, link_to)
            )
    _write(groups, form, null=null)
    remark(f"{_summary(groups)} beside the best of {count(len(groups), 'group')}")
    return Exit.DONE


def _check(link_to: Path | None, move_to: Path | None, *, dry_run: bool) -> None:
    if link_to is not None and move_to is not None:
        raise UsageError("--link-to and --move-to together", "leave one of them out")
    if dry_run and link_to is None and move_to is None:
        raise UsageError("--dry-run is for --link-to and --move-to", "without them nothing is done anyway")


def _summary(groups: Groups) -> str:
    others = [one.photo for group in groups for one in group[1:]]
    return f"{count(len(others), 'photo')} ({size(sum(photo.size for photo in others))})"


def _write(groups: Groups, output: Format, *, null: bool) -> None:
    if output is Format.TABLE:
        _write_table(groups)
    else:
        rest = output is Format.PATHS
        write_records(
            (_record(number, one) for number, group in enumerate(groups, 1) for one in group[rest:]),
            output,
            null=null,
        )


def _record(number: int, one: Duplicate) -> Record:
    photo = one.photo
    return {
        "group": number,
        "kind": one.kind,
        "score": round(one.score, 6),
        "distance": one.distance,
        "path": str(photo.path),
        "taken": photo.taken and photo.taken.isoformat(),
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
    }


def _write_table(groups: Groups) -> None:
    rows = [
        (
            str(number),
            one.kind,
            "" if one.kind == "best" else f"{one.score:.3f}",
            f"{one.photo.width}x{one.photo.height}",
            size(one.photo.size),
            one.photo.path,
        )
        for number, group in enumerate(groups, 1)
        for one in group
    ]
    titles = ("#", "kind", "score", "pixels", "size")
    styles = ("dim", "", "cyan", "", "")
    table = Table(
        [
            Column(title, max(len(str(row[place])) for row in rows), style, right=title != "kind")
            for place, (title, style) in enumerate(zip(titles, styles, strict=True))
        ]
    )
    for *cells, path in rows:
        table.row([str(cell) for cell in cells], path)


def _link(opened: Library, reporter: Reporter, groups: Groups, folder: Path) -> int:
    made, failed = _watched(
        opened.link_duplicates(groups, folder), reporter, "linking", sum(map(len, groups))
    )
    console().print(f"{count(made, 'link')} to {count(len(groups), 'group')} in {shown(folder)}.")
    return Exit.FAILED if failed else Exit.DONE


def _move(opened: Library, reporter: Reporter, groups: Groups, folder: Path) -> int:
    total = sum(len(group) - 1 for group in groups)
    made, failed = _watched(opened.move_duplicates(groups, folder), reporter, "moving", total)
    stayed = f"the best of {count(len(groups), 'group')} stayed"
    console().print(f"Moved {count(made, 'photo')} to {shown(folder)}; {stayed}.")
    return Exit.FAILED if failed else Exit.DONE


def _watched(
    placements: Iterator[Placement], reporter: Reporter, title: str, total: int
) -> tuple[int, list[Placement]]:
    """Have the work done; returns how many files were put where they should, and tells of the others."""
    done, failed = 0, []
    for done, placement in enumerate(placements, 1):
        reporter.work(title, "photos", done, total)
        if placement.failure is not None:
            failed.append(placement)
    reporter.rest()
    for placement in failed:
        remark(f"left where it is: {shown(placement.source)}: {placement.failure}")
    return done - len(failed), failed


def _confirmed(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to ask before photos are moved", "say --yes, or look first: --dry-run"
        )
    return typer.confirm(question, err=True)


def _write_plan(placements: Iterable[Placement], output: Format, *, null: bool) -> int:
    if output is Format.TABLE:
        rows = [(shown(placement.source), placement.target) for placement in placements]
        table = Table([Column("from", max((len(source) for source, _ in rows), default=0))], "to")
        for source, target in rows:
            table.row([source], target)
    else:
        records: Iterator[Record] = (
            {"path": str(placement.source), "target": str(placement.target)} for placement in placements
        )
        write_records(records, output, null=null)
    return Exit.DONE
