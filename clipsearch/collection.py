"""Photos in a folder: copied, linked or moved there; nothing is overwritten, same names are kept apart."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import itertools
import os
import re
import shutil
import stat
import unicodedata
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipsearch.errors import OutputError, PhotoError, UsageError
from clipsearch.new_file import hand_over, publish, write_new
from clipsearch.photos.files import digest_of, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Way = Literal["copy", "link", "move"]

_BLOCK = 1 << 20
# What nearly every file system allows in a name.
_NAME_BYTES = 255
_FOLDER_BYTES = 100
_SUFFIX = 16  # characters; after a dot further from the end comes no suffix
# Not allowed in names on Windows, or it moves the cursor or turns the reading direction.
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
# Devices on Windows, in every folder and with every suffix.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
_HINTS: dict[Way, str] = {
    "copy": "what was copied is whole; run it again for the rest",
    "link": "not every disk has links; copies always work",
    "move": "what was moved is whole; all else is where it was",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a photo has its place.

    Attributes:
        source: The photo.
        target: Its place; None where it has none.
        new: False where it lay there before.
        failure: Why it has no place.
    """

    source: Path
    target: Path | None
    new: bool = False
    failure: str | None = None


class Collection:
    """A folder that photos are copied into, linked from, or moved to.

    A photo keeps its name; where another has it, `(2)` and so on is added. Two photos never share a place,
    on any disk: names that differ in case alone count as the same. A copy of before, with the very same
    bytes, or a link to the photo is its place again, so that collecting can be repeated.

    Args:
        folder: Made when the first photo comes.
        way: Copies, symbolic links (hard ones where the system has no others), or the photos themselves.
        dry_run: Say where photos would have their places, and write nothing.
    """

    def __init__(self, folder: Path, way: Way = "copy", *, dry_run: bool = False) -> None:
        self.folder = folder
        self._way = way
        self._dry_run = dry_run
        self._taken: set[str] = set()
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        # Files of before that were not the photo in question. One may be the next photo.
        self._before: defaultdict[str, dict[Path, None]] = defaultdict(dict)

    def add(self, source: Path, wanted: Path | str | None = None) -> Placement:
        """Give a photo its place; it is there whole, with the photo's date, or not at all.

        Args:
            source: Absolute path.
            wanted: Path below the folder; the photo's name when None.

        Returns:
            Its place, or why it has none: it cannot be read, or cannot leave where it is.

        Raises:
            UsageError: Something that is no folder is in the way.
            OutputError: The folder cannot be written.
        """
        wanted = self.folder / (wanted or source.name)
        try:
            self._check(source)
            before = self._before[_folded(wanted)]
            for target in self._places(wanted):
                there = os.path.lexists(target)
                if there and not self._holds(target, source):
                    before[target] = None
                elif there or self._dry_run or self._put(source, target):
                    before.pop(target, None)
                    self._taken.add(_folded(target))
                    return Placement(source, target, new=not there)
        except PhotoError as error:
            return Placement(source, None, failure=error.message)
        raise AssertionError("numbers do not end")

    def _check(self, source: Path) -> None:
        try:
            source.stat()
        except OSError as error:
            raise PhotoError(_reason(error)) from error
        if self._way == "move" and source.is_symlink():
            raise PhotoError("it is a link")
        if self._way == "move" and not os.access(source.parent, os.W_OK):
            raise PhotoError("its folder cannot be written")

    def _places(self, wanted: Path) -> Iterator[Path]:
        """Where a photo of this name may lie and no other does: places of before, then ever new ones."""
        key = _folded(wanted)
        names = (wanted.with_name(numbered(wanted.name, number)) for number in self._numbers[key])
        for target in itertools.chain(list(self._before[key]), names):
            if _folded(target) not in self._taken:
                yield target

    def _holds(self, target: Path, source: Path) -> bool:
        """Whether what is there is this photo, in the way it would be put there."""
        if self._way == "move":
            return False
        try:
            if target.samefile(source) and not target.is_symlink():
                return True
            if self._way == "link":
                return target.is_symlink() and target.readlink() == source
            return stat.S_ISREG(target.lstat().st_mode) and filecmp.cmp(target, source, shallow=False)
        except OSError:  # not to be read, so not known to be the same
            return False

    def _put(self, source: Path, target: Path) -> bool:
        """Copy, link or move; False where another program has just taken the name."""
        folder = target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            {"copy": _copy, "link": _link, "move": _move}[self._way](source, target)
        except FileExistsError:
            if not folder.is_dir():
                raise not_a_folder(folder) from None
            return False
        except OSError as error:
            what = f"cannot {self._way} into {folder}: {_reason(error)}"
            raise OutputError(what, _HINTS[self._way]) from error
        return True


