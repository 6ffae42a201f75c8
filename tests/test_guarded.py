from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.decode import decode, open_upright
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.plain import is_plain
from clipsearch.photos.worker import LARGE_MEMORY
from clipsearch.types import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Promised

WANTED = Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF", "JPEG2000", "BMP", "PPM", "TGA", "PCX")
PNG = b"\x89PNG\r\n\x1a\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

pillow_heif.register_heif_opener()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 90, height: int = 70) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: each is a pass over the whole picture."""
    data = saved(Image.new("L", (width, height), 99), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def reason(decoder: Decoder, data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decoder.decode(data, WANTED)
    return caught.value.message


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def peak_memory(process: int) -> int:
    """Bytes."""
    return 1024 * int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0])


# -- as without a guard -----------------------------------------------------------------------------------


def test_pictures_come_out_as_without_a_guard(decoder: Decoder) -> None:
    exif = Image.Exif()
    exif[306] = "2020:01:02 03:04:05"
    files = [saved(noise(), kind, exif=exif.tobytes()) for kind in FORMATS]
    files += [data[: len(data) // 2] for data in files] + [b"", b"no picture", bytes(100)]

    def outcome(decoding: Callable[[bytes, Preprocessing], object], data: bytes) -> object:
        try:
            found = decoding(data, WANTED)
        except PhotoError as error:
            return error.message
        return found.pixels.tobytes(), found.width, found.height, found.metadata

    alone = [outcome(decode, data) for data in files]
    assert sum(isinstance(item, tuple) for item in alone) >= len(FORMATS)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda data: outcome(decoder.decode, data), files)) == alone
    for data in files[: len(FORMATS)]:
        expected = open_upright(data, at_least=None)
        assert decoder.open_upright(data, at_least=None).tobytes() == expected.tobytes()


@linux
def test_ordinary_photos_need_no_process(decoder: Decoder, shared_photos: Path) -> None:
    before = children()
    photos = sorted(shared_photos.rglob("*.jpg"))
    assert all(is_plain(photo.read_bytes()) for photo in photos)
    camera = shared_photos.parent / "camera"
    assert all(is_plain(photo.read_bytes()) for photo in camera.glob("*.JPG"))
    decoder.decode(photos[0].read_bytes(), WANTED)
    decoder.decode(saved(noise(), "PNG"), WANTED)
    assert children() == before


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"JPEG", "PNG"}))
def test_formats_with_complicated_decoders_are_not_plain(kind: str) -> None:
    assert not is_plain(saved(noise(), kind))


def test_what_costs_too_much_is_not_plain() -> None:
    jpeg, png = saved(noise(), "JPEG"), saved(noise(), "PNG")
    progressive = saved(noise(), "JPEG", progressive=True)
    assert is_plain(jpeg)
    assert is_plain(png)
    assert is_plain(progressive)
    assert is_plain(many_scans(300, 200, 100))
    assert not is_plain(many_scans(3000, 2000, 200))
    assert not is_plain(saved(Image.new("L", (8000, 6300)), "JPEG"))
    assert not is_plain(saved(Image.new("1", (8000, 6300)), "PNG"))
    assert not is_plain(jpeg[:2] + b"\xff\xe5\x00\x03x" * 500 + jpeg[2:])  # segments
    assert not is_plain(jpeg[:2] + (b"\xff\xe5\xff\xff" + bytes(65_533)) * 40 + jpeg[2:])  # 2.6 MB of header
    assert not is_plain(png[:33] + chunk(b"prVt", b"") * 20_000 + png[33:])
    assert not is_plain(jpeg + bytes(64_000_000))
    for end in range(len(jpeg[:700])):
        assert not is_plain(jpeg[:end]) or jpeg.index(b"\xff\xda") < end


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


# -- the guard --------------------------------------------------------------------------------------------


def test_a_file_that_takes_too_long_costs_only_itself(promised: Promised) -> None:
    slow = many_scans(6000, 4000, 4000)
    with Decoder(time_limit=1.5) as decoder:
        for _ in range(2):
            assert reason(decoder, slow) == "decoding took more than 1.5 s"
            assert decoder.decode(saved(noise(), "GIF"), WANTED).width == 90
    promised("a file that takes too long to decode is given up, and costs only itself", 2, "files")


class Assassin:
    """Kills the processes of a decoder, again and again."""

    def __init__(self, signal_number: int, times: int) -> None:
        self.killed: set[int] = set()
        self._before = children()
        self._thread = threading.Thread(target=self._run, args=(signal_number, times))
        self._thread.start()

    def _run(self, signal_number: int, times: int) -> None:
        while len(self.killed) < times:
            for process in children() - self._before - self.killed:
                if b"clipsearch.photos.worker" in Path(f"/proc/{process}/cmdline").read_bytes():
                    time.sleep(0.5)  # until it decodes
                    os.kill(process, signal_number)
                    self.killed.add(process)
            time.sleep(0.01)

    def join(self) -> None:
        self._thread.join()


@linux
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_of_the_decoder_costs_one_file(decoder: Decoder, number: int, promised: Promised) -> None:
    slow = many_scans(6000, 4000, 4000)
    assassin = Assassin(number, 2)
    assert reason(decoder, slow) == f"the decoder crashed on this JPEG (signal {number})"
    assassin.join()
    assert decoder.decode(saved(noise(), "TIFF"), WANTED).width == 90
    promised("a decoder that crashes costs one file", 3, "signals")


@linux
def test_a_process_killed_by_chance_costs_no_photo(decoder: Decoder) -> None:
    slow = many_scans(4000, 3000, 100)  # some seconds
    assassin = Assassin(signal.SIGKILL, 1)
    assert decoder.decode(slow, WANTED).width == 4000
    assassin.join()
    tiff = saved(noise(), "TIFF")
    decoder.decode(tiff, WANTED)
    for process in children():
        os.kill(process, signal.SIGKILL)  # while it waits for work
    assert decoder.decode(tiff, WANTED).width == 90


@linux
def test_closing_ends_the_processes_in_the_middle_of_a_picture() -> None:
    before = children()
    with Decoder() as decoder, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(decoder.decode, many_scans(6000, 4000, 4000), WANTED) for _ in range(2)]
        while len(children() - before) < 2:
            time.sleep(0.01)
        decoder.close()
        for future in futures:
            with pytest.raises(RuntimeError, match="closed"):
                future.result(timeout=10)
    assert children() == before
    with pytest.raises(RuntimeError, match="closed"):
        decoder.decode(b"", WANTED)


HOLDER = """
import sys
from clipsearch.photos.guarded import Decoder
from clipsearch.types import Preprocessing
Decoder().decode(sys.stdin.buffer.read(), Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3))
print("decoded", flush=True)
import time; time.sleep(60)
"""


@linux
def test_the_process_ends_with_the_program_and_reads_no_module_from_the_current_folder(
    tmp_path: Path,
) -> None:
    for name in ("PIL", "numpy", "json", "clipsearch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    program = [sys.executable, "-P", "-c", HOLDER]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(saved(noise(), "TIFF"))
        holder.stdin.close()
        assert holder.stdout.readline() == b"decoded\n"
        (worker,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGINT)  # Ctrl-C is not for it
        holder.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}/cmdline").exists()


def test_where_no_process_can_be_started_that_is_no_fault_of_the_file(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        decoder.decode(saved(noise(), "TIFF"), WANTED)
    monkeypatch.undo()
    assert decoder.decode(saved(noise(), "TIFF"), WANTED).width == 90


# -- hostile files ----------------------------------------------------------------------------------------


def tiff(tags: dict[int, int], following: int = 0, rest: bytes = b"") -> bytes:
    """Little-endian, one directory of numbers."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + rest


