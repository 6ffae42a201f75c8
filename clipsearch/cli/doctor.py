"""`clipsearch doctor`: what is wrong with a library, repairs, backups."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, LibraryFolder, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_json
from clipsearch.cli.report import print_examination
from clipsearch.cli.terminal import console, harmless, shown
from clipsearch.cli.wording import count, size
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from clipsearch.types import Backup, Examination


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch doctor",
            "clipsearch doctor --repair",
            "clipsearch doctor --backup photos-2026-05.clipsearch",
            "clipsearch doctor --restore photos-2026-05.clipsearch",
        )
    )(doctor)


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired.")] = False,
    backup: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a backup to a file that is not there yet.")
    ] = None,
    restore: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Bring a backup back; the library as it is now is kept beside it."),
    ] = None,
    as_json: AsJson = False,
    library: LibraryFolder = None,
) -> int:
    """Look for damage in the library; repair it, back it up, bring it back.

    Without an option nothing is changed.
    Exit codes: 0 sound (or repaired), 1 something is wrong, 2 it cannot be examined at all.
    """
    if sum([repair, backup is not None, restore is not None]) > 1:
        raise UsageError("--repair, --backup and --restore are one thing each", "leave all but one away")
    with Reporter() as reporter, open_library(library, reporter) as opened:
        if backup is not None:
            made = opened.back_up(backup, progress=reporter.work)
        elif restore is not None:
            made = opened.restore(restore, progress=reporter.work)
        elif repair:
            repaired = opened.repair(progress=reporter.work)
        else:
            examined = opened.examine(progress=reporter.work)
    if backup is not None or restore is not None:
        write_json(made) if as_json else console().print(_moved(made, restored=restore is not None))
        return Exit.DONE
    if not repair:
        return _show(examined, as_json=as_json)
    if as_json:
        write_json(repaired)
        return Exit.DONE if repaired.now.sound else Exit.NOTHING_FOUND
    for sentence in repaired.done:
        console().print(harmless(sentence[0].upper() + sentence[1:]) + ".")
    return _show(repaired.now, as_json=False)


def _show(examination: Examination, *, as_json: bool) -> int:
    write_json(examination) if as_json else print_examination(examination)
    return Exit.DONE if examination.sound else Exit.NOTHING_FOUND


def _moved(made: Backup, *, restored: bool) -> str:
    held = f"{count(made.photos, 'photo')}, {count(made.vectors, 'vector')}, {size(made.bytes)}"
    if not restored:
        return f"Backed up to {shown(made.file)}: {held}."
    kept = f"\nWhat was there before is kept in {shown(made.replaced)}" if made.replaced else ""
    return f"Restored from {shown(made.file)}: {held}.{kept}"
