"""Threads that ask a library, each with a `Library` of its own; models are loaded once for all of them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from clipsearch.library import Library

T = TypeVar("T")


class LibraryPool:
    """Runs calls that need a library off the event loop.

    Args:
        library: The library to serve; it stays the caller's own.
        threads: Calls at the same time.
    """

    def __init__(self, library: Library, threads: int) -> None:
        self._library = library
        self._own = threading.local()
        self._opened: list[Library] = []
        self._executor = ThreadPoolExecutor(threads, "clipsearch", self._open)

    def _open(self) -> None:
        self._own.library = self._library.another()
        self._opened.append(self._own.library)

    async def run(self, call: Callable[[Library], T]) -> T:
        """What `call` returns, given the library of a thread that is free."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(self._own.library))

    def close(self) -> None:
        """Wait for what is running, and let go of the libraries."""
        self._executor.shutdown(cancel_futures=True)
        for library in self._opened:
            library.close()
