"""`clipsearch duplicates`."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.collecting import chosen_folder, put
from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.options import Format, LibraryFolder, Null, OutputFormat, WithModel, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import chosen, write_records
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import remark, shown
from clipsearch.cli.wording import count, size
from clipsearch.errors import UsageError
from clipsearch.records import duplicate_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clipsearch.collection import Placement, Way
    from clipsearch.records import Record
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
            help="Make a folder of symbolic links for each group, to look at.",
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
        typer.Option(
            "--dry-run", help="List what would be linked or moved, and do nothing.", rich_help_panel=_ACTIONS
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Move without asking.", rich_help_panel=_ACTIONS)
    ] = False,
    output: OutputFormat = None,
    null: Null = False,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Find photos that are there more than once.

    Without a kind: exact copies and similar pictures. Nothing is ever deleted.

    The groups that take most room come first; in each, the best photo:
    most pixels, then sharpest, then largest file. Paths alone
    ([cyan]--format paths[/cyan], [cyan]-0[/cyan]) leave the best out.
    """
    form = chosen(output, null=null)
    folder = chosen_folder({"--link-to": link_to, "--move-to": move_to}, dry_run=dry_run)
    if not (exact or similar or bursts):
        exact = similar = True
    with Reporter() as reporter, open_library(library, reporter, model) as opened:
        groups = opened.duplicates(
            exact=exact, similar=similar, bursts=bursts, gap=gap, filters=filters, progress=reporter.work
        )
        reporter.rest()
        groups = groups[:limit]
        if not groups:
            remark("no duplicates")
            return Exit.NOTHING_FOUND
        if folder is not None:
            way: Way = "link" if link_to else "move"
            act = opened.link_duplicates if link_to else opened.move_duplicates
            placements: Iterable[Placement] = act(groups, folder, dry_run=True)  # refuses before it asks
            if dry_run:
                placements = _written_plan(placements, form, null=null)
            elif yes or link_to or _confirmed(f"Move {_summary(groups)} to {shown(folder)}?"):
                placements = act(groups, folder)
            else:
                remark("nothing was moved")
                return Exit.DONE
            total = sum(map(len, groups)) - (len(groups) if move_to else 0)
            put(placements, way, folder, total, reporter, dry_run=dry_run)
            return Exit.DONE
    _write(groups, form, null=null)
    remark(f"{_summary(groups)} beside the best of {count(len(groups), 'group')}")
    return Exit.DONE


def _summary(groups: Groups) -> str:
    others = [one.photo for group in groups for one in group[1:]]
    return f"{count(len(others), 'photo')} ({size(sum(photo.size for photo in others))})"


def _write(groups: Groups, output: Format, *, null: bool) -> None:
    if output is Format.TABLE:
        _write_table(groups)
    else:
        rest = output is Format.PATHS
        write_records(
            (duplicate_record(number, one) for number, group in enumerate(groups, 1) for one in group[rest:]),
            output,
            null=null,
        )


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


def _written_plan(placements: Iterable[Placement], output: Format, *, null: bool) -> list[Placement]:
    """Write from where to where."""
    planned = list(placements)
    moves = [(one.source, one.target) for one in planned if one.target is not None]
    if output is Format.TABLE:
        table = Table([Column("from", max((len(shown(source)) for source, _ in moves), default=0))], "to")
        for source, target in moves:
            table.row([shown(source)], target)
    else:
        records: Iterable[Record] = ({"path": str(source), "target": str(target)} for source, target in moves)
        write_records(records, output, null=null)
    return planned
