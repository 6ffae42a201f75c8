"""The `clipsearch` command: its sub-commands, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clipsearch import __version__
from clipsearch.cli import (
    caption,
    classify,
    concept,
    demo,
    doctor,
    duplicates,
    evaluate,
    export,
    find,
    index,
    manage,
    score,
    tag,
    watch,
)
from clipsearch.cli.options import examples


class _Commands(TyperGroup):
    """Typer ends the run by itself on these two; carried by `Abort` they reach the error boundary."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as reason:
            raise typer.Abort from reason


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "clipsearch index ~/Photos",
        'clipsearch search "brown dog on beach"',
        "clipsearch similar img.jpg",
        "clipsearch classify --labels cat,dog",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipsearch {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def clipsearch(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - acted on by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find photos on your own disk by describing them.

    Everything runs on this machine; no photo leaves it.
    Exit codes: 0 done, 1 nothing found, 2 error, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _module in (
    index,
    watch,
    find,
    classify,
    tag,
    caption,
    concept,
    duplicates,
    evaluate,
    score,
    export,
    manage,
    doctor,
    demo,
):
    _module.register(app)
