"""Embeddings of any pictures and texts under any model, whether a library has them or not."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch import index_run
from clipsearch.encoders.opening import check_same
from clipsearch.errors import NoLibraryError, PhotoError
from clipsearch.machine import usable_cores
from clipsearch.photos.files import read_bytes
from clipsearch.photos.guarded import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.encoders import ImageEncoder, TextEncoder
    from clipsearch.encoders.shared import Encoders
    from clipsearch.holdings import Holdings
    from clipsearch.types import Listeners, Model, ModelSource

# Pictures that are read ahead of the one that is embedded, beside those of a batch.
_AHEAD = 64
# Of pictures whose embeddings are stored, so many are looked up before the first of them is given.
_STORED = 1024
_TEXTS = 256  # encoded between two words to whoever shows progress


class Embedded(NamedTuple):
    """A picture, by its path, with its unit embedding or the reason why it has none."""

    path: Path
    vector: NDArray[np.float32] | None
    reason: str = ""


class _Read(NamedTuple):
    """A file that was read: with pixels to be embedded, or else done."""

    path: Path
    pixels: NDArray[np.uint8] | None
    vector: NDArray[np.float32] | None = None
    reason: str = ""


class Embedder:
    """One model's view of pictures and texts, from stored embeddings where there are any.

    Args:
        source: The model; None for that of the library, or the default one where there is no library.
        held: What the library holds; None where there is none.
        encoders: Keeps the text encoder.
        listeners: For notices and downloads.
        device: `auto`, `cuda`, `mps` or `cpu`.
        pictures: About how many there are to embed.
        again: Embed every picture now, whatever is stored.

    Attributes:
        model: What the embeddings are of.
        embedded: Pictures that went through the model.
        seconds: What reading and embedding them took, the model being loaded.

    Raises:
        ModelError: The model is unknown, or cannot be had.
    """

    def __init__(
        self,
        source: ModelSource | None,
        held: Holdings | None,
        encoders: Encoders,
        listeners: Listeners,
        *,
        device: str = "auto",
        pictures: int | None = None,
        again: bool = False,
    ) -> None:
        self._encoders, self._listeners = encoders, listeners
        self._device, self._pictures = device, pictures
        self._encoder: ImageEncoder | None = None
        self._held: Holdings | None = None
        self._lock = threading.Lock()  # around its one connection
        self.embedded = 0
        self.seconds = 0.0
        known = None if held is None else _known(held, source)
        if known is None:
            self._encoder = self._open(source)
            self.model: Model = self._encoder.model
        else:
            self.model = known
            if again:
                self._images()
            else:
                self._held = held

    def text_encoder(self) -> TextEncoder:
        """The model's text encoder."""
        return self._encoders.texts(self.model, self._listeners)

    def texts(
        self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> NDArray[np.float32]:
        """`(n, dim)` unit embeddings of texts.

        Args:
            texts: Any number.
            progress: Told of texts done, and of how many.
        """
        encoder = self.text_encoder()
        rows = [np.empty((0, self.model.dim), np.float32)]
        for start in range(0, len(texts), _TEXTS):
            progress(start, len(texts))
            rows.append(encoder.encode(texts[start : start + _TEXTS]))
        return np.concatenate(rows)

    def pictures(self, paths: Iterable[Path]) -> Iterator[Embedded]:
        """Embed picture files, in order; one that cannot be read comes with the reason.

        Files are read and decoded by threads, a bounded distance ahead.
        """
        files = iter(paths)
        cores = usable_cores()
        waiting: deque[Future[_Read]] = deque()
        read: list[_Read] = []
        with Decoder() as decoder, ThreadPoolExecutor(cores, thread_name_prefix="decode") as pool:
            try:
                resumed = time.monotonic()
                while True:
                    while len(waiting) <= _AHEAD + cores and (path := next(files, None)) is not None:
                        waiting.append(pool.submit(self._read, path, decoder))
                    if not waiting and not read:
                        return
                    if waiting:
                        read.append(waiting.popleft().result())
                    if not waiting or len(read) >= _STORED or self._is_batch(read):
                        done = self._embed(read)
                        read = []
                        self.seconds += time.monotonic() - resumed
                        yield from done
                        resumed = time.monotonic()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, path: Path, decoder: Decoder) -> _Read:
        try:
            data, _, _ = read_bytes(path)
            if (stored := self._stored(data)) is not None:
                return _Read(path, None, stored)
            return _Read(path, decoder.decode(data, self.model.preprocessing).pixels)
        except (FileNotFoundError, ValueError):  # ValueError: a name that no file can have
            reason = "no such file"
        except PhotoError as error:
            reason = error.message
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        return _Read(path, None, reason=reason)

    def _stored(self, data: bytes) -> NDArray[np.float32] | None:
        if self._held is None:
            return None
        digest = hashlib.sha256(data).digest()
        with self._lock:
            content = self._held.content_of(digest)
            vector = None if content is None else self._held.vector(content)
        if vector is None:
            return None
        wide = vector.astype(np.float32)
        return wide / np.linalg.norm(wide)

    def _is_batch(self, read: Sequence[_Read]) -> bool:
        pictures = sum(one.pixels is not None for one in read)
        return pictures > 0 and pictures >= self._images().batch_size

    def _embed(self, read: Sequence[_Read]) -> list[Embedded]:
        pixels = [one.pixels for one in read if one.pixels is not None]
        rows = iter(self._images().encode(np.stack(pixels)) if pixels else ())
        self.embedded += len(pixels)
        return [
            Embedded(one.path, one.vector if one.pixels is None else next(rows), one.reason) for one in read
        ]

    def _images(self) -> ImageEncoder:
        if self._encoder is None:
            self._encoder = self._open(self.model.source)
            check_same(self._encoder.model, self.model)
        return self._encoder

    def _open(self, source: ModelSource | None) -> ImageEncoder:
        return index_run.open_encoder(source, self._device, None, self._pictures, self._listeners)


def _known(held: Holdings, source: ModelSource | None) -> Model | None:
    """The library's model, where it is of this source or none is named."""
    try:
        _, model = held.model()
    except NoLibraryError:
        return None
    return model if source is None or model.source == source else None
