"""A library served as `clipsearch serve` does it, on a real socket, from a thread of the test."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from clipsearch.web.running import Serving, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipsearch import Library


@contextmanager
def served(library: Library, *, token: str | None = None) -> Iterator[httpx.Client]:
    """A client of the server, which ends with the body."""
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        serving = Serving(library, [listening], token=token)
        end = threading.Event()
        thread = threading.Thread(target=serving.run, args=(end.is_set,))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client
        finally:
            end.set()
            thread.join(10)
            assert not thread.is_alive()
