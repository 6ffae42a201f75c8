"""Answers `clipsearch search` of the same user through a socket; `clipsearch.warm` is the other side."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from typing import TYPE_CHECKING

from clipsearch import __version__, errors
from clipsearch.questions import plain_match, question_of
from clipsearch.warm import PATIENCE_S, SOCKET_NAME, address, identity, is_own
from clipsearch.web.errors import BusyError, logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from clipsearch.library import Library
    from clipsearch.questions import Question
    from clipsearch.web.guard import Activity
    from clipsearch.web.pool import LibraryPool

_PULSE_S = PATIENCE_S / 4
_LOOK_S = 2.0  # how often it is looked whether the socket is still there
_BACKLOG = 64
_LONGEST = 1 << 22  # bytes of a question
_PRIVATE = 0o600


class WarmSocket:
    """The socket in a library's folder, kept there as long as the server runs.

    A newer server takes the place of an older one, whose turn comes again when the newer one has gone.

    Args:
        folder: The library's; it need not be there yet.
        pool: Has the answers.
        activity: Is kept up to date.
        tell: Told why there can be no socket.
    """

    def __init__(
        self, folder: Path, pool: LibraryPool, activity: Activity, tell: Callable[[str], None]
    ) -> None:
        self._path = folder / SOCKET_NAME
        self._pool, self._activity, self._tell = pool, activity, tell
        self._server: asyncio.Server | None = None
        self._own: os.stat_result | None = None
        self._told = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer meanwhile."""
        if not hasattr(socket, "AF_UNIX"):  # Windows
            yield
            return
        there = self._there()
        if there is not None and stat.S_ISSOCK(there.st_mode):
            # A killed server's, or an older one's; what is no socket is left alone.
            with contextlib.suppress(OSError):
                self._path.unlink()
        await self._listen()
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            self._close()
            there = self._there()
            if there is not None and self._own is not None and os.path.samestat(there, self._own):
                with contextlib.suppress(OSError):
                    self._path.unlink()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._there() is None:
                self._close()
                await self._listen()

    async def _listen(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        try:
            with address(self._path.parent) as name:
                made.bind(name)
            self._own = self._path.lstat()
            self._path.chmod(_PRIVATE)  # nobody can connect before it listens
            made.listen(_BACKLOG)
            self._server = await asyncio.start_unix_server(self._converse, sock=made, limit=_LONGEST)
        except OSError as error:
            made.close()
            # No library yet, or something else of this name.
            if error.errno not in {errno.ENOENT, errno.EADDRINUSE} and not self._told:
                self._told = True
                reason = (error.strerror or str(error)).lower()
                self._tell(f"searches from the shell stay as they are: no socket at {self._path} ({reason})")

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _there(self) -> os.stat_result | None:
        try:
            return self._path.lstat()
        except OSError:
            return None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError), self._activity.going_on():
            if not is_own(writer.get_extra_info("socket")):
                return
            asked = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE_S))
            if asked["version"] != __version__ or asked["folder"] != identity(self._path.parent):
                return
            pulse = asyncio.create_task(_pulse(writer))
            try:
                writer.write(await self._answer(question_of(asked["question"])))
            finally:
                pulse.cancel()
            await writer.drain()

    async def _answer(self, question: Question) -> bytes:
        """A line for the client; an empty one if it had better help itself."""
        notices: list[str] = []
        try:
            return await self._pool.run(lambda library: _put(question, library, notices), notices=notices)
        except BusyError:
            return b""
        except Exception as error:  # noqa: BLE001 - the client will meet it as well, and say so
            logger.error("internal error: %s: %s", type(error).__name__, error)
            return b""


def _put(question: Question, library: Library, notices: list[str]) -> bytes:
    answer: dict[str, object]
    try:
        with library.told_nothing():
            answer = {"matches": [plain_match(match) for match in question.put_to(library)]}
    except errors.ClipsearchError as error:
        answer = {"error": (type(error).__name__, error.message, error.hint)}
    return json.dumps({"notices": notices, **answer}).encode("ascii") + b"\n"


async def _pulse(writer: asyncio.StreamWriter) -> None:
    """Empty lines, as a sign of life."""
    while True:
        writer.write(b"\n")
        await asyncio.sleep(_PULSE_S)
