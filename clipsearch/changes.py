"""What changes below folders: told by the operating system where it can, else by looking again now and then.

Nothing here reads photos or knows the catalog. One thread for each folder; whatever it cannot tell for sure
(a folder that was away, names that are not UTF-8, a system out of watches) it tells as "anything may have
changed", so that nothing is ever missed for good.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal, Self

from clipsearch.roots import reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from watchfiles._rust_notify import RustNotify

# Where the system cannot tell.
POLL_S = 300.0
# How often a folder is looked for that is away, or whether one that is there still is.
_LOOK_S = 2.0
# Changes are handed on in such steps; the kernel's queue (16,384 events on Linux) is read all the while.
_STEP_MS, _BATCH_MS = 100, 500
# With so many changes at once, the kernel may have dropped some: nothing says so.
_TOO_MANY = 5_000


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened below a folder.

    Attributes:
        folder: The watched one.
        paths: What changed, relative to it; None when it may be anything.
    """

    folder: Path
    paths: frozenset[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A watched folder went away, came back, or is polled, every so many seconds, for a reason."""

    folder: Path
    kind: Literal["away", "back", "polled"]
    reason: str = ""
    seconds: float = 0.0


class Changes:
    """Watches folders. A context manager.

    Args:
        poll: Look again every so many seconds instead of asking the system to tell.
    """

    def __init__(self, poll: float | None = None) -> None:
        self._poll = poll
        self._told: SimpleQueue[Change | Notice] = SimpleQueue()
        self._watched: dict[Path, _Folder] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        folders = list(self._watched.values())
        self.watch(())
        for folder in folders:
            folder.join()

    def watch(self, folders: Iterable[Path]) -> list[Path]:
        """Watch these folders, and no others from now on; returns those that were not watched before.

        A folder that can be watched is by the time this returns: what changes later is told.
        """
        wanted = set(folders)
        for gone in self._watched.keys() - wanted:
            self._watched.pop(gone).stop()
        fresh = sorted(wanted - self._watched.keys())
        for folder in fresh:
            self._watched[folder] = _Folder(folder, self._poll, self._told.put)
            self._watched[folder].start()
        return fresh

    def renew(self, folder: Path) -> None:
        """Watch a folder anew: links to folders are followed only from the beginning."""
        self.watch(self._watched.keys() - {folder})
        self.watch({*self._watched, folder})

    def polled(self, folder: Path) -> bool:
        """Whether nobody will tell when a file in it that is being written now is done."""
        return folder in self._watched and self._watched[folder].polled

    def next(self, timeout: float) -> Change | Notice | None:
        """What is told next, None when nothing is within so many seconds."""
        with suppress(Empty):
            return self._told.get(timeout=timeout)
        return None


class _Folder:
    """One watched folder, with a thread of its own."""

    def __init__(self, folder: Path, poll: float | None, tell: Callable[[Change | Notice], None]) -> None:
        self._folder = folder
        self._asked = poll
        self._poll = poll  # now: where the system cannot tell, it is `POLL_S`
        self._tell = tell
        self._over = threading.Event()
        self._identity: tuple[int, int] | None = None
        self._watcher: RustNotify | None = None
        # A daemon: a dead network mount holds whoever looks at it, and must not hold the program's end.
        self._thread = threading.Thread(target=self._run, name=f"watch {folder}", daemon=True)

    @property
    def polled(self) -> bool:
        return self._poll is not None

    def start(self) -> None:
        self._arm()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def join(self) -> None:
        # None may be inside the watcher's own code when Python ends; one in a dead mount is left behind.
        self._thread.join(_LOOK_S)

    def _arm(self) -> None:
        """Ask the system to tell of changes; where it cannot, say so once, and poll."""
        self._watcher = None
        self._poll = self._asked
        self._identity = _identity(self._folder)
        if self._poll is not None or self._identity is None:
            return
        from watchfiles._rust_notify import RustNotify

        try:
            # Its option to ignore folders without permission ignores every other trouble, too.
            self._watcher = RustNotify(
                [os.fspath(self._folder)],
                debug=False,
                force_polling=False,
                poll_delay_ms=0,
                recursive=True,
                ignore_permission_denied=False,
            )
        except (OSError, RuntimeError, UnicodeError) as error:
            if _identity(self._folder) is None:
                self._identity = None  # it went away just now
                return
            self._fall_back(_why(error))

    def _fall_back(self, reason: str) -> None:
        self._poll = POLL_S
        self._tell(Notice(self._folder, "polled", reason, POLL_S))

    def _run(self) -> None:
        looked = polled = time.monotonic()
        while not self._over.is_set():
            if self._watcher is not None:
                self._listen(self._watcher)
            else:
                self._over.wait(min(_LOOK_S, self._poll or _LOOK_S))
            now = time.monotonic()
            if now - looked >= _LOOK_S:
                looked = now
                self._look()
            if self._poll is not None and self._identity is not None and now - polled >= self._poll:
                polled = now
                self._tell(Change(self._folder))
        if self._watcher is not None:
            self._watcher.close()

    def _listen(self, watcher: RustNotify) -> None:
        """Wait a moment for what the system tells."""
        try:
            told = watcher.watch(_BATCH_MS, _STEP_MS, int(1000 * _LOOK_S), self._over)
        except RuntimeError as error:
            # It has met a name that is not UTF-8, and says nothing else from then on; a new one would meet it
            # as soon as anybody, clipsearch for one, opens that folder.
            watcher.close()
            self._watcher = None
            self._fall_back(_why(error))
            self._tell(Change(self._folder))
            return
        if isinstance(told, str) or not told:
            return
        paths = frozenset(
            os.fsencode(os.path.relpath(path, self._folder)) for _, path in told if path != str(self._folder)
        )
        self._tell(Change(self._folder, paths if len(paths) < _TOO_MANY else None))

    def _look(self) -> None:
        """Notice that the folder went away, came back, or is another one now."""
        now = _identity(self._folder)
        if now == self._identity:
            return
        was = self._identity
        if self._watcher is not None:
            self._watcher.close()
        self._arm()
        if self._identity is None:
            self._tell(Notice(self._folder, "away"))
            return
        if was is None:
            self._tell(Notice(self._folder, "back"))
        self._tell(Change(self._folder))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder it is; None while there is none, or an empty one: where a drive was unplugged."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if reachable(folder) else None


def _why(error: Exception) -> str:
    text = str(error)
    if "watch limit" in text or "Too many open files" in text:
        return "the system lets nobody watch more folders; raise fs.inotify.max_user_watches"
    if isinstance(error, UnicodeError) or "Unable to decode" in text:
        return "a name in it is not UTF-8"
    if isinstance(error, PermissionError):
        return "a folder in it may not be read"
    return text
