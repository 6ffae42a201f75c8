"""Options that several commands share."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PATHS = "paths"


def examples(*lines: str) -> str:
    """Example command lines, as the epilog of a help text."""
    return "\n".join(["[bold]Examples[/bold]", *(f"[cyan]{line}[/cyan]" for line in lines)])


def _number(value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise typer.BadParameter("not a number")
    return value


LibraryFolder = Annotated[
    Path | None,
    typer.Option(
        "--library",
        "-L",
        metavar="DIR",
        envvar="CLIPSEARCH_LIBRARY",
        help="The library: a folder, or milvus://HOST:PORT/COLLECTION; else the one in your data folder.",
        rich_help_panel="Library",
    ),
]
WithModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Another model of the library than its default one; see [cyan]clipsearch models[/cyan].",
        rich_help_panel="Library",
    ),
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TERM", help="Also like this: a text, an image or its URL; [cyan]2:TERM[/cyan] counts double."
    ),
]
Subtract = Annotated[
    list[str] | None, typer.Option(metavar="TERM", help="Less like this; same forms as --add.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most this many results.")]
MinScore = Annotated[
    float | None,
    typer.Option(metavar="X", callback=_number, help="Only scores (cosine, -1 to 1) of at least this."),
]
OnlyMatches = Annotated[
    bool, typer.Option("--only-matches", help="Leave out what matches no better than chance (weak).")
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"One of {', '.join(Format)}.",
        show_default=False,
        case_sensitive=False,
        rich_help_panel="Output",
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "--null",
        "-0",
        help="Write exact paths, each ended by a NUL byte, for [cyan]xargs -0[/cyan].",
        rich_help_panel="Output",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON object instead.", rich_help_panel="Output")
]
