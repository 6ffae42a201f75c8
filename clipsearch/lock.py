"""One writer at a time: a lock on the library, which the system frees even when its holder is killed."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from clipsearch.errors import LibraryBusyError, LibraryWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the library's writer lock; the folder is made, private to the user, when missing.

    Raises:
        LibraryBusyError: Another process holds it; the message says which.
        LibraryWriteError: The folder cannot be made or written.
    """
    from filelock import FileLock, Timeout  # 17 ms that no reader need spend

    holder = folder / "writer.json"  # apart from the lock file, which Windows lets nobody else read
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / "writer.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise LibraryBusyError(
                f"{_describe(holder)} is writing to this library: {folder}",
                "wait until it is done; searching works meanwhile",
            ) from None
    except OSError as error:
        raise LibraryWriteError(
            f"the library cannot be written: {folder} ({(error.strerror or str(error)).lower()})",
            "check the folder's permissions and free space, or name another: --library DIR",
        ) from error
    try:
        facts = {"pid": os.getpid(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
        with suppress(OSError):  # only words for others: a full disk does not keep one from making room
            holder.write_text(json.dumps(facts))
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text())
        since = datetime.fromisoformat(facts["since"])
        return f"another clipsearch (process {int(facts['pid'])}, since {since:%H:%M:%S})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another clipsearch"
