from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from clipsearch.photos.decode import decode
from clipsearch.photos.metadata import metadata_of, orientation, read_exif
from clipsearch.types import Place, Preprocessing

SHARED = Path(__file__).parents[2] / "shared"
SMALL = Preprocessing((16, 16), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

pillow_heif.register_heif_opener()


def exif(base: dict[int, Any] | None = None, shot: dict[int, Any] | None = None) -> Image.Exif:
    made = Image.Exif()
    made.update(base or {})
    if shot:
        made.get_ifd(IFD.Exif).update(shot)
    return made


def photo(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "olive").save(buffer, kind, **options)
    return buffer.getvalue()


def taken(base: dict[int, Any] | None = None, shot: dict[int, Any] | None = None) -> datetime | None:
    return decode(photo("JPEG", exif=exif(base, shot)), SMALL).metadata.taken


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO"])
def test_the_date_is_read_from_every_format_that_carries_exif(kind: str) -> None:
    made = exif({Base.Make: "Maker"}, {Base.DateTimeOriginal: "2021:07:06 16:08:14"})
    data = photo(kind, exif=made.tobytes())
    assert decode(data, SMALL).metadata.taken == datetime(2021, 7, 6, 16, 8, 14)  # noqa: DTZ001


def test_the_moment_of_the_shot_goes_before_that_of_the_scan_and_of_the_edit() -> None:
    edit = {Base.DateTime: "2003:03:03 03:03:03"}
    scan = {Base.DateTimeDigitized: "2002:02:02 02:02:02"}
    shot = {Base.DateTimeOriginal: "2001:01:01 01:01:01"}
    assert taken(edit, scan | shot) == datetime(2001, 1, 1, 1, 1, 1)  # noqa: DTZ001
    assert taken(edit, scan) == datetime(2002, 2, 2, 2, 2, 2)  # noqa: DTZ001
    assert taken(edit) == datetime(2003, 3, 3, 3, 3, 3)  # noqa: DTZ001
    assert taken(edit, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}) == datetime(2003, 3, 3, 3, 3, 3)  # noqa: DTZ001


def test_the_offset_belongs_to_its_own_date() -> None:
    shot = {Base.DateTimeOriginal: "2021:07:06 16:08:14", Base.OffsetTimeOriginal: "+03:00"}
    assert taken({}, shot) == datetime(2021, 7, 6, 16, 8, 14, tzinfo=timezone(timedelta(hours=3)))
    assert taken({}, shot | {Base.OffsetTimeOriginal: "-09:30"}) == datetime(
        2021, 7, 7, 1, 38, 14, tzinfo=UTC
    )
    assert taken({}, shot | {Base.OffsetTimeOriginal: "Z"}) == datetime(2021, 7, 6, 16, 8, 14, tzinfo=UTC)
    other = {Base.DateTimeOriginal: "2021:07:06 16:08:14", Base.OffsetTimeDigitized: "+03:00"}
    found = taken({}, other)
    assert found is not None
    assert found.tzinfo is None


@pytest.mark.parametrize("offset", ["", "   :  ", "+99:00", "east", "\0\0\0"])
def test_a_senseless_offset_leaves_the_date(offset: str) -> None:
    shot = {Base.DateTimeOriginal: "2021:07:06 16:08:14", Base.OffsetTimeOriginal: offset}
    assert taken({}, shot) == datetime(2021, 7, 6, 16, 8, 14)  # noqa: DTZ001


@pytest.mark.parametrize(
    "text",
    [
        "2021-07-06 16:08:14",
        "2021/07/06 16:08:14",
        "2021:07:06T16:08:14",
        " 2021:07:06 16:08:14.123",
        "2021:07:06 16:08:14\0\0",
    ],
)
def test_dates_as_programs_write_them_are_understood(text: str) -> None:
    assert taken({Base.DateTime: text}) == datetime(2021, 7, 6, 16, 8, 14)  # noqa: DTZ001


@pytest.mark.parametrize(
    "text",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "",
        "\0" * 20,
        "2021:13:01 00:00:00",
        "2021:02:30 00:00:00",
        "2021:01:01 25:00:00",
        "0001:01:01 00:00:00",
        "yesterday",
        "2021",
    ],
)
def test_garbage_is_no_date(text: str) -> None:
    assert taken({Base.DateTime: text}) is None


