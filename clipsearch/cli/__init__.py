"""The command line: the only part of clipsearch that prints, and the only place where errors become words.

`main` runs one command and returns its exit code: 0 done, 1 nothing found, 2 any error, 130 interrupted.
Set `CLIPSEARCH_DEBUG=1` to see the traceback behind an error.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from clipsearch.cli.exits import Exit
from clipsearch.errors import ClipsearchError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: The words after `clipsearch`; those of this process when None.

    Returns:
        The exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name outside the terminal's character set must not end the run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()  # the reader (`head`, say) has seen enough
        return Exit.DONE
    except KeyboardInterrupt:
        from clipsearch.cli.terminal import remark

        with suppress(OSError):
            remark("interrupted")
        return Exit.INTERRUPTED
    except ClipsearchError as error:
        return _fail(error.message, error.hint)
    except OSError as error:
        _abandon_stdout()
        return _fail(_reason(error), "run with CLIPSEARCH_DEBUG=1 for the traceback")
    except Exception as error:  # noqa: BLE001 - the boundary: a traceback on a user's screen is a bug
        what = f"{type(error).__name__}: {error}"
        return _fail(f"internal error: {what} (run with CLIPSEARCH_DEBUG=1 for the traceback)")
    return code


def _run(arguments: Sequence[str] | None) -> int:
    # Imports leave nothing to collect. Looking for it, then and at the end of the process, takes 20 ms.
    gc.disable()
    try:
        import typer

        from clipsearch.cli.app import application

        words = sys.argv[1:] if arguments is None else list(arguments)
        app = application(words)
    finally:
        if arguments is None:
            gc.freeze()
        gc.enable()
    # Typer exports this one usage error; its parent, in Click or in Typer's own copy of it, is every one.
    usage_error = typer.BadParameter.__bases__[0]
    try:
        code = app(
            args=None if arguments is None else words,
            prog_name="clipsearch",
            standalone_mode=False,
        )
    except typer.Abort as abort:
        raise abort.__cause__ or KeyboardInterrupt from None
    except SystemExit as request:  # shell completion, which prints and leaves
        code = request.code
    except Exception as error:
        if not isinstance(error, usage_error):
            raise
        context = getattr(error, "ctx", None)
        command = "clipsearch" if context is None else context.command_path
        return _fail(" ".join(error.format_message().split()), f"see `{command} --help`")  # type: ignore[attr-defined]
    return code if isinstance(code, int) else Exit.DONE


def _fail(message: str, hint: str = "") -> int:
    from clipsearch.cli.terminal import complain

    if os.environ.get("CLIPSEARCH_DEBUG"):
        import traceback

        traceback.print_exc()
    with suppress(OSError):  # nobody is left to read it
        complain(message, hint)
    return Exit.FAILED


def _reason(error: OSError) -> str:
    if error.filename is None:
        return error.strerror or str(error)
    return f"{error.strerror}: {os.fsdecode(error.filename)}"


def _abandon_stdout() -> None:
    # What Python would still flush at exit must not fail a second time.
    if sys.stdout is None:
        return
    with suppress(OSError), open(os.devnull, "wb") as devnull:  # noqa: PTH123 - a device, not a path
        os.dup2(devnull.fileno(), sys.stdout.fileno())
