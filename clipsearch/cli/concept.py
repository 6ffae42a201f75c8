"""`clipsearch concept`: teach by example."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import AsJson, LibraryFolder, WithModel, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_json
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, remark
from clipsearch.cli.wording import count, moment

_NAME = typer.Argument(metavar="NAME", help="Name of the concept, without the @ that queries put before it.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        help="Teach by example what words do not say; then search @NAME.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    group.command(
        epilog=examples(
            "clipsearch concept learn grandma --like ~/grandma",
            "clipsearch concept learn grandma --like ~/grandma --unlike ~/aunts",
            "clipsearch search @grandma --subtract winter",
            "clipsearch classify --labels @grandma,other",
        )
    )(learn)
    group.command(name="list", epilog=examples("clipsearch concept list"))(show)
    group.command(epilog=examples("clipsearch concept forget grandma"))(forget)
    app.add_typer(group, name="concept")


def learn(
    name: Annotated[str, _NAME],
    like: Annotated[
        list[Path],
        typer.Option(metavar="PATH", help="Photos that show it: a file or a folder; may be given again."),
    ],
    unlike: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Photos that do not, though one might think so."),
    ] = None,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Learn a concept from photos that show it.

    A few photos are enough; more are better, and so are some --unlike it.
    A concept of the same name is replaced. No photo is changed.
    """
    with Reporter() as reporter, open_library(library, reporter, model) as opened:
        known, is_new = opened.learn(name, like, unlike or (), progress=reporter.work)
    learned = "Learned" if is_new else "Learned anew"
    away = f" and {count(known.unliked, 'photo')} unlike it" if known.unliked else ""
    console().print(
        f"{learned} @{known.name} from {count(known.liked, 'photo')}{away}: clipsearch search @{known.name}"
    )
    return Exit.DONE


def show(as_json: AsJson = False, model: WithModel = None, library: LibraryFolder = None) -> int:
    """List the concepts of the library."""
    with open_library(library, model=model) as opened:
        known = opened.concepts()
    if as_json:
        write_json(known)
        return Exit.DONE
    if not known:
        remark("no concept has been learned; see `clipsearch concept learn --help`")
        return Exit.NOTHING_FOUND
    table = Table(
        [
            Column("like", max(len(str(one.liked)) for one in known), "cyan", right=True),
            Column("unlike", max(len(str(one.unliked)) for one in known), right=True),
            Column("learned", len("2026-12-31 12:00")),
        ],
        "concept",
    )
    for one in known:
        table.row([str(one.liked), str(one.unliked), moment(one.learned)], f"@{one.name}")
    return Exit.DONE


def forget(name: Annotated[str, _NAME], model: WithModel = None, library: LibraryFolder = None) -> int:
    """Forget a concept; the photos that it was learned from stay as they are."""
    with open_library(library, model=model) as opened:
        gone = opened.forget_concept(name)
    console().print(f"Forgot @{gone}.")
    return Exit.DONE
