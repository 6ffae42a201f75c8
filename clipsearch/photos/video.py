"""Frames of videos, through PyAV: what a video shows, a frame for each scene or stretch of time.

Encoders begin a group of pictures where the picture changes, and every few seconds anyway. The first frame of
a group is decoded alone, so a film is looked through in a small part of the time that playing it takes.
"""

from __future__ import annotations

import math
import os
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.extras import VIDEO
from clipsearch.photos.formats import HELD_PIXELS, check_pixels, unreadable
from clipsearch.photos.framing import frame, framing
from clipsearch.types import Metadata, Place, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Size = tuple[int, int]

EVERY_S = 2.0
"""At most one frame in so many seconds."""

MOST_FRAMES = 200
"""At most so many frames of one video; those of a long one lie further apart."""

# Where the encoder has marked no scene for so long, a frame is decoded all the same. x264 begins a group
# every 250 frames at the latest.
_LONGEST_S = 10.0
# Pixels of a video all of whose frames are decoded, so that a frame is found every `EVERY_S` wherever the
# encoder has marked scenes: half a minute of 1080p, 2 s of work.
_CHEAP = 1_500_000_000
# Grey levels by which the most different of 16 x 16 fields must differ from the frame before: below, it shows
# the same. Noise, averaged over a field, stays under 4; somebody who comes into the picture exceeds 20.
_DIFFERENT = 10.0
# Standard deviation of the grey levels of a frame that shows nothing: black, white, a fade.
_UNIFORM = 4.0
_FIELDS = 16
# Seconds of work, beside those of reading: then what was found so far must do.
_PATIENCE_S = 90.0
# Of a film, only the frame that is being decoded is held, and up to 16 that it refers to.
_MOST_PIXELS = HELD_PIXELS // 4
# Frames are scaled by the decoder to no less than twice what is needed, as JPEGs are.
_MARGIN = 2
# Containers of cameras, phones and the web. Playlists are none: they name other files, and addresses.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg"
_BUFFER = 1 << 20
_ROUNDED_S = 0.002  # times are fractions, and kept as decimals
_FIRST_YEAR = 1980  # clocks that were never set stand at 1904 or 1970
_PLACE = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)")  # ISO 6709, in degrees


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """What a video shows.

    Attributes:
        seconds: When each frame is shown, ascending.
        pixels: `(n, height, width, 3)` uint8, for the model; at least one frame.
        width: Of the video, upright, pixels.
        height: Of the video, upright, pixels.
        metadata: What it says about itself.
    """

    seconds: tuple[float, ...]
    pixels: NDArray[np.uint8]
    width: int
    height: int
    metadata: Metadata


def film(path: bytes, preprocessing: Preprocessing, at: Sequence[float] = ()) -> Film:
    """Look through a video.

    Frames of one colour, and those that show the same as the one before, are left out, unless there is no
    other.

    Args:
        path: The video.
        preprocessing: What for.
        at: Take the frames of these times instead, ascending, if they are all there: how alike two frames
            are hangs a little on the size at which they are seen.

    Raises:
        PhotoError: It is no video, is damaged, shows nothing, has too many pixels; or PyAV is not installed.
    """

    def needed(size: Size) -> Size:
        return framing(*size, preprocessing).resized

    with _opened(path) as video:
        kept, wanted = _Kept(), {round(1000 * seconds) for seconds in at}
        chosen: list[NDArray[np.uint8]] = []
        size = (0, 0)
        for seconds, decoded in video.scenes():
            picture, size = video.upright(decoded, needed)
            extent = (0.0, 0.0, float(picture.width), float(picture.height))
            plan = framing(*picture.size, preprocessing)
            pixels = frame(picture, extent, plan, preprocessing, reduced=True)
            kept.add(seconds, picture, pixels)
            if round(1000 * seconds) in wanted:
                chosen.append(pixels)
        if not kept.seconds:
            raise PhotoError(video.failure or "no pictures in this video")
        if at and len(chosen) == len(at):
            return Film(tuple(at), np.stack(chosen), *size, video.metadata())
        return Film(tuple(kept.seconds), np.stack(kept.pixels), *size, video.metadata())


def frame_at(path: bytes, seconds: float | None, at_least: int | None) -> Image.Image:
    """The frame that is shown at a time, upright RGB.

    Args:
        path: The video.
        seconds: From its start; None for the first of the frames that `film` finds.
        at_least: The long side that is needed, in pixels; None for full size.

    Raises:
        PhotoError: As `film`.
    """

    def needed(size: Size) -> Size:
        scale = 1.0 if at_least is None else min(1.0, at_least / max(size))
        return math.ceil(size[0] * scale), math.ceil(size[1] * scale)

    with _opened(path) as video:
        decoded = video.own() if seconds is None else video.at(seconds)
        if decoded is None:
            raise PhotoError(video.failure or "no pictures in this video")
        return video.upright(decoded, needed)[0]


