"""Thumbnails on disk: WebP, upright, named by the bytes that they were made of.

They lie in the library's folder and may be deleted at any time. A file is a WebP with its CRC-32 behind it
(which viewers ignore): what a crash or a bad disk has left of one is never shown.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import threading
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clipsearch.photos.guarded import Decoder

FOLDER = "thumbnails"
SIZES = (256, 512, 2048)
"""Pixels of the longer side: two for grids, one to look at."""
MAX_BYTES = 2_000_000_000
_PRIVATE_FOLDER = 0o700
_PRIVATE = 0o600
_QUALITY = 80
# Of WebP's 0 to 6: the slower, the smaller. For what fills a screen 4 takes 0.4 s, 0 takes 0.1 s.
_EFFORT = {256: 4, 512: 3, 2048: 0}
# Where there is no room, so much is made at once, lest every new thumbnail looks through all of them.
_LEFT = 0.9
_NAME = re.compile(r"[0-9a-f]{64}-\d+\.webp")
_DRAFT = re.compile(r"\.[0-9a-f]{64}-\d+\.webp\.[0-9a-f]{8}")
_ABANDONED_S = 600  # no thumbnail takes so long to be written
_CRC_BYTES = 4


class Stored(NamedTuple):
    """A file among the thumbnails."""

    path: Path
    size: int
    modified: float


def make(data: bytes, size: int, decoder: Decoder) -> bytes:
    """A thumbnail.

    Args:
        data: The photo's bytes.
        size: Pixels of its longer side; smaller photos keep theirs.
        decoder: Shared by many.

    Returns:
        A WebP.

    Raises:
        PhotoError: It cannot be read.
        OSError: There is no process to decode in.
    """
    # A JPEG comes scaled down by its decoder, to twice what is needed where that is small: it looks better.
    return _webp(decoder.open_upright(data, at_least=_needed(size)), size)


def make_of_video(path: bytes, seconds: float | None, size: int, decoder: Decoder) -> bytes:
    """A thumbnail of the frame of a video that is shown at a time; None: of the first that shows something.

    Raises:
        PhotoError: It cannot be read.
        OSError: There is no process to decode in, or no such file.
    """
    return _webp(decoder.frame_at(path, seconds, at_least=_needed(size)), size)


def _needed(size: int) -> int:
    return min(2 * size, max(SIZES))


def _webp(picture: Image.Image, size: int) -> bytes:
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=_QUALITY, method=_EFFORT.get(size, 4))
    return out.getvalue()


class Thumbnails:
    """Thumbnails that were made before. Many threads and processes may share them.

    Args:
        library: The library's folder; where it cannot be written, nothing is kept.
        limit: Bytes that they may take in all; the oldest go.
    """

    def __init__(self, library: Path, *, limit: int = MAX_BYTES) -> None:
        self._folder = library / FOLDER
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes: int | None = None  # None while unknown

    def get(self, digest: bytes, size: int) -> bytes | None:
        """The thumbnail of the photo with this SHA-256, whole; None where there is none."""
        try:
            stored = self._file(digest, size).read_bytes()
        except OSError:
            return None
        return _whole(stored)

    def keep(self, digest: bytes, size: int, thumbnail: bytes) -> None:
        """Keep one; a disk that is full or read-only keeps none."""
        file = self._file(digest, size)
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        stored = thumbnail + zlib.crc32(thumbnail).to_bytes(_CRC_BYTES, "little")
        # Never the library's folder itself: it may have been deleted.
        with suppress(OSError):
            for folder in (self._folder, file.parent):
                with suppress(FileExistsError):
                    folder.mkdir(_PRIVATE_FOLDER)
            try:
                with open(draft, "xb", opener=_private) as stream:
                    stream.write(stored)
                draft.replace(file)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            self._make_room(len(stored))

    def _file(self, digest: bytes, size: int) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / f"{name}-{size}.webp"

    def _make_room(self, more: int) -> None:
        with self._lock:
            if self._bytes is not None:
                self._bytes += more
                if self._bytes <= self._limit:
                    return
            stored = sorted(everything(self._folder.parent), key=lambda one: one.modified)
            self._bytes = sum(one.size for one in stored)
            if self._bytes <= self._limit:
                return
            for one in stored:
                if self._bytes <= self._limit * _LEFT:
                    break
                with suppress(OSError):
                    one.path.unlink()
                    self._bytes -= one.size


def everything(library: Path) -> Iterator[Stored]:
    """All thumbnails of a library, and what a killed server has left of those that it was writing."""
    for path in _files(library):
        if _NAME.fullmatch(path.name) or _DRAFT.fullmatch(path.name):
            with suppress(OSError):
                facts = path.lstat()
                yield Stored(path, facts.st_size, facts.st_mtime)


def damaged(library: Path) -> list[Path]:
    """Those that are not what was written, and what was left behind; a server may be writing others."""
    now = time.time()
    return sorted(
        one.path
        for one in everything(library)
        if (now - one.modified > _ABANDONED_S if one.path.name.startswith(".") else not _is_whole(one.path))
    )


def count(library: Path) -> int:
    """How many there are."""
    return sum(1 for path in _files(library) if _NAME.fullmatch(path.name))


def _files(library: Path) -> Iterator[Path]:
    with suppress(OSError):
        for folder in sorted(os.scandir(library / FOLDER), key=lambda entry: entry.name):
            if folder.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    yield from (library / FOLDER / folder.name / name for name in os.listdir(folder))  # noqa: PTH208


def _is_whole(path: Path) -> bool:
    try:
        return _whole(path.read_bytes()) is not None
    except FileNotFoundError:  # its time had come
        return True
    except OSError:
        return False


def _whole(stored: bytes) -> bytes | None:
    thumbnail, checksum = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:]
    is_whole = thumbnail and zlib.crc32(thumbnail).to_bytes(_CRC_BYTES, "little") == checksum
    return thumbnail if is_whole else None


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, _PRIVATE)


def digest_of(data: bytes) -> bytes:
    """What thumbnails of these bytes are named by."""
    return hashlib.sha256(data).digest()