def _copy(source: Path, target: Path) -> tuple[bytes, int, int]:
    """Returns SHA-256 and size of what was copied, and its time of modification."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open_regular(source))
            facts = os.fstat(stream.fileno())
        except OSError as error:
            raise PhotoError(_reason(error)) from error
        digest = hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            # No more than there was at first of a file that is still being written.
            for start in range(0, facts.st_size, _BLOCK):
                try:
                    block = stream.read(min(_BLOCK, facts.st_size - start))
                except OSError as error:
                    raise PhotoError(_reason(error)) from error
                digest.update(block)
                yield block

        write_new(target, blocks(), modified_ns=facts.st_mtime_ns)
    return digest.digest(), facts.st_size, facts.st_mtime_ns


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except FileExistsError:
        raise
    except OSError as error:  # Windows asks for a privilege
        try:
            target.hardlink_to(source)
        except OSError:
            raise error from None


def _move(source: Path, target: Path) -> None:
    """Rename on one disk; to another, copy, and remove once the copy is read back as the same."""
    try:
        publish(source, target)
    except PermissionError as error:
        if not os.access(target.parent, os.W_OK):
            raise
        raise PhotoError(_reason(error)) from error  # a file that is locked, say
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    copied, size, modified = _copy(source, target)
    if digest_of(target) != (copied, size, modified):
        target.unlink()
        raise OSError(errno.EIO, "what is read back is not what was written")
    try:
        facts = source.stat()
        if (facts.st_size, facts.st_mtime_ns) != (size, modified):
            target.unlink()
            raise PhotoError("it is being changed")
        with suppress(OSError):  # permissions, which not every disk has
            shutil.copystat(source, target)
        hand_over(source, target)
    except OSError as error:
        raise PhotoError(_reason(error)) from error


def not_a_folder(path: Path) -> UsageError:
    """What is there cannot hold photos."""
    return UsageError(f"not a folder: {path}", "name a folder, there or not there yet")


def numbered(name: str, number: int) -> str:
    """A file's name, told apart by a number from 2 on, and no longer than names may be.

    >>> numbered("cat.jpg", 2)
    'cat (2).jpg'
    """
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _SUFFIX:
        stem, dot, suffix = name, "", ""
    end = f"{dot}{suffix}" if number == 1 else f" ({number}){dot}{suffix}"
    return _cut(stem, _NAME_BYTES - len(os.fsencode(end))) + end


def safe_name(name: str) -> str:
    """A file's name with nothing in it that a system does not allow or a terminal would obey.

    >>> safe_name("a/b: c.jpg")
    'a_b_ c.jpg'
    """
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip() or "_"
    return f"_{safe}" if _DEVICE.match(safe) or not safe.strip(".") else safe


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


def _folded(name: Path | str) -> str:
    """What a disk that does not tell case, or ways to write an accent, takes a name for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", str(name)).casefold())


def _cut(text: str, size: int) -> str:
    """As much from the start as fits into so many bytes."""
    while len(os.fsencode(text)) > size:
        text = text[:-1]
    return text


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
