"""Where photos come from: folders, globs, Parquet and CSV lists, WebDataset tars; on disks and at URLs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from datetime import date, time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from clipsearch.errors import UsageError
from clipsearch.photos.extras import is_video
from clipsearch.photos.places import canonical, file_system, is_local, scheme_of
from clipsearch.photos.scan import STILL_SUFFIXES, FoundFile, LeftOut, UnreadableFolder, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fsspec import AbstractFileSystem

    from clipsearch.photos.extras import Extra

# By these names public image data sets, data frames and `clipsearch export` call it.
_COLUMNS = (
    *("path", "file", "filepath", "file_path", "filename", "file_name", "image", "image_path"),
    *("url", "image_url", "img_url", "uri"),
)
_LISTS = (".parquet", ".csv", ".csv.gz")
_TARS = (".tar", ".tar.gz", ".tgz")
_MAGIC = frozenset("*?[")
_ROWS = 8192  # of a Parquet list, at a time
# A caption of a megabyte is none.
_FIELD = 1 << 20

Kind = Literal["files", "list", "tars"]


class Item(NamedTuple):
    """A photo to embed, or a tar of them.

    Attributes:
        path: Absolute path or URL.
        size: Bytes; None where listing it does not say.
        extra: What the source says about it.
    """

    path: str
    size: int | None = None
    extra: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """What the user has named.

    Attributes:
        place: Absolute path or URL, maybe with wildcards.
        kind: Photos themselves, lists of their paths, or tars of them.
        column: Of a list; the first that looks like one when None.
    """

    place: str
    kind: Kind
    column: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether its own files are not on this machine's disks."""
        return not is_local(self.place)

    @property
    def folder(self) -> str | None:
        """The folder, or URL of one, that it is the whole of; None for a selection of photos."""
        return (
            None if self.kind != "files" or _has_magic(self.place) or _is_picture(self.place) else self.place
        )

    def items(self, tell: Callable[[str], None]) -> Iterator[Item]:
        """Photos, or tars.

        Args:
            tell: Told in a sentence what had to be left out.

        Raises:
            UsageError: There is nothing, or it cannot be read.
        """
        try:
            if self.kind == "list":
                yield from self._listed(tell)
            elif self.kind == "tars":
                yield from self._matching()
            else:
                yield from self._photos(tell)
        except OSError as error:
            reason = (error.strerror or str(error) or type(error).__name__).lower()
            raise UsageError(
                f"cannot be read: {self.place} ({reason})", "check the address and its credentials"
            ) from error

    def _photos(self, tell: Callable[[str], None]) -> Iterator[Item]:
        if _has_magic(self.place):
            yield from (item for item in self._matching() if _is_picture(item.path))
            return
        files, root = file_system(self.place)
        if is_local(self.place):
            yield from _walked(root, tell)
        elif not files.exists(root):
            raise UsageError(f"no such place: {self.place}", "check the spelling")
        elif files.isfile(root):
            yield Item(self.place)
        else:
            yield from _found(files, root, self.place)

    def _matching(self) -> Iterator[Item]:
        """Files that the wildcards match, or the one file."""
        files, pattern = file_system(self.place)
        found = files.glob(pattern, detail=True) if _has_magic(pattern) else {pattern: files.info(pattern)}
        for path, facts in sorted(found.items()):
            if facts.get("type") != "directory":
                yield Item(_full(path, self.place), facts.get("size"))

    def _listed(self, tell: Callable[[str], None]) -> Iterator[Item]:
        for item in self._matching():
            files, path = file_system(item.path)
            with files.open(path, "rb") as stream:
                if item.path.lower().endswith(".parquet"):
                    rows = _parquet_rows(stream, item.path)
                else:
                    rows = _csv_rows(stream, item.path)
                yield from self._paths(rows, item.path, tell)

    def _paths(
        self, rows: Iterator[Mapping[str, Any]], file: str, tell: Callable[[str], None]
    ) -> Iterator[Item]:
        column, empty = None, 0
        folder = file.rsplit("/", 1)[0]
        for row in rows:
            if column is None:
                column = _chosen(tuple(row), self.column, file)
            value = row[column]
            if not isinstance(value, str) or not value.strip():
                empty += 1
                continue
            extra = {name: plain for name, cell in row.items() if (plain := _plain(cell)) is not None}
            del extra[column]
            yield Item(_resolved(value, folder), None, extra)
        if empty:
            tell(f"{file}: {empty:,} rows without a {column}, left out")


def source_of(text: str, column: str | None = None) -> Source:
    """What a user's word for a source means.

    Args:
        text: Path, glob or URL.
        column: Of a list.

    Raises:
        UsageError: There is no such file or folder, or a column is named for something that has none.
    """
    place = canonical(text)
    name = place.rsplit("/", 1)[-1].lower()
    kind: Kind = "list" if name.endswith(_LISTS) else "tars" if name.endswith(_TARS) else "files"
    if column is not None and kind != "list":
        raise UsageError(f"not a list with columns: {text}", "--column is for .parquet and .csv files")
    if is_local(place) and not _has_magic(place) and not os.path.lexists(place):
        raise UsageError(f"no such file or folder: {place}", "check the spelling, or whether it is mounted")
    if scheme_of(place) in {"http", "https"} and kind == "files":
        raise UsageError(f"a web page lists no photos: {place}", "name a .parquet or .csv file of addresses")
    file_system(place)  # an error now, not once the cluster is there
    return Source(place, kind, column)


