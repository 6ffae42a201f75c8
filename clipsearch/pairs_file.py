"""Tables of pictures with texts: CSV or TSV, with or without a header, row by row."""

from __future__ import annotations

import csv
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATHS = (
    "path",
    "file",
    "filepath",
    "file_path",
    "filename",
    "file_name",
    "image",
    "image_path",
    "img",
    "photo",
)
"""What a column of pictures may be called; upper and lower case are one."""
CAPTIONS = ("caption", "text", "title", "prompt", "description", "sentence")
LABELS = ("label", "class", "category")
_DELIMITERS = (",", "\t", ";", "|")
_TABBED = (".tsv", ".tab")
_LONGEST_CELL = 1 << 24  # characters


class PairRow(NamedTuple):
    """One row.

    Attributes:
        cells: As they are in the file.
        path: Of the picture, absolute.
        text: Trimmed.
        lack: Why the two mean nothing; empty where they do.
    """

    cells: list[str]
    path: Path
    text: str
    lack: str = ""


class PairsFile:
    """A table with a picture and a text in each row, read once, a row at a time.

    The delimiter follows from the name (`.tsv`) or from the first line. Where the first line names both
    columns, it is a header; else the first column has the pictures and the second the texts. Relative paths
    start at `base`, or, where there is no such file, at the current folder.

    Args:
        stream: Opened with `newline=""` and errors as `surrogateescape`.
        name: Of the file, for messages.
        base: Where relative paths start.
        texts: Names that the column of texts may have.

    Attributes:
        delimiter: Between cells.
        header: Names of the columns; None where the file does not tell.
        width: Columns.

    Raises:
        UsageError: There is no second column, or none with such a name.
    """

    def __init__(self, stream: TextIO, name: str, base: Path, texts: Sequence[str] = CAPTIONS) -> None:
        self._name, self._base = name, base
        csv.field_size_limit(_LONGEST_CELL)
        first = self._line(stream)
        self.delimiter = self._delimiter(first, texts)
        self._rows = csv.reader(chain([first] if first else [], stream), delimiter=self.delimiter)
        cells = [cell.strip().casefold() for cell in self._cells(first, self.delimiter)]
        self._path, self._text = _place(cells, PATHS), _place(cells, texts)
        self.header: list[str] | None = None
        if self._path is not None and self._text is not None:
            self.header = next(self._rows)
            self.width = len(self.header)
        elif self._path is not None and not self._found(cells[self._path]):
            raise UsageError(
                f"no column of texts in {name}: its header is {', '.join(cells)}",
                f"call it {' or '.join(texts[:2])}",
            )
        if self._path is None or self._text is None:
            self._path, self._text = 0, 1
            self.width = len(cells)

    def __iter__(self) -> Iterator[PairRow]:
        """The rows below the header, empty lines left out.

        Raises:
            UsageError: A line is no row of such a table.
        """
        try:
            for cells in self._rows:
                if cells:
                    yield self._row(cells)
        except csv.Error as error:
            raise UsageError(f"{self._name}, line {self._rows.line_num}: {error}") from error

    def _row(self, cells: list[str]) -> PairRow:
        path, text = self._path or 0, self._text or 0
        named = cells[path].strip() if len(cells) > path else ""
        said = cells[text].strip() if len(cells) > text else ""
        lack = "" if _is_text(said) else "its text is not UTF-8"
        if len(cells) > self.width:
            lack = f"{len(cells)} cells in a table of {self.width} columns"
        elif not named or not said:
            lack = "no text" if named else "no picture is named"
        return PairRow(cells, self._located(named), said, lack)

    def _line(self, stream: TextIO) -> str:
        for line in stream:
            if line.strip():
                if "\0" in line:
                    raise UsageError(f"{self._name} is not UTF-8 text", "save it as CSV in UTF-8")
                return line.removeprefix("\ufeff")
        return ""

    def _delimiter(self, first: str, texts: Sequence[str]) -> str:
        if self._name.lower().endswith(_TABBED):
            return "\t"
        split = {mark: cells for mark in _DELIMITERS if len(cells := self._cells(first, mark)) > 1}
        for mark, cells in split.items():
            folded = [cell.strip().casefold() for cell in cells]
            if _place(folded, PATHS) is not None and _place(folded, texts) is not None:
                return mark
        for mark, cells in split.items():
            if self._found(cells[0].strip()):
                return mark
        if not split and first:
            raise UsageError(
                f"{self._name} has one column: {first.strip()[:80]!r}",
                "each line needs a picture and a text, with a comma or a tab between",
            )
        return next(iter(split), ",")

    @staticmethod
    def _cells(line: str, delimiter: str) -> list[str]:
        try:
            return next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            return []

    def _found(self, name: str) -> bool:
        return bool(name) and os.path.lexists(self._located(name))

    def _located(self, name: str) -> Path:
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for unknown users
        beside = Path(os.path.abspath(self._base / path))  # noqa: PTH100 - Path.absolute keeps `..`
        here = Path(os.path.abspath(path))  # noqa: PTH100
        return here if not os.path.lexists(beside) and os.path.lexists(here) else beside


def _is_text(text: str) -> bool:
    """No bytes that are not UTF-8."""
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)


def _place(cells: Sequence[str], names: Sequence[str]) -> int | None:
    return next((cells.index(name) for name in names if name in cells), None)


def open_text(file: Path) -> TextIO:
    """A file of text as `PairsFile` wants it: bytes that are not UTF-8 are kept, as in file names.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return file.expanduser().open(encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise UsageError(f"cannot be read: {file} ({(error.strerror or str(error)).lower()})") from error
