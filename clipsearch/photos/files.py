"""A photo's bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipsearch.errors import PhotoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

# A picture is read whole, once, for its hash and its pixels. Larger files are no photos.
MAX_BYTES = 1 << 30


def read_bytes(path: Path | bytes) -> tuple[bytes, int, int]:
    """Bytes, size and modification time (ns) of a regular file.

    Raises:
        PhotoError: It is empty, too large, or no regular file; devices and pipes are never waited for.
        OSError: It cannot be read.
    """
    with open_regular(path) as stream:
        facts = os.fstat(stream.fileno())
        if facts.st_size > MAX_BYTES:
            raise PhotoError(f"file of {facts.st_size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB")
        # No more than that of a file that is still being written: the next run finds it changed.
        return stream.read(facts.st_size), facts.st_size, facts.st_mtime_ns


def digest_of(path: Path | bytes) -> tuple[bytes, int, int]:
    """SHA-256, size and modification time (ns) of a regular file of any size, a block at a time.

    Raises:
        PhotoError: It is empty, or no regular file; devices and pipes are never waited for.
        OSError: It cannot be read.
    """
    with open_regular(path) as stream:
        facts = os.fstat(stream.fileno())
        return hashlib.file_digest(stream, "sha256").digest(), facts.st_size, facts.st_mtime_ns


@contextmanager
def open_regular(path: Path | bytes) -> Iterator[BufferedReader]:
    """A regular file that is not empty, opened for reading.

    Raises:
        PhotoError: It is empty, or no regular file; devices and pipes are never waited for.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise PhotoError("not a regular file")
        if not facts.st_size:
            raise PhotoError("empty file")
        yield stream
