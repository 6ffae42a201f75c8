"""The process that decodes what its decoder might choke on; `clipsearch.photos.guarded` starts and ends it.

Requests come in on standard input and replies go out on standard output: JSON with raw bytes behind it, the
lengths of both in front. The process ends with its input, and shows nothing.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.errors import PhotoError
from clipsearch.photos.decode import decode, open_upright
from clipsearch.photos.video import film, frame_at
from clipsearch.types import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from clipsearch.types import Metadata

    Message = tuple[dict[str, Any], bytes]

TIME_LIMIT_S = 60.0
"""Longest that one picture may take. The largest honest ones take a fifth of it on a slow core."""

MEMORY = 1_000_000_000
"""Most bytes that a picture may take beside its file; an ordinary one takes half of it."""

LARGE_MEMORY = 3_000_000_000
"""The same for the one large picture at a time; 1.9 GB was the most measured, see `formats.HELD_PIXELS`."""

VIDEO_MEMORY = 2_000_000_000
"""Most bytes that a video may take. 4K with ten bits a colour takes 0.5 GB, 8K 1.2."""

VIDEO_TIME_S = 180.0
"""Longest that looking through a video may take, and besides a second for each `VIDEO_BYTES_A_SECOND`."""

VIDEO_BYTES_A_SECOND = 20_000_000
"""What the slowest disks and networks give."""

# Nobody stops a picture whose reader was killed: then the process ends itself, this long after it was due.
_ORPHANED_S = 30

_LENGTHS = struct.Struct(">II")


def send(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    """Write one message."""
    encoded = json.dumps(head).encode()
    stream.write(_LENGTHS.pack(len(encoded), len(body)) + encoded)
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """Read one message; None where the stream ends."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_length, body_length = _LENGTHS.unpack(lengths)
    head, body = stream.read(head_length), stream.read(body_length)
    return (json.loads(head), body) if len(head) + len(body) == head_length + body_length else None


def main() -> None:
    """Decode until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the new session does not keep Ctrl-C away
    # What a decoder prints goes where standard error goes, to nowhere.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, replies)


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    while (message := receive(requests)) is not None:
        request, data = message
        is_video = "seconds" in request
        limit = request.get("limit", TIME_LIMIT_S) + _ORPHANED_S
        _limit_time(limit)
        _limit_memory(VIDEO_MEMORY if is_video else MEMORY + len(data))
        try:
            if is_video:
                head, body = _answer_video(request, data)
            else:
                head, body = _answer(request, data, _alone(requests, replies, len(data)))
        except (PhotoError, MemoryError) as error:
            head, body = {"reason": _reason(error)}, b""
        except OSError as error:  # of a video, which is read here
            head, body = {"reason": (error.strerror or str(error)).lower()}, b""
        _limit_memory(None)
        _limit_time(0)
        send(replies, head, body)


def _reason(error: PhotoError | MemoryError) -> str:
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        return "takes too much memory to decode"
    return error.message


def _answer(request: dict[str, Any], data: bytes, large: AbstractContextManager[None]) -> Message:
    if "preprocessing" in request:
        found = decode(data, Preprocessing(**request["preprocessing"]), large=large)
        facts = {"width": found.width, "height": found.height, "metadata": _described(found.metadata)}
        pixels = found.pixels
    else:
        pixels, facts = np.asarray(open_upright(data, at_least=request["at_least"], large=large)), {}
    return {"shape": pixels.shape, **facts}, pixels.tobytes()


def _answer_video(request: dict[str, Any], path: bytes) -> Message:
    """What a video shows, where the request says for which model; else its frame at a time."""
    if "preprocessing" not in request:
        picture = np.asarray(frame_at(path, request["seconds"], request["at_least"]))
        return {"shape": picture.shape}, picture.tobytes()
    found = film(path, Preprocessing(**request["preprocessing"]), request["at"])
    facts = {"width": found.width, "height": found.height, "metadata": _described(found.metadata)}
    return {"shape": found.pixels.shape, "seconds": found.seconds, **facts}, found.pixels.tobytes()


def _described(metadata: Metadata) -> dict[str, Any]:
    taken = metadata.taken
    return metadata._asdict() | {"taken": None if taken is None else taken.isoformat()}


@contextmanager
def _alone(requests: BinaryIO, replies: BinaryIO, size: int) -> Iterator[None]:
    """Wait until no other process holds a large picture; then there is more memory."""
    send(replies, {"large": True})
    _limit_time(0)
    if receive(requests) is None:
        sys.exit()
    _limit_time()
    _limit_memory(LARGE_MEMORY + size)
    yield


def _limit_time(seconds: float = TIME_LIMIT_S + _ORPHANED_S) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))  # whose signal kills, in the middle of a decoder, too


def _limit_memory(size: int | None) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    # What can be written to. RLIMIT_AS would count libraries, and addresses that allocators only set aside.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = hard if size is None or (hard != resource.RLIM_INFINITY and size > hard) else size
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main()