@pytest.mark.parametrize(
    ("maker", "model", "expected"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple\0\0", " iPhone 12 \0", "Apple iPhone 12"),
        ("", "X100", "X100"),
        ("Leica", "", "Leica"),
        ("\x1b[31mred", "a\nb", "[31mred a b"),
        ("", "", None),
        (None, None, None),
    ],
)
def test_the_camera_is_its_maker_and_model(
    maker: str | None, model: str | None, expected: str | None
) -> None:
    tags = {tag: text for tag, text in ((Base.Make, maker), (Base.Model, model)) if text is not None}
    assert decode(photo("JPEG", exif=exif(tags)), SMALL).metadata.camera == expected


def test_names_are_of_bounded_length() -> None:
    found = decode(photo("JPEG", exif=exif({Base.Model: "m" * 5000}, {Base.LensModel: "l" * 5000})), SMALL)
    assert (found.metadata.camera, found.metadata.lens) == ("m" * 100, "l" * 100)


def test_the_lens() -> None:
    found = decode(photo("JPEG", exif=exif({}, {Base.LensModel: "EF50mm f/1.8"})), SMALL)
    assert found.metadata.lens == "EF50mm f/1.8"


def located(**tags: object) -> Place | None:
    made = Image.Exif()
    made.get_ifd(IFD.GPSInfo).update({getattr(GPS, name): value for name, value in tags.items()})
    return decode(photo("JPEG", exif=made), SMALL).metadata.place


def test_the_place_is_in_degrees() -> None:
    tags = {"GPSLatitude": (38.0, 43.0, 12.0), "GPSLongitude": (9.0, 8.0, 24.0), "GPSLongitudeRef": "W"}
    assert located(**tags, GPSLatitudeRef="N") == Place(38.72, -9.14)
    assert located(**tags, GPSLatitudeRef="S") == Place(-38.72, -9.14)
    assert located(**tags) == Place(38.72, -9.14)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"GPSLatitude": (38.0, 43.0, 12.0)},
        {"GPSLatitude": (0.0, 0.0, 0.0), "GPSLongitude": (0.0, 0.0, 0.0)},
        {"GPSLatitude": (91.0, 0.0, 0.0), "GPSLongitude": (9.0, 0.0, 0.0)},
        {"GPSLatitude": (38.0, 43.0, 12.0), "GPSLongitude": (1.0,)},
    ],
)
def test_a_place_that_is_none_is_left_out(tags: dict[str, object]) -> None:
    assert located(**tags) is None


def test_a_picture_without_exif_has_no_date() -> None:
    assert decode(photo("PNG"), SMALL).metadata.taken is None


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30),
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\xff\xff\xff\xff" + bytes(4),
        b"Exif\0\0" + b"\xff" * 300,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0z\0\0\0" + bytes(4),  # a text as orientation
        b"garbage",
    ],
)
def test_broken_exif_never_costs_the_picture(block: bytes) -> None:
    decoded = decode(photo("JPEG", exif=block), SMALL)
    assert (decoded.width, decoded.height, decoded.metadata.taken) == (40, 30, None)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(value: int) -> None:
    assert decode(photo("JPEG", exif=exif({Base.Orientation: value})), SMALL).width == 40
    assert orientation(exif({Base.Orientation: value})) == 1


def test_every_value_of_exif_is_read_safely_by_itself() -> None:
    with Image.open(io.BytesIO(photo("JPEG", exif=exif({Base.Orientation: 6})))) as image:
        found = read_exif(image)
    assert orientation(found) == 6
    assert metadata_of(found).taken is None


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("jpg/Canon_40D.jpg", "2008-05-30T15:56:01"),
        ("jpg/Nikon_D70.jpg", "2008-03-15T09:52:01"),
        ("jpg/exif-org/fujifilm-finepix40i.jpg", "2000-08-04T18:22:57"),
        ("tiff/DudleyLeavittUtah.tiff", "2009-09-26T01:11:52"),
        ("../nasty-heif/tests/images/heif_other/empty_icc.heic", "2021-07-06T16:08:14+03:00"),
    ],
)
def test_dates_of_real_cameras(file: str, expected: str) -> None:
    folder = SHARED / "nasty" / "exif-samples"
    if not folder.is_dir():
        pytest.skip("needs ../shared/nasty")
    found = decode((folder / file).read_bytes(), SMALL).metadata.taken
    assert found is not None
    assert found.isoformat() == expected
