"""Results as tables, JSON, CSV or paths."""

from __future__ import annotations

import csv
import json
import os
import sys
from typing import TYPE_CHECKING

from clipsearch.cli.options import Format
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import on_terminal, shown
from clipsearch.cli.wording import at
from clipsearch.errors import UsageError
from clipsearch.records import match_record, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from clipsearch.records import Record
    from clipsearch.types import Match


def chosen(output: Format | None, *, null: bool) -> Format:
    """The format that `--format` and `-0` ask for together.

    Raises:
        UsageError: They contradict each other.
    """
    if null and output not in {None, Format.PATHS}:
        raise UsageError(f"-0 writes paths alone, --format {output} more than that", "leave one of them out")
    return Format.PATHS if null else output or Format.TABLE


def write_matches(matches: Sequence[Match], output: Format, *, null: bool = False) -> None:
    """Write the matches of a search, best first; nothing at all when there are none."""
    if output is Format.TABLE:
        _write_match_table(matches)
    else:
        write_records(map(match_record, matches), output, null=null)


def _write_match_table(matches: Sequence[Match]) -> None:
    ranks = [str(match.rank) for match in matches]
    scores = ["" if match.score is None else f"{match.score:.3f}" for match in matches]
    columns = [Column("#", _widest(ranks), "dim", right=True)]
    if any(scores):
        columns += [Column("score", _widest(scores), "cyan", right=True), Column("match", len("strong"))]
    table = Table([*columns, Column("taken", len("2024-12-31"))])
    for rank, score, match in zip(ranks, scores, matches, strict=True):
        taken = match.photo.taken.date().isoformat() if match.photo.taken else ""
        cells = [rank, score, match.strength or "", taken] if any(scores) else [rank, taken]
        table.row(cells, match.path, at(match.photo.seconds))


def _widest(cells: Sequence[str]) -> int:
    return max(map(len, cells), default=0)


def write_records(
    records: Iterable[Record], output: Format, *, columns: Sequence[str] = (), null: bool = False
) -> int:
    r"""Write records to standard output one by one; nothing at all when there are none.

    JSON is plain ASCII, a byte that is not UTF-8 in a file name is `\udcXX` there. CSV is UTF-8 with
    such bytes as they are, so are paths. On a terminal, paths are shown as the table shows them.

    Args:
        records: Each with a `path`.
        output: Any format but the table.
        columns: Of the CSV, where they are not simply the keys.
        null: End each path with a NUL byte instead of a line break.

    Returns:
        How many records there were.
    """
    sys.stdout.flush()
    write = sys.stdout.buffer.write
    spelled = shown if on_terminal() else str
    count = 0
    csv_writer = csv.writer(CsvOutput())
    for count, record in enumerate(records, 1):
        first = count == 1
        if output is Format.JSON:
            write(b"[\n " if first else b",\n ")
            write(_json(record))
        elif output is Format.JSONL:
            write(_json(record) + b"\n")
        elif output is Format.CSV:
            names = columns or tuple(record)
            if first:
                csv_writer.writerow(names)
            csv_writer.writerow(_cells(record, spelled))
        elif null:
            write(os.fsencode(str(record["path"])) + b"\0")
        else:
            write(os.fsencode(spelled(str(record["path"]))) + b"\n")
    if count and output is Format.JSON:
        write(b"\n]\n")
    return count


def write_json(value: object) -> None:
    """Write one dataclass, or a list of them, as indented JSON."""
    text = json.dumps(value, default=plain, indent=2)
    sys.stdout.write(text + "\n")


class CsvOutput:
    r"""Where the CSV writer writes to, a row at a time.

    Rows end in a bare line feed, for the tools of Unix. The writer itself must think of `\r\n`: it
    quotes a carriage return in a file name only then (before Python 3.13).
    """

    def __init__(self) -> None:
        self._out = sys.stdout.buffer
        self._errors = sys.getfilesystemencodeerrors()

    def write(self, row: str) -> int:
        """Write one row, complete."""
        line = row.removesuffix("\r\n") + "\n"
        return self._out.write(line.encode("utf-8", self._errors))


def _cells(record: Record, spelled: Callable[[str], str]) -> list[object]:
    cells: list[object] = []
    for key, value in record.items():
        if key == "path":
            cells.append(spelled(str(value)))
        elif isinstance(value, dict):
            cells += value.values()
        else:
            cells.append(value)
    return cells


def _json(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii")
