"""Decoding that a bad file cannot hang, crash or flood: what is not plain goes to a process that may die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.decode import LARGE_PICTURE, Decoded, decode, open_upright
from clipsearch.photos.extras import is_video
from clipsearch.photos.files import read_bytes
from clipsearch.photos.formats import format_name
from clipsearch.photos.plain import is_plain
from clipsearch.photos.video import Film
from clipsearch.photos.worker import (
    TIME_LIMIT_S,
    VIDEO_BYTES_A_SECOND,
    VIDEO_TIME_S,
    receive,
    send,
)
from clipsearch.types import Metadata, Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from numpy.typing import NDArray

    from clipsearch.photos.worker import Message
    from clipsearch.types import Preprocessing

# Where the system can do it, a photo goes through the pipe in a few pieces instead of 64 kB at a time.
_PIPE_BYTES = 1 << 20
# Windows' codes of a crash: 0xC0000005 is an access violation.
_CRASH_CODES = 0xC0000000


class Decoder:
    """`decode`, `open_upright`, `film` and `frame_at`, guarded. A context manager; threads may share one.

    Plain JPEGs and PNGs are decoded in the calling thread. For all else each calling thread gets a process,
    which is kept for the next picture, killed when one takes too long and replaced when it dies.

    Args:
        time_limit: Seconds that a picture may take in such a process.
        video_time_limit: Seconds that a video may take, reading it not counted.
    """

    def __init__(self, *, time_limit: float = TIME_LIMIT_S, video_time_limit: float = VIDEO_TIME_S) -> None:
        self._time_limit, self._video_time_limit = time_limit, video_time_limit
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    def close(self) -> None:
        """End the processes. A picture that one of them is busy with fails."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.kill()
        for worker in idle:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, data: bytes, preprocessing: Preprocessing) -> Decoded:
        """As `decode.decode`.

        Raises:
            PhotoError: As there; or decoding took too long, or crashed.
            OSError: There is no process to decode in.
        """
        if is_plain(data):
            return decode(data, preprocessing)
        reply, body = self._ask({"preprocessing": asdict(preprocessing)}, data)
        return Decoded(_pixels(reply, body), reply["width"], reply["height"], _metadata(**reply["metadata"]))

    def open_upright(self, data: bytes, *, at_least: int | None) -> Image.Image:
        """As `decode.open_upright`.

        Raises:
            PhotoError: As there; or decoding took too long, or crashed.
            OSError: There is no process to decode in.
        """
        if is_plain(data):
            return open_upright(data, at_least=at_least)
        return Image.fromarray(_pixels(*self._ask({"at_least": at_least}, data)))

    def film(self, path: bytes, preprocessing: Preprocessing, at: Sequence[float] = ()) -> Film:
        """As `video.film`.

        Raises:
            PhotoError: As there; or decoding took too long, or crashed.
            OSError: There is no process to decode in, or the file cannot be read.
        """
        request = {"preprocessing": asdict(preprocessing), "seconds": None, "at": list(at)}
        reply, body = self._ask(request, path, self._video_limit(path), "video")
        metadata = _metadata(**reply["metadata"])
        pixels = _pixels(reply, body)
        return Film(tuple(reply["seconds"]), pixels, reply["width"], reply["height"], metadata)

    def frame_at(self, path: bytes, seconds: float | None, *, at_least: int | None) -> Image.Image:
        """As `video.frame_at`.

        Raises:
            PhotoError: As there; or decoding took too long, or crashed.
            OSError: There is no process to decode in, or the file cannot be read.
        """
        request = {"seconds": seconds, "at_least": at_least}
        return Image.fromarray(_pixels(*self._ask(request, path, self._video_limit(path), "video")))

    def open_file(self, path: Path, seconds: float | None, *, at_least: int | None) -> Image.Image:
        """What a file shows, a picture or a video; as `open_upright` and `frame_at`."""
        name = os.fsencode(path)
        if is_video(name):
            return self.frame_at(name, seconds, at_least=at_least)
        return self.open_upright(read_bytes(path)[0], at_least=at_least)

    def _video_limit(self, path: bytes) -> float:
        return self._video_time_limit + os.stat(path).st_size / VIDEO_BYTES_A_SECOND  # noqa: PTH116 - bytes

    def _ask(
        self, request: dict[str, Any], data: bytes, limit: float | None = None, name: str | None = None
    ) -> Message:
        limit = limit or self._time_limit
        # Twice: the first process may have died of something else than this picture.
        for _ in range(2):
            worker = self._take()
            try:
                return worker.ask(request | {"limit": limit}, data, limit)
            except _DiedError as error:
                death = error
            finally:
                self._give_back(worker)
        if not death.crashed:
            raise OSError("the process that decodes pictures cannot be started")
        raise PhotoError(f"the decoder crashed on this {name or format_name(data)} ({death})")

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise RuntimeError("the decoder is closed")
            worker = self._idle.pop() if self._idle else _Worker()
            self._busy.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if worker.ready and not self._closed:
                self._idle.append(worker)
                return
        worker.end()


class _DiedError(Exception):
    """A process ended without an answer."""

    def __init__(self, code: int) -> None:
        super().__init__(f"signal {-code}" if code < 0 else f"code {code:#x}")
        self.crashed = code < 0 or code >= _CRASH_CODES


class _Worker:
    """One process, for one thread at a time.

    Attributes:
        ready: Whether it waits for a picture: not while it has one, nor after it failed to answer.
    """

    def __init__(self) -> None:
        self._timed_out = False
        self.ready = True
        # The modules of this very process, and never any from the current folder, which may hold anything.
        places = os.pathsep.join(place for place in sys.path if place)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "clipsearch.photos.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libtiff prints
            env=os.environ | {"PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the process that asks
            pipesize=_PIPE_BYTES,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._replies = cast("BinaryIO", self._process.stdout)

    def ask(self, request: dict[str, Any], data: bytes, limit: float) -> Message:
        """Have a picture decoded, in so many seconds.

        Raises:
            PhotoError: It cannot be, or took too long.
            _DiedError: The process ended.
        """
        self.ready = False
        with ExitStack() as stack:
            head, body = self._exchange(request, data, limit)
            if "large" in head:
                stack.enter_context(LARGE_PICTURE)  # waiting for it is not the picture's fault
                head, body = self._exchange({}, b"", limit)
        self.ready = True
        if "reason" in head:
            raise PhotoError(head["reason"])
        return head, body

    def _exchange(self, request: dict[str, Any], data: bytes, limit: float) -> Message:
        reply = None
        timer = threading.Timer(limit, self._time_out)
        timer.start()
        try:
            send(self._requests, request, data)
            reply = receive(self._replies)
        except OSError:  # nobody reads any more
            pass
        finally:
            timer.cancel()
        if reply is not None:
            return reply
        code = self._process.wait()
        if self._timed_out:
            raise PhotoError(f"decoding took more than {limit:g} s")
        raise _DiedError(code)

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def kill(self) -> None:
        """Stop it; whoever waits for its answer hears that it died."""
        self._process.kill()

    def end(self) -> None:
        """Stop it and let go of its pipes."""
        self.kill()
        for pipe in (self._requests, self._replies):
            with suppress(OSError):  # what was not written yet
                pipe.close()
        self._process.wait()


def _metadata(
    taken: str | None, camera: str | None, lens: str | None, place: tuple[float, float] | None
) -> Metadata:
    moment = None if taken is None else datetime.fromisoformat(taken)
    return Metadata(moment, camera, lens, None if place is None else Place(*place))


def _pixels(reply: dict[str, Any], body: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(body, np.uint8).reshape(reply["shape"]).copy()
