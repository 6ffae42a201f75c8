"""RAW files and videos for tests, from any picture: DNGs by the specification, films by FFmpeg's encoders."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Entry = tuple[int, int, int, bytes]

# TIFF 6.0: types of values.
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SIGNED = 1, 2, 3, 4, 5, 10
_CODES = {_BYTE: "B", _SHORT: "H", _LONG: "I"}
# XYZ to a camera's colours (DNG 1.4, ColorMatrix1); any that can be inverted.
_MATRIX = ((3240, -400, -150), (-5000, 14000, 1000), (-500, 1500, 7000))


def _entry(tag: int, kind: int, *values: Any) -> Entry:
    if kind == _ASCII:
        return tag, kind, len(values[0]) + 1, values[0] + b"\0"
    if kind in {_RATIONAL, _SIGNED}:
        code = "<II" if kind == _RATIONAL else "<ii"
        return tag, kind, len(values), b"".join(struct.pack(code, *value) for value in values)
    return tag, kind, len(values), struct.pack(f"<{len(values)}{_CODES[kind]}", *values)


def _directory(entries: Iterable[Entry], at: int) -> bytes:
    ordered = sorted(entries)
    head, behind = struct.pack("<H", len(ordered)), b""
    data_at = at + 2 + 12 * len(ordered) + 4
    for tag, kind, count, data in ordered:
        head += struct.pack("<HHI", tag, kind, count)
        if len(data) <= 4:
            head += data.ljust(4, b"\0")
        else:
            head += struct.pack("<I", data_at + len(behind))
            behind += data + b"\0" * (len(data) % 2)
    return head + bytes(4) + behind


def dng(picture: Image.Image, *, preview: Image.Image | None = None, orientation: int = 1) -> bytes:
    """A RAW file: the picture as a sensor with one colour a pixel sees it, 12 bits deep.

    Args:
        picture: What is on the sensor; of an odd size, the last row and column are cut off.
        preview: A JPEG in it.
        orientation: As EXIF counts.
    """
    rgb = np.asarray(picture.convert("RGB")).astype("<u2") * 16
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    sensor = np.empty((height, width), "<u2")
    for (row, column), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        sensor[row::2, column::2] = rgb[row:height:2, column:width:2, channel]
    blobs = [sensor.tobytes()]
    if preview is not None:
        stream = io.BytesIO()
        preview.convert("RGB").save(stream, "JPEG", quality=95)
        blobs.append(stream.getvalue() + b"\0" * (stream.tell() % 2))
    pixels_at, preview_at = 8, 8 + len(blobs[0])
    at = 8 + sum(map(len, blobs))
    exif = _directory(
        [_entry(36867, _ASCII, b"2021:07:08 09:10:11"), _entry(42036, _ASCII, b"NIKKOR Z 24-70mm f/4 S")], at
    )
    shot = [
        _entry(50706, _BYTE, 1, 4, 0, 0),
        _entry(50708, _ASCII, b"NIKON Z 6"),
        _entry(271, _ASCII, b"NIKON CORPORATION"),
        _entry(272, _ASCII, b"NIKON Z 6"),
        _entry(274, _SHORT, orientation),
        _entry(50721, _SIGNED, *((value, 10_000) for row in _MATRIX for value in row)),
        _entry(50728, _RATIONAL, *[(1, 1)] * 3),
        _entry(50778, _SHORT, 21),
        _entry(34665, _LONG, at),
    ]
    raw = [
        _entry(254, _LONG, 0),
        _entry(256, _LONG, width),
        _entry(257, _LONG, height),
        _entry(258, _SHORT, 16),
        _entry(259, _SHORT, 1),
        _entry(262, _SHORT, 32803),
        _entry(273, _LONG, pixels_at),
        _entry(277, _SHORT, 1),
        _entry(278, _LONG, height),
        _entry(279, _LONG, len(blobs[0])),
        _entry(33421, _SHORT, 2, 2),
        _entry(33422, _BYTE, 0, 1, 1, 2),
        _entry(50717, _LONG, 4095),
    ]
    at += len(exif)
    below = b""
    if preview is not None:
        below = _directory(raw, at)
        raw = [
            _entry(254, _LONG, 1),
            _entry(256, _LONG, preview.width),
            _entry(257, _LONG, preview.height),
            _entry(258, _SHORT, 8, 8, 8),
            _entry(259, _SHORT, 7),
            _entry(262, _SHORT, 6),
            _entry(273, _LONG, preview_at),
            _entry(277, _SHORT, 3),
            _entry(278, _LONG, preview.height),
            _entry(279, _LONG, len(blobs[1])),
            _entry(330, _LONG, at),
        ]
        at += len(below)
    return b"II*\0" + struct.pack("<I", at) + b"".join(blobs) + exif + below + _directory(shot + raw, at)


def film(
    path: Path,
    scenes: Sequence[Image.Image],
    *,
    each: float = 3.0,
    size: tuple[int, int] = (64, 48),
    rate: int = 10,
    codec: str = "mpeg4",
    rotation: int = 0,
    said: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of still scenes.

    Args:
        path: Where; its suffix names the container.
        scenes: What it shows, one after the other.
        each: Seconds that each is shown.
        size: Width and height, pixels.
        rate: Frames a second.
        codec: FFmpeg's name of the encoder.
        rotation: Degrees by which a player turns it, against the clock.
        said: What the container says about it.
        options: Of the encoder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    of_container = {"movflags": "use_metadata_tags"} if said else {}
    with av.open(str(path), "w", container_options=of_container) as container:
        container.metadata.update(said or {})
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number, scene in enumerate(scene for scene in scenes for _ in range(round(each * rate))):
            frame = av.VideoFrame.from_image(ImageOps.fit(scene.convert("RGB"), size))
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
