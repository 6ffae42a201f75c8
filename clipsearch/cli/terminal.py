"""What may be shown on a terminal, and how: file names made harmless, errors, notices, two consoles."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

# Characters that move the cursor, break the line or turn the reading direction, and the lone
# surrogates by which Python carries bytes that are not UTF-8. Joiners stay: emoji are made of them.
# Not compiled before it is needed, which takes a millisecond.
_UNSAFE = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_LETTERS = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
_ASCII_END = 0x80


def harmless(text: str) -> str:
    r"""The text with every character that could disturb a terminal spelled out (`\n`, `\x1b`)."""
    return text if text.isascii() and text.isprintable() else re.sub(_UNSAFE, _spelled, text)


def shown(path: str | os.PathLike[str]) -> str:
    r"""A path as the table shows it: as it is, or in `$'...'` where a character in it could do harm.

    Bash and Zsh read the second form back as the exact name.

    >>> shown("/photos/two\nlines.jpg")
    "$'/photos/two\\nlines.jpg'"
    """
    text = os.fspath(path)
    if harmless(text) == text:
        return text
    return "$'" + harmless(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def all_shown(paths: Sequence[str]) -> Sequence[str]:
    """Each as `shown`. Nearly always none needs spelling out, and one look at them together tells."""
    together = "".join(paths)
    return paths if harmless(together) == together else [shown(path) for path in paths]


def _spelled(match: re.Match[str]) -> str:
    character = match.group()
    if character in _LETTERS:
        return _LETTERS[character]
    code = ord(character)
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        code -= 0xDC00
    elif code >= _ASCII_END:
        return f"\\u{code:04x}"
    return f"\\x{code:02x}"


def on_terminal() -> bool:
    """Whether standard output is a terminal; if not, tables go out plain, one row a line."""
    return sys.stdout is not None and sys.stdout.isatty()


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no highlighting, no wrapping of its own."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # to the error boundary; rich itself would exit with 1

    return PlainConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def complain(message: str, hint: str = "") -> None:
    """Show an error, and what to do about it, on standard error."""
    from rich.text import Text

    stderr = console(stderr=True)
    stderr.print(Text.assemble(("error: ", "bold red"), harmless(message)))
    for number, line in enumerate(hint.splitlines()):
        stderr.print(Text.assemble(("hint: " if number == 0 else "      ", "bold"), harmless(line)))


def remark(sentence: str) -> None:
    """Show one sentence beside the result, on standard error."""
    if _takes_styles():
        console(stderr=True).print(harmless(sentence), style="dim")
    elif sys.stderr is not None:
        sys.stderr.write(f"{harmless(sentence)}\n")  # rich would write the same, after 40 ms of importing it


def _takes_styles() -> bool:
    """Whether rich might style what goes to standard error."""
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") == "1"
    return bool(forced) or (sys.stderr is not None and sys.stderr.isatty())
