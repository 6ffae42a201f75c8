"""Filters through the command line, on files whose EXIF says where and when."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import program
import pytest
from older import age
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from clipsearch import Library
from clipsearch.catalog.catalog import FILE_NAME
from clipsearch.cli import main
from clipsearch.types import Filters

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[bytes]
ODD = os.fsdecode("sub dir/zwölf 🐕\nx\xe9".encode("utf-8", "surrogateescape") + b"\xff.jpg")
LISBON, TOKYO = (38.72, -9.14), (35.68, 139.69)


def shoot(
    path: Path,
    number: int,
    *,
    taken: str | None = None,
    camera: tuple[str, str] | None = None,
    place: tuple[float, float] | None = None,
    size: tuple[int, int] = (40, 30),
) -> None:
    exif = Image.Exif()
    if taken:
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken
    if camera:
        exif[Base.Make], exif[Base.Model] = camera
    if place:
        north, east = place
        exif.get_ifd(IFD.GPSInfo).update(
            {
                GPS.GPSLatitude: (abs(north), 0.0, 0.0),
                GPS.GPSLatitudeRef: "N" if north >= 0 else "S",
                GPS.GPSLongitude: (abs(east), 0.0, 0.0),
                GPS.GPSLongitudeRef: "E" if east >= 0 else "W",
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number * 20, 255 - number * 20, number * 7)).save(path, exif=exif)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture) -> Path:
    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    folder = tmp_path / "photos"
    canon, nikon = ("Canon", "Canon EOS 5D"), ("NIKON CORPORATION", "NIKON D90")
    shoot(folder / "a.jpg", 1, taken="2022:12:31 23:59:59", camera=canon, place=LISBON)
    shoot(folder / "b.jpg", 2, taken="2023:01:01 00:00:00", camera=nikon, size=(30, 40))
    shoot(folder / "c.JPG", 3, taken="2023:05:17 18:30:10", place=TOKYO, size=(64, 64))
    shoot(folder / ODD, 4, taken="2024:02:29 08:00:00", camera=canon, place=(38.8, -9.2))
    shoot(folder / "none.png", 5)
    assert main(["index", str(folder)]) == 0
    capsysbinary.readouterr()
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--after", "2023"], [ODD, "c.JPG", "b.jpg"]),
        (["--before", "2023"], ["a.jpg"]),
        (["--on", "2023"], ["c.JPG", "b.jpg"]),
        (["--on", "2023-05-17T18:30"], ["c.JPG"]),
        (["--on", "2024-02-29"], [ODD]),
        (["--camera", "CANON"], [ODD, "a.jpg"]),
        (["--camera", "nikon d"], ["b.jpg"]),
        (["--near", "38.7,-9.1", "--within", "20km"], [ODD, "a.jpg"]),
        (["--near", "38.7,-9.1", "--within", "5km"], ["a.jpg"]),
        (["--near", "35.7N 139.7E"], ["c.JPG"]),
        (["--portrait"], ["b.jpg"]),
        (["--square"], ["c.JPG"]),
        (["--landscape"], [ODD, "a.jpg", "none.png"]),
        (["--min-size", "64"], ["c.JPG"]),
        (["--min-size", "30x40"], [ODD, "c.JPG", "b.jpg", "a.jpg", "none.png"]),
        (["--glob", "*.jpg"], [ODD, "c.JPG", "b.jpg", "a.jpg"]),
        (["--glob", "sub dir/*"], [ODD]),
        (["--on", "2023", "--square"], ["c.JPG"]),
        (["--on", "2022", "-n", "1"], ["a.jpg"]),
    ],
)
def test_filters_alone_list_by_date(
    photos: Path, capsysbinary: Capture, arguments: list[str], expected: list[str]
) -> None:
    assert main(["search", *arguments, "-0"]) == 0
    found = capsysbinary.readouterr().out.split(b"\0")[:-1]
    assert found == [os.fsencode(photos / name) for name in expected]
    # The same photos answer a query, all of them, in the order of their scores.
    assert main(["search", "anything", *arguments, "--format", "json"]) == 0
    records = json.loads(capsysbinary.readouterr().out)
    assert {record["path"] for record in records} == {str(photos / name) for name in expected}
    assert [record["score"] for record in records] == sorted((r["score"] for r in records), reverse=True)


def test_ten_are_found_where_there_are_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture
) -> None:
    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    for number in range(60):
        shoot(
            tmp_path / "photos" / f"{number}.png", number % 12, size=(40, 30 if number % 6 else 50 + number)
        )
    main(["index", str(tmp_path / "photos")])
    for command in (["search", "red"], ["similar", str(tmp_path / "photos" / "1.png")]):
        capsysbinary.readouterr()
        assert main([*command, "--portrait", "-n", "10", "--format", "json"]) == 0
        records = json.loads(capsysbinary.readouterr().out)
        assert len(records) == 10
        assert all(record["height"] > record["width"] for record in records)


def test_classify_takes_filters_for_the_library_alone(photos: Path, capsysbinary: Capture) -> None:
    assert main(["classify", "--labels", "red,blue", "--on", "2023", "--format", "jsonl"]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert {json.loads(line)["path"] for line in lines} == {str(photos / "b.jpg"), str(photos / "c.JPG")}
    assert main(["classify", str(photos), "--labels", "red,blue", "--on", "2023"]) == 2
    assert b"filters are for the library's photos" in capsysbinary.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--after", "yesterday"], b"not a date: 'yesterday'"),
        (["--near", "here"], b"not a place: 'here'"),
        (["--near", "1,2", "--within", "far"], b"not a distance: 'far'"),
        (["--within", "3km"], b"a distance from nowhere"),
        (["--min-size", "big"], b"not a size: 'big'"),
        (["--square", "--portrait"], b"no photo is portrait and square"),
        (["--after", "2024", "--before", "2023"], b"no moment is in these dates"),
        (["--camera", ""], b"an empty filter"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_a_filter_that_cannot_be_read_is_one_clear_line(
    capsysbinary: Capture, arguments: list[str], word: bytes
) -> None:
    assert main(["search", "red", *arguments]) == 2
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert err.startswith(b"error: " + word)
    assert main(["search", "--on", "1999"]) == 1
    assert capsysbinary.readouterr().err == b"no photo matches\n"


def test_metadata_follows_the_file(photos: Path, capsysbinary: Capture) -> None:
    shoot(photos / "a.jpg", 1, taken="2020:01:01 00:00:00")
    assert main(["index"]) == 0
    capsysbinary.readouterr()
    assert main(["search", "--on", "2020", "-0"]) == 0
    assert capsysbinary.readouterr().out == os.fsencode(photos / "a.jpg") + b"\0"


def test_a_library_from_before_reads_its_photos_once_more_and_embeds_none(photos: Path) -> None:
    with Library.open() as library:
        before = library.newest(limit=9)
        folder = library.path
    age(folder / FILE_NAME)
    with Library.open() as library:
        assert {match.photo.metadata.camera for match in library.newest(limit=9)} == {None}
        report = library.index()
        assert (report.unchanged, report.embedded) == (5, 0)
        assert library.newest(limit=9) == before
        report = library.index()
        assert report.unchanged == 5
    assert before[0].path == photos / ODD


def test_photos_are_counted_by_month_and_by_folder(photos: Path) -> None:
    with Library.open() as library:
        months = [("2022-12", 1), ("2023-01", 1), ("2023-05", 1), ("2024-02", 1), (None, 1)]
        assert library.months() == months
        assert library.months(Filters(camera="canon")) == [months[0], months[3]]
        assert library.folders(photos) == [(photos / "sub dir", 1)]
        assert library.folders(photos / "sub dir") == []