@dataclass
class _Kept:
    """Frames that show something, and something else than the one before."""

    seconds: list[float] = field(default_factory=list)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    _before: NDArray[np.float32] | None = None

    def add(self, seconds: float, picture: Image.Image, pixels: NDArray[np.uint8]) -> None:
        look = np.asarray(picture.convert("L").resize((_FIELDS, _FIELDS), Image.Resampling.BOX), np.float32)
        is_blank = float(look.std()) < _UNIFORM
        if self.seconds and (is_blank or (self._before is not None and self._is_same(look))):
            return
        if self.seconds and self._before is None:  # all before it were blank
            self.seconds.clear()
            self.pixels.clear()
        self.seconds.append(seconds)
        self.pixels.append(pixels)
        self._before = None if is_blank else look

    def _is_same(self, look: NDArray[np.float32]) -> bool:
        return self._before is not None and float(np.abs(look - self._before).max()) < _DIFFERENT


@contextmanager
def _opened(path: bytes) -> Iterator[_Video]:
    """A video, its container opened; every failure is a `PhotoError`."""
    try:
        import av
    except ImportError as error:
        raise VIDEO.missing() from error
    try:
        # Whatever the container may name, no other file is opened.
        with (
            open(path, "rb") as stream,  # noqa: PTH123 - bytes
            av.open(
                stream,
                options={"format_whitelist": _CONTAINERS},
                metadata_errors="replace",
                buffer_size=_BUFFER,
                io_open=_nothing_else,
            ) as container,
        ):
            yield _Video(container, os.fstat(stream.fileno()).st_size)
    except (PhotoError, MemoryError):
        raise
    except av.error.FFmpegError as error:
        raise PhotoError(_words(error)) from error
    except OSError:
        raise
    except Exception as error:
        raise PhotoError(unreadable("video", error)) from error


def _words(error: Exception) -> str:
    """What FFmpeg says, without the name of the file."""
    return unreadable("video", ValueError(getattr(error, "strerror", None) or str(error)))


def _nothing_else(url: str, _flags: int, _options: dict[str, str]) -> None:
    raise PermissionError(f"a video names another file: {url}")


