"""A photo's bytes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from clipsearch.errors import PhotoError

if TYPE_CHECKING:
    from pathlib import Path

# A picture is read whole, once, for its hash and its pixels. Larger files are no photos.
MAX_BYTES = 1 << 30


def read_bytes(path: Path | bytes) -> tuple[bytes, int, int]:
    """Bytes, size and modification time (ns) of a regular file.

    Raises:
        PhotoError: It is empty, too large, or no regular file; devices and pipes are never waited for.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise PhotoError("not a regular file")
        if not facts.st_size:
            raise PhotoError("empty file")
        if facts.st_size > MAX_BYTES:
            raise PhotoError(f"file of {facts.st_size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB")
        # No more than that of a file that is still being written: the next run finds it changed.
        return stream.read(facts.st_size), facts.st_size, facts.st_mtime_ns
