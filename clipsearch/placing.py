"""Putting files into folders without ever overwriting one: names that are apart, links, copies, moves."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_LONGEST_NAME = 255  # bytes, on all common file systems


@dataclass(frozen=True, slots=True)
class Placement:
    """A file and where it goes.

    Attributes:
        source: The file.
        target: Where to; nothing was there when this was planned.
        failure: Why it was not put there, None if it was or is yet to be.
    """

    source: Path
    target: Path
    failure: str | None = None


def plan(wanted: Iterable[tuple[Path, Path]]) -> list[Placement]:
    """Give each file a target of its own: the one wanted, or one with a number behind the name.

    Targets differ also where upper and lower case, or composed and decomposed letters, are one.
    """
    taken: set[str] = set()
    placements = []
    for source, target in wanted:
        free = next(
            name for name in _names(target) if _folded(name) not in taken and not os.path.lexists(name)
        )
        taken.add(_folded(free))
        placements.append(Placement(source, free))
    return placements


def link(source: Path, target: Path) -> Path:
    """Make a symbolic link to a file; a hard link where there are no symbolic ones. Returns where it is.

    Raises:
        OSError: It cannot be made.
    """

    def make(name: Path) -> None:
        try:
            name.symlink_to(source)
        except FileExistsError:
            raise
        except OSError:  # Windows asks for a privilege
            name.hardlink_to(source)

    return _first_free(target, make)


def copy(source: Path, target: Path) -> Path:
    """Copy a file with its times; complete and flushed to disk when it appears. Returns where it is.

    Raises:
        OSError: It cannot be read or written, or what was written is read back as something else.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        digest = hashlib.sha256()
        with source.open("rb") as reader, draft.open("xb") as writer:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        with suppress(OSError):  # a file system without permissions, or times as exact
            shutil.copystat(source, draft)
        with draft.open("rb") as reader:
            if hashlib.file_digest(reader, "sha256").digest() != digest.digest():
                raise OSError(errno.EIO, "the copy is not the same", str(target))
        placed = _first_free(target, lambda name: _rename(draft, name))
        _flush(placed.parent)
    finally:
        draft.unlink(missing_ok=True)
    return placed


def move(source: Path, target: Path) -> Path:
    """Move a file: renamed on one disk; copied to another, and removed once the copy is complete there.

    Killed anywhere, the file is in one of the two places, or in both. Returns where it is.

    Raises:
        OSError: It cannot be moved, or is a link; it is where it was.
    """
    if source.is_symlink():
        raise OSError(errno.ELOOP, "it is a link", str(source))
    try:
        placed = _first_free(target, lambda name: _rename(source, name))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        before = source.stat()
        placed = copy(source, target)
        after = source.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            placed.unlink()  # our own copy, of a file that is being written
            raise OSError(errno.EBUSY, "it is being changed", str(source)) from None
        source.unlink()
    return placed


def _rename(source: Path, target: Path) -> None:
    """Rename, never over another file: `os.rename` alone would replace it.

    Raises:
        FileExistsError: There is one.
        OSError: As `os.rename`.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.EXDEV or not source.exists():
            raise
        # No hard links here. An empty file of our own holds the name.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            source.replace(target)
        except BaseException:
            target.unlink()
            raise
    else:
        try:
            source.unlink()
        except BaseException:
            target.unlink()  # the other name of the same file
            raise


def _first_free(target: Path, put: Callable[[Path], None]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in _names(target):
        try:
            put(name)
        except FileExistsError:
            continue
        return name
    raise AssertionError  # `_names` has no end


def _names(target: Path) -> Iterator[Path]:
    """`a.jpg`, `a (2).jpg`, `a (3).jpg`, ..., each short enough for a file system."""
    yield _fitting(target.parent, target.stem, target.suffix)
    for number in count(2):
        yield _fitting(target.parent, target.stem, f" ({number}){target.suffix}")


def _fitting(folder: Path, stem: str, end: str) -> Path:
    while len(stem) > 1 and len(os.fsencode(stem + end)) > _LONGEST_NAME:
        stem = stem[:-1]
    return folder / (stem + end)


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _flush(folder: Path) -> None:
    """Make a new name durable, where the system can (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
