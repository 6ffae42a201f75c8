"""Copies, links, moves: nothing overwritten or lost, every photo at exactly one place, bytes equal."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults import filled, mounted, read_only
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch import new_file
from clipsearch.collection import Collection, folder_names, numbered
from clipsearch.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipsearch.collection import Way

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
WAYS: st.SearchStrategy[Way] = st.sampled_from(["copy", "link", "move"])
THERE = st.dictionaries(NAMES, BYTES, max_size=4)


def names_in(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


def contents(folder: Path) -> dict[bytes, bytes]:
    return {os.fsencode(path.name): path.read_bytes() for path in folder.iterdir()}


@given(photos=PHOTOS, there=THERE, way=WAYS)
@example(photos=[("a.jpg", b"one"), ("a.jpg", b"one")], there={"A.jpg": b"one"}, way="copy")
@settings(deadline=None, max_examples=150)
def test_every_photo_has_one_place_of_its_own_and_nothing_is_overwritten(
    photos: list[tuple[str, bytes]], there: dict[str, bytes], way: Way
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

        rehearsal = Collection(target, way, dry_run=True)
        planned = [rehearsal.add(source) for source in sources]
        assert contents(target) == before

        collection = Collection(target, way)
        places = [collection.add(source) for source in sources]
        assert places == planned
        after = contents(target)
        assert before.items() <= after.items()
        placed = [place.target for place in places if place.target]
        assert len({str(path).casefold() for path in placed}) == len(sources)
        for (_, data), source, path in zip(photos, sources, placed, strict=True):
            assert path.read_bytes() == data
            assert path.is_symlink() == (way == "link")
            assert way != "link" or path.readlink() == source
            assert source.exists() == (way != "move")
        assert len(after) == len(before) + sum(place.new for place in places)
        if way == "move":
            return

        again = Collection(target, way)
        assert not any(again.add(source).new for source in sources)
        assert contents(target) == after


@given(
    wanted=st.lists(
        NAMES
        | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).map(
            lambda name: f"{len(name)} {name}"
        ),
        max_size=12,
    )
)
@settings(deadline=None)
def test_every_name_that_is_wanted_can_be_made(wanted: list[str]) -> None:
    names = [name.replace("/", "_").replace("\0", "_").encode("utf-8", "surrogateescape") for name in wanted]
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as home:
        photo = Path(home, "photo")
        photo.touch()
        collection = Collection(Path(home, "target"), "move", dry_run=True)
        places = [collection.add(photo, Path("1", os.fsdecode(name))) for name in names]
        Path(home, "target", "1").mkdir(parents=True)
        for place in places:
            assert place.target
            with place.target.open("x"):
                pass


@pytest.mark.parametrize("way", ["copy", "link", "move"])
def test_what_is_there_stays_there(way: Way, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"new")
    there = tmp_path / "to" / "a.jpg"
    there.parent.mkdir()
    there.write_bytes(b"old")
    (tmp_path / "to" / "a (2).jpg").symlink_to("nowhere")
    placed = Collection(there.parent, way).add(source).target
    assert placed == tmp_path / "to" / "a (3).jpg"
    assert (there.read_bytes(), placed.read_bytes()) == (b"old", b"new")
    assert names_in(there.parent) == [b"a (2).jpg", b"a (3).jpg", b"a.jpg"]
    assert source.exists() is (way != "move")


def test_a_name_that_is_as_long_as_can_be_is_shortened(tmp_path: Path) -> None:
    name = "ü" * 125 + ".jpg"
    collection = Collection(tmp_path / "to")
    for number in range(2):
        (tmp_path / str(number)).write_bytes(b"a")
        collection.add(tmp_path / str(number), name)
    assert names_in(tmp_path / "to") == sorted([name.encode(), ("ü" * 123 + " (2).jpg").encode()])


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


@given(
    NAMES | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
    st.integers(2, 10**6),
)
def test_a_numbered_name_fits_and_keeps_its_suffix(name: str, number: int) -> None:
    made = numbered(name, number)
    assert len(os.fsencode(made)) <= 255
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
    ways: tuple[Way, ...] = ("copy", "link")
    for way in ways:
        assert Collection(tmp_path, way).add(photo).target == photo
    assert names_in(tmp_path) == [b"photo.jpg"]


def test_a_link_to_nothing_is_no_free_name(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    target = tmp_path / "target"
    target.mkdir()
    (target / "photo.jpg").symlink_to(tmp_path / "gone")
    assert Collection(target).add(photo).target.name == "photo (2).jpg"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("way", ["copy", "link", "move"])
def test_a_photo_that_is_gone_makes_nothing(tmp_path: Path, way: Way) -> None:
    for dry_run in (False, True):
        place = Collection(tmp_path / "target", way, dry_run=dry_run).add(tmp_path / "gone.jpg")
        assert (place.target, place.new, place.failure) == (None, False, "no such file or directory")
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


@pytest.mark.parametrize("way", ["copy", "link", "move"])
def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, way: Way) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    target = tmp_path / "target"
    target.mkdir()
    with read_only(target), pytest.raises(OutputError, match="read-only file system"):
        Collection(target, way).add(photo)


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
    (tmp_path / "photo").write_bytes(b"new")
    assert Collection(tmp_path, "move").add(tmp_path / "photo", "file").target == tmp_path / "file (2)"
    assert contents(tmp_path) == {b"file": b"all", b"file (2)": b"new"}


def test_a_link_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert Collection(tmp_path / "to", "move").add(tmp_path / "b.jpg").failure == "it is a link"
    assert (tmp_path / "b.jpg").read_bytes() == b"a"


@pytest.mark.parametrize("call", ["link", "unlink", "replace"])
def test_a_move_that_is_interrupted_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    real = getattr(os, call)

    def interrupted(*arguments: object, **options: object) -> None:
        real(*arguments, **options)
        raise KeyboardInterrupt  # as Ctrl-C during the call: it is raised once the call is done

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        if call == "replace":
            patch.setattr(os, "link", no_links)
        patch.setattr(os, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            Collection(tmp_path / "to", "move").add(tmp_path / "a.jpg")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in files} == {b"a"}


def test_a_photo_that_cannot_leave_its_folder_is_in_no_other(tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.jpg").write_bytes(b"a")
    with read_only(card):
        place = Collection(tmp_path / "to", "move").add(card / "a.jpg")
    assert place.failure == "its folder cannot be written"
    assert names_in(tmp_path) == [b"card"]
    assert (card / "a.jpg").read_bytes() == b"a"


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    if IN_MEMORY is None or Path(IN_MEMORY).stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


def test_a_move_to_another_disk_is_a_copy_with_its_times(tmp_path: Path, other_disk: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(bytes(range(256)) * 10_000)
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18))
    placed = Collection(other_disk, "move").add(source, Path("sub", "a.jpg")).target
    assert placed == other_disk / "sub" / "a.jpg"
    assert placed.read_bytes() == bytes(range(256)) * 10_000
    facts = placed.stat()
    assert (facts.st_mtime_ns, facts.st_mode & 0o777) == (10**18, 0o640)
    assert not source.exists()
    assert names_in(placed.parent) == [b"a.jpg"]


def test_a_move_that_fails_leaves_the_file_and_nothing_else(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.jpg").write_bytes(b"a")
    with pytest.raises(OutputError, match=r"cannot move into .*: no space left"):
        Collection(other_disk, "move").add(tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == b"a"
    assert names_in(other_disk) == []


@pytest.mark.parametrize("far", [False, True])
def test_a_locked_photo_is_left_with_its_reason(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch, *, far: bool
) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"a")
    target = other_disk if far else tmp_path / "to"
    real = os.unlink

    def locked(path: Path) -> None:
        if path == photo:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        real(path)

    monkeypatch.setattr(os, "unlink", locked)
    assert Collection(target, "move").add(photo).failure == "operation not permitted"
    assert (photo.read_bytes(), names_in(target)) == (b"a", [])


def test_a_photo_that_is_written_while_it_moves_stays(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"a")
    flush = os.fsync

    def written_meanwhile(handle: int) -> None:
        photo.write_bytes(b"longer")
        flush(handle)

    monkeypatch.setattr(os, "fsync", written_meanwhile)
    assert Collection(other_disk, "move").add(photo).failure == "it is being changed"
    assert (photo.read_bytes(), names_in(other_disk)) == (b"longer", [])
