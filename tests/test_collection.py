"""Copies and links: nothing overwritten, every photo at exactly one place, bytes equal."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from faults import filled, mounted, read_only
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch import new_file
from clipsearch.collection import Collection, folder_names, numbered
from clipsearch.errors import OutputError, PhotoError, UsageError

# Names that are easily the same, in one way or another, and such that are hard to carry.
NAMES = st.sampled_from(
    ["a.jpg", "A.JPG", "a (2).jpg", "a (3).jpg", "a", ".a", "é.jpg", "e\u0301.jpg", "x" * 251 + ".jpg"]
) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."}).map(lambda name: name + "\udce9.jpg")
BYTES = st.sampled_from([b"one", b"two", b"three"])
# Each with a folder of its own.
PHOTOS = st.lists(st.tuples(NAMES, BYTES), max_size=8)
# Copies are flushed to disk: many of them take their time on a real one.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
THERE = st.dictionaries(NAMES, BYTES, max_size=4)


def names_in(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


def contents(folder: Path) -> dict[bytes, bytes]:
    return {os.fsencode(path.name): path.read_bytes() for path in folder.iterdir()}


@given(photos=PHOTOS, there=THERE, link=st.booleans())
@example(photos=[("a.jpg", b"one"), ("a.jpg", b"one")], there={"A.jpg": b"one"}, link=False)
@settings(deadline=None, max_examples=150)
def test_every_photo_has_one_place_of_its_own_and_nothing_is_overwritten(
    photos: list[tuple[str, bytes]], there: dict[str, bytes], link: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as home:
        target = Path(home, "target")
        target.mkdir()
        for name, data in there.items():
            (target / name).write_bytes(data)
        before = contents(target)
        sources = []
        for number, (name, data) in enumerate(photos):
            folder = Path(home, str(number))
            folder.mkdir()
            (folder / name).write_bytes(data)
            sources.append(folder / name)

        rehearsal = Collection(target, link=link, dry_run=True)
        planned = [rehearsal.add(source) for source in sources]
        assert contents(target) == before

        collection = Collection(target, link=link)
        places = [collection.add(source) for source in sources]
        assert places == planned
        after = contents(target)
        assert before.items() <= after.items()
        targets = [place.target for place in places]
        assert len({str(place).casefold() for place in targets}) == len(sources)
        for source, place in zip(sources, places, strict=True):
            assert place.target.read_bytes() == source.read_bytes()
            assert place.target.is_symlink() == link
            assert not link or place.target.readlink() == source
        assert len(after) == len(before) + sum(place.new for place in places)

        again = Collection(target, link=link)
        assert not any(again.add(source).new for source in sources)
        assert contents(target) == after


@given(st.lists(st.text() | st.sampled_from(["cat", "Cat", "..", "con", "COM1.x", "a/b", "a\\b", "x" * 300])))
@example(["caf\udce9", "", ".", "caf_"])
def test_every_label_has_a_folder_name_of_its_own_that_every_system_takes(labels: list[str]) -> None:
    names = folder_names(labels)
    assert len({name.casefold() for name in names}) == len(labels)
    for name in names:
        assert name.strip(". ") == name != ""
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert name.split(".")[0].lower() not in {"con", "nul", "com1"}
        assert len(name.encode()) <= 120


@given(NAMES | st.text(st.characters(exclude_characters="/\0"), min_size=1), st.integers(2, 10**6))
def test_a_numbered_name_fits_and_keeps_its_suffix(name: str, number: int) -> None:
    made = numbered(name, number)
    assert len(os.fsencode(made.encode("utf-8", "replace"))) <= 255
    assert f" ({number})" in made
    if name.endswith(".jpg") and len(name) > 4:
        assert made.endswith(f" ({number}).jpg")


def test_a_copy_has_the_date_of_its_photo_and_leaves_no_draft(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    os.utime(photo, ns=(10**18, 10**18))
    Collection(tmp_path / "a" / "b").add(photo)
    assert (tmp_path / "a" / "b" / "photo.jpg").stat().st_mtime_ns == 10**18
    assert names_in(tmp_path / "a" / "b") == [b"photo.jpg"]


def test_a_photo_in_its_own_folder_is_there_already(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    for link in (False, True):
        assert Collection(tmp_path, link=link).add(photo).target == photo
    assert names_in(tmp_path) == [b"photo.jpg"]


def test_a_link_to_nothing_is_no_free_name(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    target = tmp_path / "target"
    target.mkdir()
    (target / "photo.jpg").symlink_to(tmp_path / "gone")
    assert Collection(target).add(photo).target.name == "photo (2).jpg"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_photo_that_is_gone_makes_nothing(tmp_path: Path, *, link: bool) -> None:
    for dry_run in (False, True):
        with pytest.raises(PhotoError, match="no such file"):
            Collection(tmp_path / "target", link=link, dry_run=dry_run).add(tmp_path / "gone.jpg")
    assert not (tmp_path / "target").exists()


def test_a_full_disk_keeps_no_part_of_a_photo_and_what_was_whole(tmp_path: Path) -> None:
    photos = [tmp_path / "small.jpg", tmp_path / "large.jpg"]
    for photo, size in zip(photos, (1000, 2_000_000), strict=True):
        photo.write_bytes(b"x" * size)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        collection = Collection(disk / "copies")
        collection.add(photos[0])
        with filled(disk, 1_000_000), pytest.raises(OutputError, match="no space left"):
            collection.add(photos[1])
        assert contents(disk / "copies") == {b"small.jpg": b"x" * 1000}
        assert [Collection(disk / "copies").add(photo).new for photo in photos] == [False, True]


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, *, link: bool) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    target = tmp_path / "target"
    target.mkdir()
    with read_only(target), pytest.raises(OutputError, match="read-only file system"):
        Collection(target, link=link).add(photo)


def test_a_file_in_the_place_of_the_folder_says_so(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    with pytest.raises(UsageError, match="not a folder"):
        Collection(photo).add(photo)
    assert photo.read_bytes() == b"photo"


def test_a_disk_without_hard_links_gets_whole_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(_draft: Path, _file: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(new_file.os, "link", link)  # as FAT does
    new_file.write_new(tmp_path / "file", b"all")
    with pytest.raises(FileExistsError):
        new_file.write_new(tmp_path / "file", b"other")
    assert contents(tmp_path) == {b"file": b"all"}
