"""Photos packed into one zip, made while it is sent."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from clipsearch.collection import numbered, safe_name
from clipsearch.errors import ClipsearchError
from clipsearch.web.originals import chunks_of, open_photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clipsearch.types import PhotoDetails

_MISSING = "not in this archive.txt"
_OLDEST, _NEWEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # that a zip can say


class _Sink:
    """Where a zip is written to, from which it is taken piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def packed(photos: Sequence[PhotoDetails]) -> Iterator[bytes]:
    """A zip of photos, piece by piece, each under its own name; same names are kept apart by numbers.

    Pictures hardly get smaller, so they are stored as they are. A text in it names those that were not read.
    """
    sink = _Sink()
    missing: list[str] = []
    taken: set[str] = {_MISSING}
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        for one in photos:
            try:
                file = open_photo(one)
            except ClipsearchError as error:
                missing.append(f"{safe_name(one.photo.path.name)}: {error.message}\n")
                continue
            facts = os.fstat(file.fileno())
            entry = ZipInfo(_free(safe_name(one.photo.path.name), taken), _moment(facts.st_mtime))
            entry.file_size = facts.st_size
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w") as target:
                for chunk in chunks_of(file, facts.st_size):
                    target.write(chunk)
                    yield sink.take()
        if missing:
            archive.writestr(_MISSING, "".join(missing))
    yield sink.take()


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while (free := numbered(name, number)).casefold() in taken:
        number += 1
    taken.add(free.casefold())
    return free


def _moment(seconds: float) -> tuple[int, int, int, int, int, int]:
    try:
        moment = time.localtime(seconds)[:6]
    except (OverflowError, OSError, ValueError):
        return _OLDEST
    return min(max(moment, _OLDEST), _NEWEST)