def _has_magic(place: str) -> bool:
    """Whether there are wildcards in it; a folder that has such a name is that folder."""
    return not _MAGIC.isdisjoint(place) and not (is_local(place) and os.path.lexists(place))


def _walked(root: str, tell: Callable[[str], None]) -> Iterator[Item]:
    """Photos of a folder, by the rules of `clipsearch index`, but no videos; or the one photo."""
    from pathlib import Path

    if not os.path.isdir(root):  # noqa: PTH112 - a string all along
        yield Item(root, os.stat(root).st_size)  # noqa: PTH116
        return
    videos = 0
    missing: Counter[Extra] = Counter()
    for found in scan(Path(root)):
        if isinstance(found, FoundFile | LeftOut) and is_video(found.path):
            videos += isinstance(found, FoundFile) or found.missing is not None
        elif isinstance(found, FoundFile):
            yield Item(os.path.join(root, os.fsdecode(found.path)), found.size)  # noqa: PTH118
        elif isinstance(found, LeftOut):
            missing.update([found.missing] if found.missing is not None else [])
        elif isinstance(found, UnreadableFolder):
            tell(f"left out: {os.path.join(root, os.fsdecode(found.path))} ({found.reason})")  # noqa: PTH118
    if videos:
        tell(f"videos left out: {videos:,}; `clipsearch index` takes them in")
    for extra, count in missing.items():
        tell(f"{extra.files} files left out: {count:,}; on every node: {extra.command}")


def _found(files: AbstractFileSystem, root: str, place: str) -> Iterator[Item]:
    """Photos below an address, folder by folder; names with a leading dot are passed by, as on disks."""
    for folder, below, held in files.walk(root, detail=True):
        for name in sorted(below):
            if name.startswith("."):
                del below[name]
        for name, facts in sorted(held.items()):
            if _is_picture(name) and not name.startswith("."):
                yield Item(_full(f"{folder.rstrip('/')}/{name}", place), facts.get("size"))


def _full(path: str, place: str) -> str:
    """A file's address in the user's own way of writing it, from what fsspec calls it."""
    return path if is_local(place) or "://" in path else f"{scheme_of(place)}://{path.lstrip('/')}"


def _is_picture(path: str) -> bool:
    stem, _, suffix = path.rsplit("/", 1)[-1].rpartition(".")
    return bool(stem) and os.fsencode(suffix.lower()) in STILL_SUFFIXES


# -- lists -------------------------------------------------------------------------------------------


def _parquet_rows(stream: Any, file: str) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(stream).iter_batches(_ROWS):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UsageError(
            f"no Parquet file that can be read: {file} ({str(error).splitlines()[0]})"
        ) from error


def _csv_rows(stream: Any, file: str) -> Iterator[Mapping[str, Any]]:
    if file.lower().endswith(".gz"):
        stream = gzip.GzipFile(fileobj=stream)
    csv.field_size_limit(_FIELD)
    # As `clipsearch export` writes them: UTF-8, with bytes of file names that are none as they are.
    with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.DictReader(text)
        try:
            for row in reader:
                row.pop(None, None)  # cells beyond the last column
                yield row
        except (csv.Error, EOFError) as error:
            raise UsageError(f"no CSV that can be read: {file}, line {reader.line_num} ({error})") from error


def _chosen(names: Sequence[str], wanted: str | None, file: str) -> str:
    """The column with the paths."""
    if wanted is not None:
        if wanted in names:
            return wanted
    else:
        folded = {name.casefold(): name for name in reversed(names)}
        for known in _COLUMNS:
            if known in folded:
                return folded[known]
    what = "no column that looks like paths" if wanted is None else f"no column {wanted!r}"
    raise UsageError(f"{what}: {file}", f"name one: --column; there are {', '.join(names)}")


def _resolved(value: str, folder: str) -> str:
    """A path of a list; one that is not absolute counts from the list's folder."""
    if not is_local(value):
        return value
    if value.startswith("file://") or os.path.isabs(value):  # noqa: PTH117 - a string all along
        return canonical(value)
    return canonical(f"{folder}/{value}") if is_local(folder) else f"{folder}/{value}"


def _plain(value: Any) -> Any:
    """A cell as JSON has it; None for what it cannot have, such as pictures."""
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain for name, one in value.items() if (plain := _plain(one)) is not None}
    return None if value is None or isinstance(value, float | bytes) else str(value)


def extra_of(text: bytes) -> dict[str, Any]:
    """The object in a JSON file; empty where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    plain = _plain(found)
    return plain if isinstance(plain, dict) else {}
