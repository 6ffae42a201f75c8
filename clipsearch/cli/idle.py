"""The option that ends a server which nobody asks anything."""

from __future__ import annotations

import re
from typing import Annotated

import typer

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|d)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_LONGEST = 10 * 365 * 86_400


def seconds(typed: str) -> float:
    """How long `90s`, `30m`, `2h` or `1d` is.

    Raises:
        BadParameter: It is no duration.
    """
    match = _DURATION.fullmatch(typed.strip())
    length = float(match[1]) * _SECONDS[match[2].lower()] if match else 0.0
    if not 1 <= length <= _LONGEST:
        raise typer.BadParameter(f"not a duration: {typed!r}; write 90s, 30m or 2h")
    return length


IdleExit = Annotated[
    float | None,
    typer.Option(
        "--idle-exit",
        metavar="TIME",
        parser=seconds,
        help="End once nothing was asked for so long: [cyan]90s[/cyan], 30m, 2h.",
    ),
]
