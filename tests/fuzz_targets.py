"""What is fuzzed, with hypothesis in the ordinary suite and with atheris by `fuzz.py`.

A target gets any bytes and must return: what it raises is a finding.
"""

from __future__ import annotations

import functools
import io
import os
import tempfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pillow_heif
import pillow_jxl  # noqa: F401 - registers the format
from camera_files import dng, film
from PIL import Image

from clipsearch.cli import main
from clipsearch.cli.labels import parse_labels
from clipsearch.cli.terminal import shown
from clipsearch.errors import PhotoError, UsageError
from clipsearch.photos.decode import decode
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.metadata import metadata_of, orientation
from clipsearch.photos.plain import is_plain
from clipsearch.terms import parse_term
from clipsearch.types import Preprocessing
from clipsearch.zeroshot import check_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from clipsearch.photos.decode import Decoded

PREPROCESSING = Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3)
PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = "JPEG MPO PNG WEBP AVIF HEIF GIF TIFF BMP JPEG2000 PPM TGA PCX JXL".split()  # noqa: SIM905
MODES = ("L", "P", "RGBA", "CMYK", "I;16", "F", "1")


def exif_block() -> bytes:
    """Orientation and a date, the way a camera writes them."""
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8769)[36867] = "2020:01:02 03:04:05"
    return exif.tobytes()


def pictures() -> Iterator[bytes]:
    """A small file of every format that can be written, with EXIF where the format has it."""
    pillow_heif.register_heif_opener()
    picture = Image.effect_mandelbrot((24, 16), (-3, -2.5, 2, 2.5), 50)
    for mode in ("RGB", *MODES):
        for kind in FORMATS:
            for options in ({}, {"progressive": True}) if kind == "JPEG" else ({},):
                buffer = io.BytesIO()
                try:
                    picture.convert(mode).save(buffer, kind, exif=exif_block(), **options)
                except (OSError, ValueError, KeyError, NotImplementedError):  # the format lacks this mode
                    continue
                yield buffer.getvalue()


def with_sums(data: bytes) -> bytes:
    """A PNG with the checksums it should have: wrong ones would hide all that comes after them."""
    if not data.startswith(PNG):
        return data
    mended, at = bytearray(data), len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        mended[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def _check(found: Callable[[], Decoded]) -> None:
    try:
        decoded = found()
    except PhotoError as error:
        said = error.message
    else:
        said = "read"
        assert decoded.pixels.shape == (32, 32, 3)
        assert min(decoded.width, decoded.height) > 0
    assert said
    assert said.isprintable(), said


def plain(data: bytes) -> int | None:
    """What is decoded in the program's own process."""
    data = with_sums(data)
    if not is_plain(data):
        return -1  # not worth to be kept
    return _check(lambda: decode(data, PREPROCESSING))


@functools.cache
def decoder() -> Decoder:
    """One for all inputs; its processes end with this one."""
    return Decoder()


def guarded(data: bytes) -> None:
    """Any file, through the process that may die."""
    _check(lambda: decoder().decode(with_sums(data), PREPROCESSING))


def raws() -> Iterator[bytes]:
    """RAW files, with a preview and without."""
    picture = Image.effect_mandelbrot((24, 16), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    yield dng(picture)
    yield dng(picture, preview=picture, orientation=6)


def videos() -> Iterator[bytes]:
    """A small file of every container and encoder that matters."""
    scenes = [Image.effect_mandelbrot((32, 32), (-3, -2.5, 2 + n, 2.5), 50) for n in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in VIDEOS.items():
            yield film(Path(folder, name), scenes, each=0.4, size=(32, 32), codec=codec).read_bytes()


def video(data: bytes) -> None:
    """Any file as a video, through the process that may die."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data or b"-")
        file.flush()
        try:
            found = decoder().film(os.fsencode(file.name), PREPROCESSING)
        except PhotoError as error:
            said = error.message
        else:
            said = "read"
            assert found.pixels.shape == (len(found.seconds), 32, 32, 3)
            assert list(found.seconds) == sorted(found.seconds)
            assert min(found.seconds) >= 0
        assert said.isprintable(), said
        assert file.name not in said
        assert "crashed" not in said


def metadata(data: bytes) -> None:
    """EXIF."""
    exif = Image.Exif()
    try:
        exif.load(data)
    except Exception:  # noqa: BLE001 - `read_exif` takes any for broken EXIF
        return
    assert orientation(exif) in range(1, 9)
    found = metadata_of(exif)
    taken = found.taken
    if taken is not None:
        taken.isoformat()


def terms(data: bytes) -> None:
    """Query terms, as a shell passes them: any bytes."""
    typed = os.fsdecode(data)
    try:
        term = parse_term(typed)
    except UsageError:
        pass
    else:
        assert term.value.strip() == term.value != ""
        assert term.weight > 0
    assert "\n" not in shown(typed)


def labels(data: bytes) -> None:
    """A file of labels."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            found = parse_labels([], Path(file.name))
        except UsageError:
            return
    assert tuple(found) == check_labels(found)
    assert all(label.strip() == label != "" for label in found)


def options(data: bytes) -> None:
    """Any words after a command that only reads, where there is no library."""
    command = READING[data[0] % len(READING)] if data else "--help"
    words = [os.fsdecode(word) for word in data[1:].replace(b"\0", b"").split(b"\n")]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(out), redirect_stderr(io.StringIO()) as said:
        code = main([command, *words])
    assert code in (0, 2)
    assert "internal error" not in said.getvalue(), said.getvalue()
    assert "\x1b" not in said.getvalue()


VIDEOS = {"a.mp4": "libx264", "a.mkv": "libx265", "a.avi": "mpeg4", "a.webm": "libvpx", "a.flv": "flv"}
READING = ("search", "similar", "classify", "status")
TARGETS: dict[str, tuple[Callable[[bytes], int | None], Callable[[], Iterable[bytes]]]] = {
    "plain": (plain, lambda: filter(is_plain, pictures())),
    "guarded": (guarded, lambda: chain(pictures(), raws())),
    "video": (video, videos),
    "metadata": (metadata, lambda: [exif_block()]),
    "terms": (terms, lambda: [b"dog", b"2:dog", b"0.5:https://example.org/a.jpg", b"~/a.jpg", b"1e9:\xff"]),
    "labels": (labels, lambda: [b"dog\ncat\r\n", "\ufeffHündin, Kater".encode()]),
    "options": (options, lambda: [b"\0dog\n-n\n3\n--format\njson", b"\3--json", b"\2--labels\na,b\n-0"]),
}
