"""Photos collected in a folder, as copies or as links: nothing is overwritten, same names are kept apart."""

from __future__ import annotations

import filecmp
import itertools
import os
import re
import stat
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsearch.errors import OutputError, PhotoError, UsageError
from clipsearch.new_file import write_new
from clipsearch.photos.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What nearly every file system allows in a name.
_NAME_BYTES = 255
_FOLDER_BYTES = 100
_SUFFIX = 16  # characters; after a dot further from the end comes no suffix
# Not allowed in names on Windows, or it moves the cursor or turns the reading direction.
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
# Devices on Windows, in every folder and with every suffix.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Collected:
    """Where a photo has its place. `new` is False where it lay there before."""

    source: Path
    target: Path
    new: bool


class Collection:
    """A folder that photos are copied into, or linked from.

    A photo keeps its name; where another has it, `(2)` and so on is added. Two photos never share a place,
    on any disk: names that differ in case alone count as the same. A copy of before, with the very same
    bytes, is a photo's place again, so that collecting can be repeated.

    Args:
        folder: Made when the first photo comes.
        link: Symbolic links to the photos, not copies.
        dry_run: Say where photos would have their places, and write nothing.
    """

    def __init__(self, folder: Path, *, link: bool = False, dry_run: bool = False) -> None:
        self.folder = folder
        self._link = link
        self._dry_run = dry_run
        self._taken: set[str] = set()
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        # Files of before that were not the photo in question. One may be the next photo.
        self._before: defaultdict[str, dict[Path, None]] = defaultdict(dict)

    def add(self, source: Path) -> Collected:
        """Give a photo its place; a copy is there whole, with the photo's date, or not at all.

        Args:
            source: Absolute path.

        Raises:
            PhotoError: The photo cannot be read.
            OutputError: The folder cannot be written.
        """
        try:
            source.stat()
        except OSError as error:
            raise PhotoError(_reason(error)) from error
        before = self._before[_folded(source.name)]
        for target in self._places(source.name):
            there = os.path.lexists(target)
            if there and not self._holds(target, source):
                before[target] = None
            elif there or self._dry_run or self._put(source, target):
                before.pop(target, None)
                self._taken.add(_folded(target.name))
                return Collected(source, target, new=not there)
        raise AssertionError("numbers do not end")

    def _places(self, name: str) -> Iterator[Path]:
        """Where a photo of this name may lie and no other does: places of before, then ever new ones."""
        key = _folded(name)
        numbered_names = (self.folder / numbered(name, number) for number in self._numbers[key])
        for target in itertools.chain(list(self._before[key]), numbered_names):
            if _folded(target.name) not in self._taken:
                yield target

    def _holds(self, target: Path, source: Path) -> bool:
        """Whether what is there is this photo, in the way it would be put there."""
        try:
            if target.samefile(source) and not target.is_symlink():
                return True
            if self._link:
                return target.is_symlink() and target.readlink() == source
            return stat.S_ISREG(target.lstat().st_mode) and filecmp.cmp(target, source, shallow=False)
        except OSError:  # not to be read, so not known to be the same
            return False

    def _put(self, source: Path, target: Path) -> bool:
        """Copy or link; False where another program has just taken the name."""
        try:
            data, _, modified = (b"", 0, 0) if self._link else read_bytes(source)
        except OSError as error:
            raise PhotoError(_reason(error)) from error
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._link:
                target.symlink_to(source)
            else:
                write_new(target, data, modified_ns=modified)
        except FileExistsError:
            if not self.folder.is_dir():
                raise not_a_folder(self.folder) from None
            return False
        except OSError as error:
            what, hint = "copy", "what was copied is whole; run it again for the rest"
            if self._link:
                what, hint = "link", "not every disk has symbolic links; copies always work"
            raise OutputError(f"cannot {what} into {self.folder}: {_reason(error)}", hint) from error
        return True


def not_a_folder(path: Path) -> UsageError:
    """What is there cannot hold photos."""
    return UsageError(f"not a folder: {path}", "name a folder, there or not there yet")


def numbered(name: str, number: int) -> str:
    """A file's name, told apart by a number from 2 on, and no longer than names may be.

    >>> numbered("cat.jpg", 2)
    'cat (2).jpg'
    """
    if number == 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _SUFFIX:
        stem, dot, suffix = name, "", ""
    end = f" ({number}){dot}{suffix}"
    return _cut(stem, _NAME_BYTES - len(os.fsencode(end))) + end


def folder_names(labels: Iterable[str]) -> list[str]:
    """A folder's name for each label, allowed on every system; no two are the same, whatever their case.

    >>> folder_names(["cat", "Cat", "cat/dog", ".."])
    ['cat', 'Cat (2)', 'cat_dog', '_']
    """
    names: list[str] = []
    taken: set[str] = set()
    for label in labels:
        safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", label)).strip(". ")
        safe = _cut(safe, _FOLDER_BYTES).rstrip(". ") or "_"
        if _DEVICE.match(safe):
            safe = "_" + safe
        name = next(
            name
            for number in itertools.count(1)
            if _folded(name := safe if number == 1 else f"{safe} ({number})") not in taken
        )
        taken.add(_folded(name))
        names.append(name)
    return names


def _folded(name: str) -> str:
    """What a disk that does not tell case, or ways to write an accent, takes a name for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _cut(text: str, size: int) -> str:
    """As much from the start as fits into so many bytes."""
    while len(os.fsencode(text)) > size:
        text = text[:-1]
    return text


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
