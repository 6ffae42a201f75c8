"""Reading files for indexing: bytes, hash, pixels, by threads a bounded distance ahead, in order."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from clipsearch.catalog.catalog import Catalog, Refusal
from clipsearch.errors import PhotoError
from clipsearch.machine import usable_cores
from clipsearch.photos.files import read_bytes
from clipsearch.photos.guarded import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from clipsearch.catalog.diff import PendingFile
    from clipsearch.photos.decode import Decoded
    from clipsearch.types import Preprocessing

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read.

    Attributes:
        file: What was asked for.
        size: Bytes, as of reading.
        mtime_ns: Modification time, as of reading.
        digest: SHA-256 of the bytes.
        decoded: None when the catalog has the embedding and the metadata of these bytes already.
    """

    file: PendingFile
    size: int
    mtime_ns: int
    digest: bytes
    decoded: Decoded | None


def in_order(
    pool: Executor, work: Callable[[T], R], items: Iterator[T], ahead: Callable[[], int]
) -> Iterator[R]:
    """What becomes of items, in their order, worked on by a pool a bounded distance ahead.

    Args:
        pool: Does the work.
        work: On one item.
        items: Taken one by one as there is room.
        ahead: How many items beyond the next one may be under way; asked before each.
    """
    waiting: deque[Future[R]] = deque()
    while True:
        while len(waiting) <= ahead() and (item := next(items, None)) is not None:
            waiting.append(pool.submit(work, item))
        if not waiting:
            return
        yield waiting.popleft().result()


class Reader:
    """Reads, hashes and decodes files ahead of whoever embeds them.

    Args:
        folder: The library's folder: bytes that its catalog knows are not decoded.
        model: Id of the model whose embeddings count.
        preprocessing: What to decode for.
        workers: Threads; as many as usable cores when None.
    """

    def __init__(
        self, folder: Path, model: int, preprocessing: Preprocessing, workers: int | None = None
    ) -> None:
        self._catalog = Catalog(folder)
        self._lock = threading.Lock()  # around the one connection that all threads share
        self._model = model
        self._preprocessing = preprocessing
        self._workers = workers or usable_cores()
        self._decoder = Decoder()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")

    def close(self) -> None:
        """Drop what is being read."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._decoder.close()
        self._pool.shutdown(wait=True)
        self._catalog.close()

    def read(
        self, files: Iterator[PendingFile], ahead: Callable[[], int]
    ) -> Iterator[ReadFile | Refusal | None]:
        """Read files in order.

        Args:
            files: What to read.
            ahead: How many files beyond the next one may be under way; asked before each.

        Returns:
            For each file what was read, why it was refused, or None when it is gone.
        """
        return in_order(self._pool, self._read, files, lambda: ahead() + self._workers)

    def _read(self, file: PendingFile) -> ReadFile | Refusal | None:
        try:
            data, size, mtime_ns = read_bytes(os.path.join(file.base, file.path))  # noqa: PTH118 - bytes
            digest = hashlib.sha256(data).digest()
            with self._lock:
                known = self._catalog.knows(digest, self._model, described=True)
            decoded = None if known else self._decoder.decode(data, self._preprocessing)
        except FileNotFoundError:
            return None
        except PhotoError as error:
            return Refusal(file.root, file.path, file.size, file.mtime_ns, error.message)
        except OSError as error:
            # No size, no time: what could not even be opened is tried again by every run.
            return Refusal(file.root, file.path, 0, 0, (error.strerror or str(error)).lower())
        return ReadFile(file, size, mtime_ns, digest, decoded)
