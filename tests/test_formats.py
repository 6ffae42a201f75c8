"""RAW, JPEG XL, Live Photos: what is read, what belongs to what, what is missing; all of it in one folder."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - registers the format that tests save
import pytest
from camera_files import dng, film
from PIL import Image

from clipsearch.cli import main
from clipsearch.errors import PhotoError
from clipsearch.photos.decode import decode, open_upright
from clipsearch.photos.extras import extra_of
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.jxl import jxl_pixels
from clipsearch.photos.raw import is_raw
from clipsearch.photos.scan import FoundFile, LeftOut, scan
from clipsearch.types import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WANTED = Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3, resize_mode="squash")

pillow_heif.register_heif_opener()


def scene(width: int = 320, height: int = 240) -> Image.Image:
    """Another colour in each corner."""
    quarters = Image.new("RGB", (2, 2))
    for number, color in enumerate(((200, 30, 30), (30, 200, 30), (30, 30, 200), (210, 200, 40))):
        quarters.putpixel((number % 2, number // 2), color)
    return quarters.resize((width, height), Image.Resampling.NEAREST)


def corners(picture: Image.Image | NDArray[np.uint8]) -> list[int]:
    """Which of the scene's colours is in each corner, by the strongest channels."""
    pixels = np.asarray(picture).astype(int)
    height, width = pixels.shape[:2]
    found = []
    for row in (height // 4, 3 * height // 4):
        for column in (width // 4, 3 * width // 4):
            red, green, blue = pixels[row, column]
            found.append(3 if min(red, green) > 2 * blue else [red, green, blue].index(max(red, green, blue)))
    return found


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as made:
        yield made


# -- RAW --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, [0, 1, 2, 3]), (6, [2, 0, 3, 1]), (8, [1, 3, 0, 2])]
)
@pytest.mark.parametrize("has_preview", [True, False])
def test_raw_is_decoded_upright_from_preview_or_sensor(
    decoder: Decoder, orientation: int, expected: list[int], has_preview: bool
) -> None:
    picture = scene()
    data = dng(picture, preview=picture if has_preview else None, orientation=orientation)
    found = decoder.decode(data, WANTED)
    assert corners(found.pixels) == expected
    assert (found.width, found.height) == ((320, 240) if orientation == 1 else (240, 320))
    shown = decoder.open_upright(data, at_least=None)
    assert corners(shown) == expected
    assert max(shown.size) == (320 if has_preview else 160)


def test_a_preview_that_is_too_small_gives_way_to_the_sensor() -> None:
    grey = Image.new("RGB", (80, 60), "grey")
    data = dng(scene(), preview=grey)
    assert corners(open_upright(data, at_least=None)) == [0, 1, 2, 3]
    small = Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3)
    assert np.ptp(decode(dng(scene(), preview=grey.resize((300, 225))), small).pixels) < 8


def test_a_preview_that_is_damaged_gives_way_to_the_sensor() -> None:
    data = dng(scene(), preview=scene())
    at = data.index(b"\xff\xd8\xff") + 2
    broken = data[:at] + bytes(100) + data[at + 100 :]
    assert corners(decode(broken, WANTED).pixels) == [0, 1, 2, 3]


def test_raw_tells_when_and_with_what_it_was_taken() -> None:
    said = decode(dng(scene()), WANTED).metadata
    assert said.taken is not None
    assert said.taken.isoformat() == "2021-07-08T09:10:11"
    assert (said.camera, said.lens) == ("NIKON Z 6", "NIKKOR Z 24-70mm f/4 S")