def looping_tiff() -> bytes:
    """A picture of 8 x 8, of which the next is always the first one again."""
    strip = 8 + 2 + 8 * 12 + 4
    return tiff(
        {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: strip, 278: 8, 279: 64},
        following=8,
        rest=bytes(range(64)),
    )


def giant_tiff(compression: int) -> bytes:
    most = 2**31 - 1
    return tiff({256: most, 257: most, 258: 8, 259: compression, 262: 1, 273: 8, 278: most, 279: most})


def giant_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")


def extended_webp(width: int, height: int) -> bytes:
    frame = saved(Image.new("RGB", (8, 8)), "WEBP")[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def bombs() -> dict[str, bytes]:
    """Small files that claim to be, or would unfold into, very much."""
    small = Image.new("RGB", (8, 8), "red")
    heif, avif, jp2 = (saved(small, kind) for kind in ("HEIF", "AVIF", "JPEG2000"))
    huge = struct.pack(">II", 60_000, 60_000)
    return {
        "PNG": giant_png(60_000, 60_000),
        "JPEG": patched(saved(small, "JPEG"), saved(small, "JPEG").index(b"\xff\xc0") + 5, b"\xff\xff" * 2),
        "GIF": patched(saved(small, "GIF"), 6, b"\xff\xff" * 2),
        "WEBP": extended_webp(16_383, 16_383),
        "TIFF": giant_tiff(1),
        "TIFF, deflated": giant_tiff(8),
        "TIFF, LZW": giant_tiff(5),
        "BMP": patched(saved(small, "BMP"), 18, struct.pack("<ii", 50_000, 50_000)),
        "HEIF": patched(heif, heif.index(b"ispe") + 8, huge),
        "AVIF": patched(avif, avif.index(b"ispe") + 8, huge),
        "JPEG2000": patched(jp2, jp2.index(b"ihdr") + 4, huge),
        "PPM": b"P6 90000 90000 255\n",
        "TGA": patched(saved(small, "TGA"), 12, b"\xff\xff" * 2),
        "PCX": patched(saved(small, "PCX"), 8, b"\xff\xff" * 2),
        "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3" + huge + b"\0\x08\0\3" + bytes(14),
        "DDS": b"DDS " + struct.pack("<IIII", 124, 0x1007, 60_000, 60_000) + bytes(108),
        "SGI": b"\x01\xda\0\1\0\3\xff\xff\xff\xff\0\3" + bytes(500),
        "QOI": b"qoif" + huge + b"\3\0",
    }


@linux
def test_no_bomb_takes_more_memory_than_there_is_for_a_picture(decoder: Decoder, promised: Promised) -> None:
    before = children()
    outcomes = {name: reason(decoder, data) for name, data in bombs().items()}
    assert all("crashed" not in said and "took more" not in said for said in outcomes.values()), outcomes
    for name in ("PNG", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "TGA", "PSD"):
        assert "megapixels" in outcomes[name], outcomes[name]
    assert max(map(peak_memory, children() - before)) < LARGE_MEMORY
    promised("a small file that would unfold into gigabytes is refused", len(outcomes), "bombs")


def test_strange_but_honest_pictures_are_decoded(decoder: Decoder) -> None:
    picture = saved(noise(), "PNG")
    ends = picture.rindex(b"\0\0\0\0IEND")
    files = {
        "looping": looping_tiff(),
        "1 wide": saved(Image.new("L", (1, 1_000_000)), "TIFF"),
        "1 high": saved(Image.new("L", (1_000_000, 1)), "PNG"),
        "EXIF of zeros": picture[:33] + chunk(b"eXIf", b"II*\0" + bytes(60_000)) + picture[33:],
        "huge EXIF": picture[:33] + chunk(b"eXIf", many_tags()) + picture[33:],
        "EXIF behind": picture[:ends] + chunk(b"eXIf", many_tags()) + picture[ends:],
    }
    for name, data in files.items():
        assert decoder.decode(data, WANTED).pixels.shape == (64, 64, 3), name


def test_what_unfolds_beside_the_pixels_is_bounded(decoder: Decoder) -> None:
    picture = saved(noise(), "PNG")
    much = zlib.compress(bytes(50_000_000))
    for kind in (b"zTXt", b"iCCP"):
        hostile = picture[:33] + chunk(kind, b"name\0\0" + much) + picture[33:]
        assert "too large" in reason(decoder, hostile)


def many_tags() -> bytes:
    """EXIF of 60,000 values, each of which is nearly the whole block: 43 GB, all in all."""
    count = 60_000
    size = 10 + 12 * count
    entries = b"".join(struct.pack("<HHII", tag, 7, size, 0) for tag in range(1000, 1000 + count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)
