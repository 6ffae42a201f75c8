"""Pictures in the terminal: Kitty's protocol or Sixel where it is spoken, half blocks elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from clipsearch.cli.terminal import console, on_terminal

if TYPE_CHECKING:
    from clipsearch.contact_sheet import Section

# In terminal cells. A cell is about twice as high as wide, so this holds a picture of 4:3.
_WIDTH = 20
_GAP = 2


def hindrance() -> str:
    """Why no pictures can be shown here; empty if they can."""
    if not on_terminal():
        return "standard output is no terminal"
    # The terminal is asked what it can do, and answers there.
    if sys.stdin is None or not sys.stdin.isatty():
        return "standard input is no terminal"
    if 0 in os.get_terminal_size(sys.stdout.fileno()):
        return "this terminal does not say how large it is"
    out = console()
    if out.is_dumb_terminal or out.options.ascii_only:
        return "this terminal shows plain text only"
    return ""


def preview(section: Section, *, rows: int | None = None) -> None:
    """Show photos in rows as wide as the terminal, captions below; all of them, or so many rows."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text
    from textual_image.renderable import Image

    from clipsearch.contact_sheet import THUMB, thumbnails

    out = console()
    fitting = max(1, (out.width - 1) // (_WIDTH + _GAP))
    tiles = section.tiles if rows is None else section.tiles[: rows * fitting]
    pictures = thumbnails(tiles)
    for start in range(0, len(tiles), fitting):
        row = Table.grid(padding=(0, _GAP, 0, 0))
        cells = []
        for tile in tiles[start : start + fitting]:
            picture = next(pictures)
            caption = Text(tile.caption, "dim", no_wrap=True, overflow="ellipsis")
            caption.truncate(_WIDTH, overflow="ellipsis")
            width = _WIDTH if picture is None else max(1, round(_WIDTH * picture.width / THUMB[0]))
            shown = Text("cannot be read") if picture is None else Image(picture, width=width, height="auto")
            cells.append(Group(shown, caption))
        for _ in cells:
            row.add_column(width=_WIDTH)
        row.add_row(*cells)
        out.print(row)