def test_raw_is_told_from_other_tiffs_by_its_content(decoder: Decoder) -> None:
    assert is_raw(dng(scene()))
    assert is_raw(dng(scene(), preview=scene()))
    for kind in ("TIFF", "JPEG", "PNG", "HEIF"):
        assert not is_raw(saved(scene(), kind))
    whole = dng(scene(), preview=scene())
    for end in (0, 3, 9, 200, len(whole) // 2, len(whole) - 300):
        try:
            decoder.decode(whole[:end], WANTED)
        except PhotoError as error:
            assert error.message.isprintable()  # noqa: PT017 - a part may still be read


# -- JPEG XL ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 16), (256, 256), (299, 235), (3000, 7), (640, 480)])
@pytest.mark.parametrize("boxed", [False, True])
def test_jpeg_xl_says_its_size_before_it_is_decoded(
    decoder: Decoder, size: tuple[int, int], boxed: bool
) -> None:
    data = saved(scene(*size), "JXL", lossless=True, use_container=boxed)
    assert jxl_pixels(data) == size[0] * size[1]
    found = decoder.decode(data, WANTED)
    assert (found.width, found.height) == size
    assert corners(found.pixels) == [0, 1, 2, 3]


def test_a_jpeg_made_smaller_by_jpeg_xl_is_turned_by_its_exif(decoder: Decoder, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[306] = 6, "2020:01:02 03:04:05"
    scene().save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=95)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        jpeg.save(tmp_path / "a.jxl")  # losslessly, from the file
    found = decoder.decode((tmp_path / "a.jxl").read_bytes(), WANTED)
    assert (found.width, found.height) == (240, 320)
    assert corners(found.pixels) == [2, 0, 3, 1]
    assert found.metadata.taken is not None
    assert found.metadata.taken.year == 2020


def test_a_jpeg_xl_that_claims_to_be_huge_is_refused(decoder: Decoder) -> None:
    # SizeHeader (ISO/IEC 18181-1, A.3): not small, 30 bits of height, 30 of width.
    bits = 0 | 3 << 1 | (60_000 - 1) << 3 | 0 << 33 | 3 << 36 | (60_000 - 1) << 38
    data = b"\xff\x0a" + bits.to_bytes(12, "little") + bytes(100)
    assert jxl_pixels(data) == 60_000**2
    with pytest.raises(PhotoError, match="megapixels"):
        decoder.decode(data, WANTED)


# -- animations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "HEIF", "TIFF", "MPO"])
def test_of_an_animation_the_first_picture_counts(decoder: Decoder, kind: str) -> None:
    red, green, blue = (Image.new("RGB", (64, 48), color) for color in ("#c00000", "#00c000", "#0000c0"))
    data = saved(red, kind, save_all=True, append_images=[green, blue])
    assert decoder.decode(data, WANTED).pixels.mean((0, 1)) == pytest.approx((192, 0, 0), abs=6)


# -- what belongs together, and what is missing -----------------------------------------------------------


def put(root: Path, *names: str, size: int = 5) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def walked(root: Path, **options: object) -> dict[str, str]:
    found = {}
    for item in scan(root, **options):
        if isinstance(item, LeftOut):
            found[os.fsdecode(item.path)] = "belongs" if item.missing is None else item.missing.name
        elif isinstance(item, FoundFile):
            found[os.fsdecode(item.path)] = "read"
    return found


def test_a_raw_file_belongs_to_its_jpeg_and_a_movie_to_its_live_photo(tmp_path: Path) -> None:
    put(tmp_path, "1.JPG", "1.NEF", "2.nef", "3.HEIC", "3.MOV", "4.mov", "5.heic", "5.MP4", "6.jpg", "6.mp4")
    put(tmp_path, "other/1.cr2", "7.png", "7.dng", "8.jpeg", "8.webm")
    put(tmp_path, "9.JPG", "9.MOV", size=25_000_001)
    found = walked(tmp_path)
    assert {name for name, what in found.items() if what == "belongs"} == {"1.NEF", "3.MOV", "5.MP4"}
    assert set(found.values()) == {"belongs", "read"}
    assert len(found) == 17


def test_what_is_excluded_owns_nothing(tmp_path: Path) -> None:
    put(tmp_path, "1.JPG", "1.NEF")
    assert walked(tmp_path, exclude=["*.jpg"]) == {"1.NEF": "read"}


def test_every_extra_is_known_by_its_suffix_whatever_the_case() -> None:
    names = {b"a.NEF": "raw", b"a/b.Jxl": "jxl", b"c.d/e.MOV": "video"}
    assert {name: extra.name for name in names if (extra := extra_of(name))} == names
    assert extra_of(b"a.jpg") is extra_of(b".mov") is extra_of(b"mov") is extra_of(b"a.mov/b") is None


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_missing_extra_is_told_once_and_costs_nothing_that_was_indexed(
    tmp_path: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    photos = tmp_path / "photos"
    photos.mkdir()
    scene().save(photos / "plain.png")
    (photos / "first.dng").write_bytes(dng(scene()))
    assert run(capsys, "index", photos, "--model", "builtin")[0] == 0
    monkeypatch.setitem(sys.modules, "rawpy", None)  # as where it is not installed
    (photos / "second.dng").write_bytes(dng(scene(330, 250)))
    put(photos, "2.raf", "3.cr3")
    code, out, err = run(capsys, "index")
    assert code == 0
    assert err.count("4 RAW files left out: pip install 'clipsearch[raw]'\n") == 1
    assert "unchanged  1" in out
    assert "removed" not in out
    assert "skipped" not in out
    code, out, err = run(capsys, "index", "--json")
    assert '"raw": 4' in out
    code, out, err = run(capsys, "similar", photos / "plain.png", "--format", "paths")
    assert out.split() == [str(photos / "first.dng")]
    with pytest.raises(PhotoError, match=r"RAW files .* pip install 'clipsearch\[raw\]'"):
        decode(dng(scene()), WANTED)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(PhotoError, match="JPEG XL files are read with an extra"):
        decode(saved(scene(), "JXL"), WANTED)


def test_one_folder_of_everything_is_indexed_in_one_run_and_found(
    tmp_path: Path,
    builtin_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shared_photos: Path,
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    names = sorted(shared_photos.rglob("*.jpg"))[::97]
    pictures = [Image.open(path).convert("RGB") for path in names[:8]]
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "raw.dng").write_bytes(dng(pictures[0], preview=pictures[0]))
    (photos / "bare.dng").write_bytes(dng(pictures[1].resize((640, 480))))
    pictures[2].save(photos / "phone.heic", quality=90)
    pictures[3].save(photos / "web.avif", quality=90)
    pictures[4].save(photos / "new.jxl", quality=95)
    film(photos / "clip.mp4", pictures[5:7], size=(320, 240))
    pictures[7].save(photos / "IMG_1.HEIC", "HEIF", quality=90)
    film(photos / "IMG_1.MOV", pictures[7:8], size=(320, 240))
    (photos / "both.dng").write_bytes(dng(pictures[0]))
    pictures[0].save(photos / "both.jpg", quality=95)
    code, out, err = run(capsys, "index", photos, "--model", "builtin")
    assert code == 0, err
    assert "Embedded 8 photos and 1 more frame of videos" in out
    assert "companions  2" in out
    expected = (
        ["raw.dng", "bare.dng", "phone.heic", "web.avif", "new.jxl"] + ["clip.mp4"] * 2 + ["IMG_1.HEIC"]
    )
    for path, name in zip(names[:8], expected, strict=True):
        code, out, err = run(capsys, "similar", path, "-n", "2", "--format", "paths")
        assert code == 0, err
        assert name in {Path(line).name for line in out.splitlines()}, (name, out)
    code, out, err = run(capsys, "index")
    assert "unchanged   8" in out
    assert "companions  2" in out
    code, out, err = run(capsys, "doctor")
    assert code == 0, out + err


def test_a_part_of_a_folder_is_told_what_belongs_together_as_well(tmp_path: Path) -> None:
    put(tmp_path, "a/1.JPG", "a/1.NEF", "a/2.NEF")
    assert walked(tmp_path, within=[b"a/1.NEF", b"a/2.NEF"]) == {"a/1.NEF": "belongs", "a/2.NEF": "read"}
