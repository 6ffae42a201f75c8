"""A photo's own file, opened so that it is that of the library and no other, and sent in parts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from clipsearch import thumbnails
from clipsearch.errors import PhotoError
from clipsearch.photos.extras import is_video, suffix_of
from clipsearch.photos.files import MAX_BYTES
from clipsearch.photos.formats import format_name
from clipsearch.web.conditional import is_known, is_same, validators
from clipsearch.web.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from starlette.datastructures import Headers
    from starlette.types import Receive, Scope, Send

    from clipsearch.photos.guarded import Decoder
    from clipsearch.types import PhotoDetails

# What browsers show, or hand to a program for pictures. All else is a download: nothing that a file says of
# itself makes it a page.
_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "JPEG2000": "image/jp2",
    "JXL": "image/jxl",
}
# Videos are what their names say, as for `index`.
_VIDEO_TYPES = {
    b"mp4": "video/mp4",
    b"m4v": "video/mp4",
    b"mov": "video/quicktime",
    b"qt": "video/quicktime",
    b"webm": "video/webm",
    b"mkv": "video/x-matroska",
    b"avi": "video/x-msvideo",
    b"mpg": "video/mpeg",
    b"mpeg": "video/mpeg",
    b"mts": "video/mp2t",
    b"m2ts": "video/mp2t",
    b"3gp": "video/3gpp",
    b"3g2": "video/3gpp2",
    b"wmv": "video/x-ms-wmv",
    b"asf": "video/x-ms-asf",
    b"flv": "video/x-flv",
    b"ogv": "video/ogg",
}
_DOWNLOAD = "application/octet-stream"
_HEAD = 4_096  # bytes that tell a format
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def open_photo(details: PhotoDetails) -> BufferedReader:
    """A photo's file, opened for reading.

    It really lies below the indexed folder that it belongs to, wherever links lead by now; or else it is,
    byte by byte, what was indexed.

    Raises:
        NotFoundError: It is gone, no regular file, or a link that leads to another file now.
    """
    path = details.photo.path
    try:
        real = Path(os.path.realpath(path))
        file = os.fdopen(os.open(real, os.O_RDONLY | _FLAGS), "rb")
        try:
            _check(file, real, details)
        except BaseException:
            file.close()
            raise
    except OSError:
        raise NotFoundError(
            "the file cannot be read now", "index its folder again, or plug its drive in"
        ) from None
    return file


def _check(file: BufferedReader, real: Path, details: PhotoDetails) -> None:
    facts = os.fstat(file.fileno())
    # What was opened is what the path means after: nothing was put in its place in between.
    is_here = os.path.samestat(facts, real.lstat()) and os.path.realpath(details.photo.path) == str(real)
    if not stat.S_ISREG(facts.st_mode) or not is_here:
        raise FileNotFoundError
    root = Path(os.path.realpath(details.root))
    if not real.is_relative_to(root) and not _is_same(file, facts.st_size, details):
        raise NotFoundError("the file lies outside the indexed folders", "index the folder that it is in")


_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))


def _is_same(file: BufferedReader, size: int, details: PhotoDetails) -> bool:
    if size != details.photo.size:
        return False
    found = hashlib.file_digest(file, "sha256").digest() == details.digest
    file.seek(0)
    return found


def read_photo(details: PhotoDetails) -> bytes:
    """All bytes of a photo's file.

    Raises:
        NotFoundError: As `open_photo`.
        PhotoError: It is too large, or the disk fails.
    """
    with open_photo(details) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise PhotoError(f"file of {size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB")
        try:
            return file.read(size)
        except OSError as error:
            raise PhotoError((error.strerror or str(error)).lower()) from error


def make_thumbnail(
    details: PhotoDetails, size: int, decoder: Decoder, seconds: float | None = None
) -> tuple[bytes, bool]:
    """A thumbnail of a photo's file as it is now, and whether that is what was indexed.

    Args:
        details: Whose.
        size: Pixels of its longer side.
        decoder: Shared by many.
        seconds: Of a video, which frame; None for the first that shows something.

    Raises:
        NotFoundError: As `open_photo`.
        PhotoError: It cannot be read.
        OSError: There is no process to decode in.
    """
    path = os.fsencode(details.photo.path)
    if not is_video(path):
        data = read_photo(details)
        return thumbnails.make(data, size, decoder), thumbnails.digest_of(data) == details.digest
    with open_photo(details) as file:
        # Gigabytes are not read for one frame: size and time tell whether it has changed, as for `index`.
        facts = os.fstat(file.fileno())
        changed = datetime.fromtimestamp(facts.st_mtime_ns // 1_000_000_000, UTC)
        thumbnail = thumbnails.make_of_video(os.path.realpath(path), seconds, size, decoder)
    return thumbnail, (facts.st_size, changed) == (details.photo.size, details.modified)


def chunks_of(file: BufferedReader, size: int) -> Iterator[bytes]:
    """So many bytes of a file, or fewer where it ends; it is closed then."""
    with file:
        while size > 0 and (chunk := file.read(min(_CHUNK, size))):
            size -= len(chunk)
            yield chunk


class Original(Response):
    """Sends an open file, or the part of it that was asked for, and closes it.

    Args:
        file: The file.
        details: Whose.
        asked: The request's headers. Of several ranges all is sent, as RFC 9110 allows.
        download: To be saved, not shown.
    """

    def __init__(
        self, file: BufferedReader, details: PhotoDetails, asked: Headers, *, download: bool
    ) -> None:
        facts = os.fstat(file.fileno())
        size = facts.st_size
        path = os.fsencode(details.photo.path)
        if is_video(path):
            media_type = _VIDEO_TYPES[suffix_of(path)]
        else:
            media_type = _TYPES.get(format_name(file.read(_HEAD)), _DOWNLOAD)
        self._file = file
        headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-cache", **validators(facts)}
        name = quote(os.fsencode(details.photo.path.name), safe="")
        way = "attachment" if download or media_type == _DOWNLOAD else "inline"
        headers["Content-Disposition"] = f"{way}; filename*=UTF-8''{name}"
        status, first, length = HTTPStatus.OK, 0, size
        if is_known(asked, headers):
            status, length = HTTPStatus.NOT_MODIFIED, 0
        elif (match := _RANGE.fullmatch(asked.get("range", "").replace(" ", ""))) and is_same(asked, headers):
            start, end = match.groups()
            if start:
                first, last = int(start), min(int(end) if end else size - 1, size - 1)
            else:
                first, last = max(0, size - int(end or 0)), size - 1
            if first > last:
                status, length = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0
                headers["Content-Range"] = f"bytes */{size}"
            else:
                status, length = HTTPStatus.PARTIAL_CONTENT, last + 1 - first
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        file.seek(first if length else 0)
        self._length = length
        super().__init__(None, status, headers, media_type)
        if status != HTTPStatus.NOT_MODIFIED:
            self.headers["Content-Length"] = str(length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del receive
        chunks = chunks_of(self._file, 0 if scope["method"] == "HEAD" else self._length)
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while chunk := await asyncio.to_thread(next, chunks, b""):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()
