"""`clipsearch serve`."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.idle import IdleExit  # noqa: TC001 - evaluated for Typer
from clipsearch.cli.options import LibraryFolder, examples
from clipsearch.cli.terminal import console, remark
from clipsearch.cli.watch import StopOnSignals
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from clipsearch.web.running import Serving

TOKEN_VARIABLE = "CLIPSEARCH_TOKEN"  # noqa: S105 - its name


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch serve",
            "clipsearch serve --port 0 --no-open",
            "clipsearch serve --no-open --idle-exit 30m",
            "clipsearch serve --host 0.0.0.0         # for the phone, with a token",
        )
    )(serve)


def serve(
    *,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; any but this machine's own needs a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Without one 7878, or the next that is free; 0 for any."
        ),
    ] = None,
    token: Annotated[
        bool,
        typer.Option(
            "--token",
            help="Ask for a token on this machine, too; CLIPSEARCH_TOKEN is one of your own.",
        ),
    ] = False,
    open_page: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the page; without it, on a terminal with a display."),
    ] = None,
    idle_exit: IdleExit = None,
    library: LibraryFolder = None,
) -> int:
    """Open a page to look at the photos, and an API for programs.

    The page is at the address shown, for this machine alone; it works without
    internet. The API is described at /api/openapi.json. Ctrl-C ends it.
    Meanwhile, search and similar answer sooner, as all is in memory already.
    """
    try:
        from clipsearch.web import running
    except ImportError as error:
        raise UsageError(
            f"serving needs packages that are not installed ({error.name})", 'pip install "clipsearch[web]"'
        ) from None
    from clipsearch.library import Library

    given = os.environ.get(TOKEN_VARIABLE)
    secret = (given or running.new_token()) if given or token or not running.is_loopback(host) else None
    with (
        running.listen(host, port) as listening,
        Library.open(library) as opened,
        StopOnSignals() as stop,
    ):
        serving = running.Serving(opened, [listening], token=secret, warm=remark)
        _announce(serving, open_page=open_page)
        serving.run(lambda: stop() or (idle_exit is not None and serving.idle_s >= idle_exit))
        return Exit.INTERRUPTED if stop.signal == signal.SIGINT else Exit.DONE


def _announce(serving: Serving, *, open_page: bool | None) -> None:
    console().print(f"{serving.url}   (Ctrl-C ends it)")
    sys.stdout.flush()  # who reads it from a pipe waits for it
    if open_page or (open_page is None and sys.stdout.isatty() and _has_display()):
        import webbrowser

        if not webbrowser.open(serving.url) and open_page:
            remark("no browser could be opened; open the address yourself")


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
