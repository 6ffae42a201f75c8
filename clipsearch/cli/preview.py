"""Pictures in the terminal: Kitty's protocol or Sixel where it is spoken, half blocks elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.cli.terminal import console, on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# In terminal cells. A cell is about twice as high as wide, so this holds a picture of 4:3.
_WIDTH = 20
_GAP = 2


def preview(paths: Sequence[Path]) -> None:
    """Show as many of the photos side by side as the terminal is wide; nothing where there is none."""
    out = console()
    if not on_terminal() or out.is_dumb_terminal or out.options.ascii_only:
        return
    from rich.table import Table
    from textual_image.renderable import Image

    from clipsearch.contact_sheet import thumbnails

    fitting = max(1, (out.width - 1) // (_WIDTH + _GAP))
    row = Table.grid(padding=(0, _GAP, 0, 0))
    row.add_row(*(Image(thumb, width=_WIDTH, height="auto") for thumb in thumbnails(paths[:fitting])))
    out.print(row)