class _Video:
    """One opened video; its first stream of moving pictures."""

    def __init__(self, container: Any, size: int) -> None:
        self._container = container
        self._size = size
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise PhotoError("no pictures in this video")
        self._stream = streams[0]
        self._context = self._stream.codec_context
        if self._context is None:
            raise PhotoError("a video in a format that cannot be decoded")
        check_pixels(self._context.width * self._context.height, _MOST_PIXELS)
        # Several videos are decoded at once, each by a process of its own.
        self._context.thread_count = 1
        self._start = self._seconds_of(self._stream.start_time) or 0.0
        self.failure = ""

    def scenes(self) -> Iterator[tuple[float, Any]]:
        """Frames and their times: the first of each group of pictures, none nearer than `EVERY_S`."""
        step = max(EVERY_S, self._duration() / MOST_FRAMES)
        longest = step if self._is_cheap() else max(step, _LONGEST_S)
        given, last = 0, -math.inf
        group: list[Any] = []  # packets since a group began, as far as they were not decoded yet
        key, is_fed = None, False  # the group's first packet, as long as it may be the next frame
        began = time.monotonic()
        for packet in self._packets():
            if packet.pts is None:
                continue
            now = self._seconds_of(packet.pts) - self._start
            if packet.is_keyframe:
                key, group, is_fed = packet, [packet], False
            else:
                group.append(packet)
            if now - last < step:
                continue
            found = None
            if key is not None:
                found = self._first(key)
                key = None
            elif now - last >= longest:
                found = self._last_of(group, is_fed=is_fed)
                group, is_fed = [], True
            if found is None:
                continue
            last = max(0.0, self._time_of(found, now))
            yield last, found
            given += 1
            if given >= 2 * MOST_FRAMES or time.monotonic() - began > _PATIENCE_S:
                return
            if given % MOST_FRAMES == 0:  # it has not said how long it is
                step *= 2
                longest = max(step, longest)

    def at(self, seconds: float) -> Any:
        """The frame that is shown then; None without any."""
        found = None
        # Not every container is sought exactly: some begin behind the group of pictures that was meant.
        for attempt, begin in enumerate((seconds, seconds - _LONGEST_S, -self._start)):
            if attempt or begin > _LONGEST_S:
                with suppress(Exception):  # what cannot be sought is read from where it is
                    place = round((max(begin, -self._start) + self._start) / self._stream.time_base)
                    self._container.seek(place, stream=self._stream, backward=True)
                    self._context.flush_buffers()
            found = self._shown(seconds)
            if found is not None and self._time_of(found, 0.0) <= seconds + _ROUNDED_S:
                break
        return found

    def own(self) -> Any:
        """The first frame of a scene that shows something, or the first at all; None without any."""
        first = None
        for number, (_, decoded) in enumerate(self.scenes()):
            if not _is_blank(decoded):
                return decoded
            first = first or decoded
            if number == MOST_FRAMES:
                break
        return first

    def _shown(self, seconds: float) -> Any:
        """From here on, the last frame that is shown at this time or before, or the first behind it."""
        found, is_whole = None, False
        for packet in self._packets(flush=True):
            is_whole = is_whole or packet.is_keyframe
            for decoded in self._decoded(packet) if is_whole else ():
                if self._time_of(decoded, 0.0) > seconds + _ROUNDED_S:
                    return found or decoded
                found = decoded
        return found

    def upright(self, decoded: Any, needed: Callable[[Size], Size]) -> tuple[Image.Image, Size]:
        """A decoded frame as an RGB picture, scaled down if it is much larger than needed; and its size."""
        turn = round(decoded.rotation) % 360
        size = (decoded.width, decoded.height)
        upright = size[::-1] if turn in {90, 270} else size
        wide, high = needed(upright)
        scale = min(1.0, _MARGIN * max(wide / upright[0], high / upright[1]))
        picture: Image.Image = decoded.to_image(
            width=max(1, round(size[0] * scale)), height=max(1, round(size[1] * scale))
        )
        if turn:
            picture = picture.rotate(turn, expand=True)
        return picture, upright

    def metadata(self) -> Metadata:
        """When, with what and where it was taken, as far as the container says."""
        said = {**self._stream.metadata, **self._container.metadata}
        return Metadata(
            taken=_taken(said),
            camera=_camera(said),
            place=_place(said.get("com.apple.quicktime.location.ISO6709") or said.get("location") or ""),
        )

    def _is_cheap(self) -> bool:
        frames = self._duration() * float(self._stream.average_rate or 0)
        return bool(0 < frames * self._context.width * self._context.height <= _CHEAP)

    def _duration(self) -> float:
        """Seconds; 0 where it does not say."""
        own = self._seconds_of(self._stream.duration)
        return own or (self._container.duration or 0) / 1_000_000

    def _packets(self, *, flush: bool = False) -> Iterator[Any]:
        """Packets until the file ends, or is no more to be understood."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size or flush:  # the last one, which is empty, asks for what is left
                    yield packet
        except Exception as error:  # noqa: BLE001 - what was read so far counts
            self.failure = _words(error)

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self._context.decode(packet))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the next may be whole
            self.failure = _words(error)
            return []

    def _first(self, key: Any) -> Any:
        """The picture that a group begins with."""
        self._context.flush_buffers()
        found = [*self._decoded(key), *self._decoded(None)]
        self._context.flush_buffers()
        return found[0] if found else None

    def _last_of(self, group: list[Any], *, is_fed: bool) -> Any:
        """The last picture of those that packets in a row give; they begin a group, or go on with it."""
        if not is_fed:
            self._context.flush_buffers()
        found = None
        for packet in group:
            found = next(reversed(self._decoded(packet)), found)
        return found

    def _seconds_of(self, stamp: int | None) -> float:
        return 0.0 if stamp is None else float(stamp * self._stream.time_base)

    def _time_of(self, decoded: Any, otherwise: float) -> float:
        return otherwise if decoded.pts is None else self._seconds_of(decoded.pts) - self._start


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the one picture that a file is shown by."""
    return "attached_pic" in str(stream.disposition.name or "")


def _is_blank(decoded: Any) -> bool:
    grey = decoded.to_image(width=_FIELDS, height=_FIELDS).convert("L")
    return float(np.asarray(grey, np.float32).std()) < _UNIFORM


def _taken(said: dict[str, str]) -> datetime | None:
    """By the camera's own clock where it says that; else in this machine's zone, for containers keep UTC."""
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(said.get(name, "").strip())
            if moment.year < _FIRST_YEAR:
                continue
            moment = moment.replace(microsecond=0)
            return moment.astimezone() if name == "creation_time" and moment.tzinfo == UTC else moment
    return None


def _camera(said: dict[str, str]) -> str | None:
    maker, model = (
        " ".join("".join(c if c.isprintable() else " " for c in said.get(name, "")).split())
        for name in ("com.apple.quicktime.make", "com.apple.quicktime.model")
    )
    model = model or " ".join(said.get("com.android.model", "").split())
    if maker and model and not model.lower().startswith(maker.split()[0].lower()):
        return f"{maker} {model}"[:100]
    return (model or maker)[:100] or None


def _place(text: str) -> Place | None:
    match = _PLACE.match(text)
    if match is None:
        return None
    latitude, longitude = (float(part) for part in match.groups())
    if abs(latitude) > 90 or abs(longitude) > 180 or latitude == longitude == 0:  # noqa: PLR2004 - degrees
        return None
    return Place(latitude, longitude)
