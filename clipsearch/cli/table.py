"""Tables: aligned on a terminal, tab-separated in a pipe.

The last column is the path (or another free text). It is printed whole and left to the terminal to
wrap, so that selecting it copies the exact path at any width.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.cli.terminal import all_shown, console, on_terminal, shown

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from rich.text import Text

_GAP = "  "


class Column(NamedTuple):
    """A column of known width.

    Attributes:
        title: Shown above it on a terminal.
        width: Terminal cells.
        style: Rich style of its cells.
        right: Aligned to the right, for numbers.
    """

    title: str
    width: int
    style: str = ""
    right: bool = False


class Table:
    """Writes rows to standard output as they come, keeping none.

    Args:
        columns: All but the last.
        last: Title of the last one.
        aligned: Columns side by side under a header; otherwise cells with tabs between them and no
            header, for other programs. By default, whatever standard output is.
    """

    def __init__(self, columns: Sequence[Column], last: str = "path", *, aligned: bool | None = None) -> None:
        self._columns = columns
        self._last = last
        self.aligned = on_terminal() if aligned is None else aligned
        self._console = console() if self.aligned else None
        self._started = False

    def row(self, cells: Sequence[str], last: str | os.PathLike[str], behind: str = "") -> None:
        """Write one row; `last` is shown as a path when it is a `Path`, as it is otherwise.

        Args:
            cells: All but the last.
            last: The last one.
            behind: Shown behind it; in a pipe, a cell of its own, where there is any.
        """
        if self._console is None:
            sys.stdout.write("\t".join([*cells, shown(last), *([behind] if behind else [])]) + "\n")
            return
        if not self._started:
            self._started = True
            titles = [column.title for column in self._columns]
            self._console.print(self._line(titles, plain=True).append(self._last), style="dim")
        line = self._line([cell or "-" for cell in cells])
        line = line.append_text(linked(last)) if isinstance(last, Path) else line.append(str(last))
        self._console.print(line.append(f" {behind}" if behind else "", "cyan"))

    def rows(self, columns: Sequence[Sequence[str]], paths: Sequence[str]) -> None:
        """Write several rows, in a pipe all at once.

        Args:
            columns: The cells, column by column.
            paths: The last column.
        """
        if self.aligned:
            for *cells, path in zip(*columns, paths, strict=True):
                self.row(cells, Path(path))
        elif paths:
            lines = map("\t".join, zip(*columns, all_shown(paths), strict=True))
            sys.stdout.write("\n".join(lines) + "\n")

    def _line(self, cells: Sequence[str], *, plain: bool = False) -> Text:
        from rich.cells import cell_len
        from rich.text import Text

        line = Text()
        for column, cell in zip(self._columns, cells, strict=True):
            room = " " * max(0, max(column.width, len(column.title)) - cell_len(cell))
            style = "" if plain else "dim" if cell == "-" else column.style
            line.append(room if column.right else "").append(cell, style)
            line.append("" if column.right else room).append(_GAP)
        return line


def linked(path: Path) -> Text:
    """A path for the terminal: folder faint, name plain, the whole a link where terminals follow links."""
    from rich.style import Style
    from rich.text import Text

    text = Text(shown(path))
    if text.plain == str(path):
        text.stylize("dim", 0, len(text.plain) - len(path.name))
    if path.is_absolute():
        text.stylize(Style(link=path.as_uri()))
    return text
