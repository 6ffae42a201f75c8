"""Threads that ask a library, each with a `Library` of its own; models are loaded once for all of them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from clipsearch.catalog.catalog import FILE_NAME
from clipsearch.machine import usable_cores
from clipsearch.types import Listeners
from clipsearch.web.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from clipsearch.library import Library

T = TypeVar("T")
Lane = Literal["quick", "pictures", "long"]

_WAITING = 512  # calls of a lane; more clients than that are told to come again
_BLOCK = 1_000  # items that are handed over at a time
_PATIENCE_S = 1.0  # how long the end waits for what is running


@dataclass(slots=True)
class _Job:
    call: Callable[[Library], Any]
    notices: list[str]
    future: Future[Any] = field(default_factory=Future)


class LibraryPool:
    """Runs calls that need a library off the event loop.

    What is quick never waits for what takes long: `quick` calls, `pictures` to be decoded and `long` ones
    have threads of their own.

    Args:
        library: The library to serve; it stays the caller's own.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        cores = usable_cores()
        self._lanes: dict[Lane, queue.Queue[_Job | None]] = {}
        self._threads: list[tuple[threading.Thread, queue.Queue[_Job | None]]] = []
        sizes: dict[Lane, int] = {"quick": max(2, cores), "pictures": max(2, cores), "long": 2}
        for lane, size in sizes.items():
            jobs = self._lanes[lane] = queue.Queue(_WAITING)
            for number in range(size):
                thread = threading.Thread(
                    target=self._work, args=(jobs,), name=f"{lane}-{number}", daemon=True
                )
                self._threads.append((thread, jobs))
                thread.start()

    def _work(self, jobs: queue.Queue[_Job | None]) -> None:
        notices: list[str] = []
        opened = None
        listeners = Listeners(notice=lambda sentence: notices.append(sentence))  # noqa: PLW0108 - of each call
        with self._library.another(listeners=listeners) as library:
            while (job := jobs.get()) is not None:
                if not job.future.set_running_or_notify_cancel():
                    continue  # nobody waits for it any more
                if opened != (there := _identity(library.path)):
                    # Deleted, restored or made anew; an open database would go on being the old one.
                    library.close()
                    opened = there
                notices = job.notices
                try:
                    result = job.call(library)
                except BaseException as error:  # noqa: BLE001 - it is the caller's
                    job.future.set_exception(error)
                else:
                    job.future.set_result(result)
                del job

    async def run(
        self, call: Callable[[Library], T], *, lane: Lane = "quick", notices: list[str] | None = None
    ) -> T:
        """What `call` returns, given the library of a thread that is free.

        Cancelled before it has begun, it is never run.

        Args:
            call: Runs on a thread of the pool.
            lane: Whose threads.
            notices: Gets the sentences that the library has to say meanwhile.

        Raises:
            BusyError: Too many calls wait already.
        """
        job = _Job(call, [] if notices is None else notices)
        try:
            self._lanes[lane].put_nowait(job)
        except queue.Full:
            raise BusyError("too many requests at once", "try again in a moment") from None
        result: T = await asyncio.wrap_future(job.future)
        return result

    async def stream(
        self, start: Callable[[Library], Iterator[T]], *, notices: list[str] | None = None
    ) -> AsyncIterator[list[T]]:
        """What an iterator of a library yields, in blocks, each made when it is asked for.

        A library of its own is behind it, so that whoever takes the blocks slowly holds up no thread.
        """
        told = [] if notices is None else notices
        library = self._library.another(listeners=Listeners(notice=told.append))
        lock = threading.Lock()

        def end() -> None:
            with lock:
                library.close()

        def step(items: Iterator[T]) -> list[T]:
            with lock:
                return list(islice(items, _BLOCK))

        try:
            items = start(library)
            while block := await self.run(lambda _: step(items), lane="long"):
                yield block
        finally:
            # A step may still be running though nobody waits for it.
            asyncio.get_running_loop().run_in_executor(None, end)

    def close(self) -> None:
        """Drop what waits, and give what is running a moment to end; libraries close on their threads."""
        for jobs in self._lanes.values():
            with suppress(queue.Empty):
                while job := jobs.get_nowait():
                    job.future.cancel()
        for _, jobs in self._threads:
            jobs.put(None)
        end = time.monotonic() + _PATIENCE_S
        for thread, _ in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which file the catalog is now."""
    try:
        facts = (folder / FILE_NAME).stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
