"""`clipsearch status`, `forget`, `relocate` and `models`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, Format, LibraryFolder, Null, examples
from clipsearch.cli.progress import open_library
from clipsearch.cli.render import write_json, write_records
from clipsearch.cli.report import print_models, print_skipped, print_status
from clipsearch.cli.terminal import console, remark, shown
from clipsearch.cli.wording import count
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.types import SkippedFile


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog=examples(
            "clipsearch status",
            "clipsearch status --skipped",
            "clipsearch status --skipped -0 | xargs -0 ls -l",
        )
    )(status)
    app.command(epilog=examples("clipsearch forget ~/Photos/old"))(forget)
    app.command(epilog=examples("clipsearch relocate /media/old-disk/Photos /media/new-disk/Photos"))(
        relocate
    )
    app.command(epilog=examples("clipsearch models", "clipsearch index ~/Photos --model multilingual"))(
        models
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


def models(as_json: AsJson = False) -> None:
    """List the recommended models.

    Any other model that OpenCLIP can load works too: NAME/PRETRAINED, hf-hub:ORG/REPO, a local folder,
    or an architecture with --weights FILE.
    """
    from clipsearch.encoders.registry import PRESETS

    presets = list(PRESETS.values())
    write_json(presets) if as_json else print_models(presets)
