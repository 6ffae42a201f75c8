"""The `clipsearch` command: its sub-commands, put together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from clipsearch import __version__
from clipsearch.cli.options import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

# Modules in the order of the help text, and the commands of each: a command line that begins with one of them
# need not wait until all others are made, 60 ms.
COMMANDS = {
    "index": ("index",),
    "watch": ("watch",),
    "serve": ("serve",),
    "mcp": ("mcp",),
    "find": ("search", "similar"),
    "classify": ("classify",),
    "tag": ("tag",),
    "caption": ("caption", "ocr"),
    "concept": ("concept",),
    "duplicates": ("duplicates",),
    "evaluate": ("eval",),
    "score": ("score",),
    "export": ("export",),
    "cluster": ("cluster",),
    "importing": ("import",),
    "manage": ("status", "optimize", "forget", "relocate"),
    "models": ("models",),
    "doctor": ("doctor",),
    "demo": ("demo",),
}


class _Commands(TyperGroup):
    """Typer ends the run by itself on these two; carried by `Abort` they reach the error boundary."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as reason:
            raise typer.Abort from reason


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipsearch {__version__}")
        raise typer.Exit


def _clipsearch(
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


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command, with as many of its sub-commands as a command line can need.

    Args:
        arguments: The words after `clipsearch`.
    """
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
    app.callback(invoke_without_command=True)(_clipsearch)
    named = [module for module, commands in COMMANDS.items() if arguments and arguments[0] in commands]
    for module in named or COMMANDS:
        import_module(f"clipsearch.cli.{module}").register(app)
    if named:
        app.registered_commands = [
            one
            for one in app.registered_commands
            if one.callback and (one.name or one.callback.__name__) == arguments[0]
        ]
    return app
