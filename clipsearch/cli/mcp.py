"""`clipsearch mcp`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import LibraryFolder, examples
from clipsearch.cli.terminal import remark
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=examples("clipsearch mcp", "clipsearch mcp --library ~/photo-library"))(mcp)


def mcp(*, library: LibraryFolder = None) -> int:
    """Let an assistant search the photos, over the Model Context Protocol.

    For the configuration of an assistant, which starts it and speaks with it
    over standard input and output; see docs/mcp.md. The assistant can search,
    classify and look at indexed photos, small, and change nothing.
    """
    try:
        from clipsearch import assistant
    except ImportError as error:
        raise UsageError(
            f"this needs packages that are not installed ({error.name})", 'pip install "clipsearch[mcp]"'
        ) from None
    from clipsearch.library import Library

    if sys.stdin is not None and sys.stdin.isatty():
        remark("waiting for an assistant on standard input; Ctrl-C ends it")
    with Library.open(library) as opened:
        try:
            assistant.create_server(opened).run("stdio")
        except BaseExceptionGroup as group:
            if group.subgroup(KeyboardInterrupt):
                raise KeyboardInterrupt from None
            if not group.subgroup(ConnectionError):  # the assistant has gone
                raise
    return Exit.DONE
