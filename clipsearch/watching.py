"""Watching: keeps a library up to date as files change, a refresh at a time of what has changed.

A refresh looks only at the files and folders that changed, so that one photo among a million costs little.
What cannot be told that finely (links, a folder that was away, names that are not UTF-8) refreshes its whole
root.
"""

from __future__ import annotations

import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING

from clipsearch.changes import Change, Changes, Notice
from clipsearch.errors import LibraryBusyError, LibraryWriteError
from clipsearch.photos.scan import PICTURE_SUFFIXES
from clipsearch.roots import Walk, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from pathlib import Path

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.encoders.kept import KeptEncoder
    from clipsearch.types import IndexReport, Listeners

# A file is taken in once nothing has happened to it for so long: copying goes on in steps far shorter.
QUIET_S = 2.0
# While other files still change, quiet ones wait for them so long: one refresh for all of an import.
_TOGETHER_S = 10.0
# How often the library is asked for its folders: others may index one more, or forget one.
_FOLLOW_S = 5.0
# Everything is looked through so often, in case the system has left something untold.
_ANYWAY_S = 6 * 3600.0
_BUSY_S, _FULL_S = 1.0, 60.0
_TICK_S = 0.25

# Of a root: what changed and when, by relative path; `_WHOLE` for anything.
_WHOLE = b""


