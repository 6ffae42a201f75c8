"""The filter language, and what passes: held against plain Python over the same photos."""

from __future__ import annotations

import fnmatch
import math
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.catalog.catalog import Arrival, Catalog
from clipsearch.catalog.scope import scope_of
from clipsearch.errors import UsageError
from clipsearch.filters import distance, parse, period, place, size
from clipsearch.types import Filters, Metadata, Place


def day(year: int, month: int = 1, of_month: int = 1, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, of_month, hour, minute)  # noqa: DTZ001 - a camera's clock


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2023", day(2023), day(2024)),
        ("2023-05", day(2023, 5), day(2023, 6)),
        ("2023-12", day(2023, 12), day(2024)),
        (" 2024-02-29 ", day(2024, 2, 29), day(2024, 3)),
        ("2023-5-7T18:30", day(2023, 5, 7, 18, 30), day(2023, 5, 7, 18, 31)),
        ("2023-05-07 18:30", day(2023, 5, 7, 18, 30), day(2023, 5, 7, 18, 31)),
    ],
)
def test_a_period_has_a_beginning_and_an_end(text: str, start: datetime, end: datetime) -> None:
    assert period(text) == (start, end)


@pytest.mark.parametrize(
    "text", ["", "23", "2023-13", "2023-02-30", "yesterday", "0000", "9999", "2023-05-07T25:00"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a date"):
        period(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("38.7,-9.1", (38.7, -9.1)),
        ("38.7, -9.1", (38.7, -9.1)),
        ("38.7N 9.1W", (38.7, -9.1)),
        ("33.9°S, 151.2°E", (-33.9, 151.2)),
        ("0,0", (0, 0)),
    ],
)
def test_places(text: str, expected: tuple[float, float]) -> None:
    assert place(text) == expected


@pytest.mark.parametrize("text", ["", "Lisbon", "91,0", "0,181", "1", "1,2,3", "nan,nan", "1e3,2"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a place"):
        place(text)


def test_distances_and_sizes() -> None:
    assert [distance(text) for text in ("20km", "500m", "1mi", "3")] == [20, 0.5, 1.609344, 3]
    assert size("1080x1920") == size("1920 X 1080") == ((1080, 1920), 0)
    assert size("3000") == size("3000px") == ((0, 3000), 0)
    assert size("8MP") == (None, 8_000_000)
    for text in ("", "-1km", "far", "nan"):
        with pytest.raises(UsageError, match="not a distance"):
            distance(text)
    for text in ("", "big", "-3", "1x", "8GB"):
        with pytest.raises(UsageError, match="not a size"):
            size(text)
    with pytest.raises(UsageError, match="no photo is as large"):
        size("9" * 30)


def test_dates_together_hold_together() -> None:
    both = parse(on="2023", after="2023-05")
    assert (both.after, both.before) == (day(2023, 5), day(2024))
    with pytest.raises(UsageError, match="no moment"):
        parse(after="2024", before="2023")
    with pytest.raises(UsageError, match="from nowhere"):
        parse(within="3km")
    for name in ("glob", "camera", "lens"):
        with pytest.raises(UsageError, match="empty filter"):
            parse(**{name: " "})  # type: ignore[arg-type]


def test_only_a_filter_that_says_something_is_one() -> None:
    assert not parse()
    assert not Filters()
    assert parse(on="2023")
    assert parse(near="1,2", within="3km").within == 3


NAMES = st.sampled_from(
    ["a.jpg", "B.JPG", "2023/a.heic", "2023/b/ä.png", "x[1].jpg", "über.jpg", "u\u0308ber.jpg"]
)
PHOTOS = st.lists(
    st.tuples(
        NAMES,
        st.integers(1, 4000),
        st.integers(1, 4000),
        st.none() | st.datetimes(day(1826), day(2030)),
        st.none() | st.sampled_from(["Canon EOS 5D", "NIKON D90", "Änderung"]),
        st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    ),
    max_size=12,
    unique_by=lambda row: row[0],
)
FILTERS = st.builds(
    Filters,
    glob=st.none() | st.sampled_from(["*.jpg", "2023/*", "ÜBER*", "x[[]1].jpg", "*/b/*", "a.???"]),
    after=st.none() | st.datetimes(day(1900), day(2030)).map(lambda at: at.replace(microsecond=0)),
    before=st.none() | st.datetimes(day(1900), day(2030)).map(lambda at: at.replace(microsecond=0)),
    camera=st.none() | st.sampled_from(["canon", "d90", "ÄND", "%", "_"]),
    near=st.none() | st.builds(Place, st.floats(-90, 90), st.floats(-180, 180)),
    within=st.floats(0, 20_100),
    shape=st.none() | st.sampled_from(["landscape", "portrait", "square"]),
    min_sides=st.none() | st.tuples(st.integers(0, 2000), st.integers(0, 4000)),
    min_pixels=st.integers(0, 8_000_000),
)


def kilometres(one: Place, other: Place) -> float:
    """By the angle between two vectors: another formula than the one under test."""

    def vector(place: Place) -> tuple[float, float, float]:
        north, east = math.radians(place.latitude), math.radians(place.longitude)
        return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)

    a, b = vector(one), vector(other)
    cross = math.hypot(a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return 6371.0088 * math.atan2(cross, sum(x * y for x, y in zip(a, b, strict=True)))


def passes(row: tuple[str, int, int, datetime | None, str | None, Place | None], filters: Filters) -> bool:
    name, width, height, taken, camera, where = row
    name = name.replace("u\u0308", "ü").lower()
    taken = taken and taken.replace(microsecond=0)
    shape = "landscape" if width > height * 1.02 else "portrait" if height > width * 1.02 else "square"
    sides = filters.min_sides or (0, 0)
    glob = (filters.glob or "*").lower()
    tails = [name[place:] for place in range(len(name)) if place == 0 or name[place - 1] == "/"]
    return (
        any(fnmatch.fnmatchcase(tail, glob) for tail in tails)
        and (filters.after is None or (taken is not None and taken >= filters.after))
        and (filters.before is None or (taken is not None and taken < filters.before))
        and (filters.camera is None or (camera is not None and filters.camera.lower() in camera.lower()))
        and (
            filters.near is None or (where is not None and kilometres(where, filters.near) <= filters.within)
        )
        and filters.shape in (None, shape)
        and min(width, height) >= sides[0]
        and max(width, height) >= sides[1]
        and width * height >= filters.min_pixels
    )


@settings(max_examples=200, deadline=None)
@given(PHOTOS, FILTERS)
def test_what_passes_is_what_plain_python_lets_pass(
    tmp_path_factory: pytest.TempPathFactory, photos: list, filters: Filters
) -> None:
    rows = [(*row[:5], None if row[5] is None else Place(*row[5])) for row in photos]
    # Formulas differ by rounding; nobody stands on the very edge of a circle.
    for row in rows:
        if row[5] is not None and filters.near is not None:
            distance_of = kilometres(row[5], filters.near)
            if abs(distance_of - filters.within) < 1e-3:
                return
    with Catalog(tmp_path_factory.mktemp("library"), write=True) as catalog:
        root = catalog.add_root(Path("/photos"), [])
        catalog.record(
            [
                Arrival(
                    root,
                    os.fsencode(name),
                    1,
                    1,
                    f"{number:032d}".encode(),
                    (width, height, Metadata(taken, camera, None, where)),
                )
                for number, (name, width, height, taken, camera, where) in enumerate(rows)
            ],
            [],
            None,
        )
        scope = scope_of(filters, catalog.roots())
        found = {photo.path for photo in catalog.newest(scope, 100)}
        wanted = [row for row in rows if passes(row, filters)]
        assert found == {Path("/photos") / row[0] for row in wanted}
        assert len(catalog.contents(scope)) == len(wanted)
        dates = [photo.taken for photo in catalog.newest(scope, 100)]
        known = [at for at in dates if at is not None]
        assert known == sorted(known, reverse=True)
        assert dates == [*known, *[None] * (len(dates) - len(known))]


def test_the_longest_way_round_the_earth_is_no_error() -> None:
    assert kilometres(Place(90, 0), Place(-90, 0)) == pytest.approx(math.pi * 6371.0088)
    assert period("2023")[1] - period("2023")[0] == timedelta(days=365)
