"""Reading files for indexing: bytes, hash, pixels, by threads a bounded distance ahead, in order."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from clipsearch.catalog.catalog import Catalog, Refusal
from clipsearch.catalog.frames import frame_hash, times_of
from clipsearch.errors import PhotoError
from clipsearch.machine import usable_cores
from clipsearch.photos.extras import is_video
from clipsearch.photos.files import digest_of, read_bytes
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.video import Film

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

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
        decoded: A picture or a video; None when the catalog has the embedding and the metadata of these
            bytes already.
    """

    file: PendingFile
    size: int
    mtime_ns: int
    digest: bytes
    decoded: Decoded | Film | None

    @property
    def count(self) -> int:
        """Pictures that the model has to see."""
        return len(self.decoded.seconds) if isinstance(self.decoded, Film) else int(self.decoded is not None)

    def pictures(self) -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
        """These, each with what it is known by."""
        if isinstance(self.decoded, Film):
            yield self.digest, self.decoded.pixels[0]
            for seconds, pixels in zip(self.decoded.seconds[1:], self.decoded.pixels[1:], strict=True):
                yield frame_hash(self.digest, seconds), pixels
        elif self.decoded is not None:
            yield self.digest, self.decoded.pixels


def in_order(
    pool: Executor, work: Callable[[T], R], items: Iterator[T], ahead: Callable[[], int]
) -> Iterator[R]:
    """What becomes of items, in their order, worked on by a pool a bounded distance ahead.

    Args:
        pool: Does the work.
        work: On one item.
        items: Taken one by one as there is room.
        ahead: How many items beyond the next one may be under way, -1 for none; asked before each.
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

        Yields:
            For each file what was read, why it was refused, or None when it is gone.
        """
        videos = 0

        def counted() -> Iterator[PendingFile]:
            nonlocal videos
            for file in files:
                videos += is_video(file.path)
                yield file

        def read(file: PendingFile) -> tuple[bool, ReadFile | Refusal | None]:
            of_video = is_video(file.path)
            return of_video, self._refusing(self._read_video if of_video else self._read, file)

        def room() -> int:
            # A video may be worth 200 pictures: no more of them at once than there are threads.
            return ahead() + self._workers if videos <= self._workers else -1

        for was_video, item in in_order(self._pool, read, counted(), room):
            videos -= was_video
            yield item

    def _refusing(
        self, read: Callable[[PendingFile, bytes], ReadFile], file: PendingFile
    ) -> ReadFile | Refusal | None:
        try:
            return read(file, os.path.join(file.base, file.path))  # noqa: PTH118 - bytes
        except FileNotFoundError:
            return None
        except PhotoError as error:
            return Refusal(file.root, file.path, file.size, file.mtime_ns, error.message)
        except OSError as error:
            # No size, no time: what could not even be opened is tried again by every run.
            return Refusal(file.root, file.path, 0, 0, (error.strerror or str(error)).lower())

    def _read(self, file: PendingFile, path: bytes) -> ReadFile:
        data, size, mtime_ns = read_bytes(path)
        digest = hashlib.sha256(data).digest()
        decoded = None if self._knows(digest) else self._decoder.decode(data, self._preprocessing)
        return ReadFile(file, size, mtime_ns, digest, decoded)

    def _read_video(self, file: PendingFile, path: bytes) -> ReadFile:
        digest, size, mtime_ns = digest_of(path)
        decoded = None
        if not self._knows(digest):
            decoded = self._decoder.film(path, self._preprocessing, self._known_times(digest))
        facts = os.stat(path)  # noqa: PTH116 - bytes
        if (facts.st_size, facts.st_mtime_ns) != (size, mtime_ns):  # what was seen are not these bytes
            raise OSError(errno.EBUSY, "it is being changed")
        return ReadFile(file, size, mtime_ns, digest, decoded)

    def _known_times(self, digest: bytes) -> tuple[float, ...]:
        with self._lock:
            return times_of(self._catalog, digest)

    def _knows(self, digest: bytes) -> bool:
        with self._lock:
            return self._catalog.knows(digest, self._model, described=True)