class Watch:
    """Keeps one library up to date.

    Args:
        catalog: Of the library, opened for reading.
        refresh: Makes the walks that it is given (from the catalog opened for writing, under the lock).
        encoder: What refreshes embed with, let go of when they pause.
        listeners: For notices.
        stop: Asked often; the watch ends once it says True.
    """

    def __init__(
        self,
        catalog: Catalog,
        refresh: Callable[[Callable[[Catalog], list[Walk]]], IndexReport],
        encoder: KeptEncoder,
        listeners: Listeners,
        stop: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._refresh = refresh
        self._encoder = encoder
        self._listeners = listeners
        self._stop = stop
        # By root and relative path: when it changed first, when last.
        self._pending: dict[Path, dict[bytes, tuple[float, float]]] = {}
        self._not_before = 0.0
        self._told_trouble = False

    def run(self, poll: float | None) -> None:
        """Watch until told to stop; `poll` as in `Changes`."""
        with Changes(poll) as changes:
            followed = self._follow(changes)
            self._bring_up_to_date(changes)
            full = time.monotonic()
            while not self._stop():
                self._take_in(changes.next(_TICK_S))
                now = time.monotonic()
                if now - followed >= _FOLLOW_S:
                    followed = self._follow(changes)
                if now - full >= _ANYWAY_S:
                    full = now
                    for root in self._catalog.roots():
                        self._note(root.path, _WHOLE)
                self._bring_up_to_date(changes)
                self._encoder.rest()

    def _follow(self, changes: Changes) -> float:
        """Watch the folders that the library has now; those that are new are looked through."""
        paths = [root.path for root in self._catalog.roots()]
        for path in changes.watch(paths):
            self._note(path, _WHOLE, long_ago=True)
        self._pending = {path: held for path, held in self._pending.items() if path in paths}
        return time.monotonic()

    def _take_in(self, told: Change | Notice | None) -> None:
        match told:
            case Notice(folder, "away"):
                self._listeners.tell(f"{folder} is empty or away; its photos are kept")
            case Notice(folder, "back"):
                self._listeners.tell(f"{folder} is back")
            case Notice(folder, _, reason, seconds):
                self._listeners.tell(f"{folder} is looked through every {seconds:,.0f} s: {reason}")
            case Change(folder, None):
                self._note(folder, _WHOLE)
            case Change(folder, paths) if paths is not None:
                for path in paths:
                    if _may_matter(os.fsencode(folder) + b"/" + path, path):
                        self._note(folder, path)

    def _note(self, root: Path, path: bytes, *, long_ago: bool = False) -> None:
        held = self._pending.setdefault(root, {})
        now = time.monotonic()
        first, _ = held.get(path, (now, now))
        held[path] = (first, now - QUIET_S if long_ago else now)

    def _due(self) -> dict[Path, dict[bytes, tuple[float, float]]]:
        """What is quiet now; nothing as long as more may be quiet soon."""
        now = time.monotonic()
        due = {
            root: {path: when for path, when in held.items() if now - when[1] >= QUIET_S}
            for root, held in self._pending.items()
        }
        due = {root: held for root, held in due.items() if held}
        waiting = sum(map(len, self._pending.values())) - sum(map(len, due.values()))
        oldest = min((first for held in due.values() for first, _ in held.values()), default=now)
        return due if not waiting or now - oldest >= _TOGETHER_S else {}

    def _bring_up_to_date(self, changes: Changes) -> None:
        """Refresh what is due. What a busy library or a full disk keeps from it stays due."""
        due = self._due() if time.monotonic() >= self._not_before else {}
        for root, held in due.items():
            if any(path != _WHOLE and _is_link(root, path) for path in held):
                changes.renew(root)
            self._pending[root] = {
                path: when for path, when in self._pending[root].items() if path not in held
            }
        parts = {root: _parts(root, held) for root, held in due.items()}
        if all(within == () for within in parts.values()):
            return
        try:
            restless = {root for root in parts if changes.polled(root)}
            self._refresh(partial(_walks, parts, restless))
        except (LibraryBusyError, LibraryWriteError) as error:
            is_busy = isinstance(error, LibraryBusyError)
            self._not_before = time.monotonic() + (_BUSY_S if is_busy else _FULL_S)
            for root, held in due.items():
                self._pending[root] = held | self._pending[root]
            if not self._told_trouble:
                self._listeners.tell(f"{error.message}; waiting until that is over")
            self._told_trouble = True
        else:
            self._told_trouble = False


def _walks(
    parts: dict[Path, tuple[bytes, ...] | None], restless: Container[Path], catalog: Catalog
) -> list[Walk]:
    """The walks to make, of the roots that are still there."""
    return [
        Walk(root, parts[root.path], QUIET_S if root.path in restless else 0.0)
        for root in catalog.roots()
        if parts.get(root.path, ()) != ()
    ]


def _may_matter(file: bytes, path: bytes) -> bool:
    """Whether a change may concern photos; what is gone may have been a folder of them."""
    if any(part.startswith(b".") for part in path.split(b"/")):
        return False
    stem, _, suffix = path.rpartition(b"/")[2].rpartition(b".")
    return bool(stem and suffix.lower() in PICTURE_SUFFIXES) or not os.path.isfile(file)  # noqa: PTH113 - bytes


def _parts(root: Path, paths: Iterable[bytes]) -> tuple[bytes, ...] | None:
    """What to look at within a root; None for all of it.

    A root is walked so that each folder turns up once, wherever links lead; only a walk of the whole does so.
    """
    base = os.fsencode(root)
    if not reachable(root):
        return None
    parts: set[bytes] = set()
    seen: dict[bytes, int | None] = {}
    for path in paths:
        if path == _WHOLE:
            return None
        names = path.split(b"/")
        for depth in range(1, len(names) + 1):
            here = b"/".join(names[:depth])
            if here not in seen:
                seen[here] = _mode(base + b"/" + here)
            mode = seen[here]
            if mode is None:  # of what is gone, the topmost folder
                break
            if stat.S_ISLNK(mode) and (depth < len(names) or os.path.isdir(base + b"/" + here)):  # noqa: PTH112
                return None
        if mode is not None and stat.S_ISDIR(mode) and _has_links(base + b"/" + here):
            return None
        parts.add(here)
    return tuple(sorted(parts))


def _is_link(root: Path, path: bytes) -> bool:
    """Whether a path is a link to a folder."""
    here = os.fsencode(root) + b"/" + path
    return os.path.islink(here) and os.path.isdir(here)  # noqa: PTH112, PTH114 - bytes


def _mode(path: bytes) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _has_links(folder: bytes) -> bool:
    """Whether a link to a folder lies anywhere below."""
    return any(
        os.path.islink(os.path.join(here, name))  # noqa: PTH114, PTH118 - bytes
        for here, folders, _ in os.walk(folder)
        for name in folders
    )
