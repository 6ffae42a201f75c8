from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clipsearch.photos.scan import AbsentFolder, FoundFile, UnreadableFolder, scan

if TYPE_CHECKING:
    from collections.abc import Iterable


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def paths(root: Path, exclude: Iterable[str] = ()) -> list[str]:
    items = [item for item in scan(root, exclude=list(exclude)) if not isinstance(item, AbsentFolder)]
    assert all(isinstance(item, FoundFile) for item in items), items
    return [os.fsdecode(item.path) for item in items]


def test_pictures_are_found_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "B.JPG", "c.HeIc", "d.tar.png", "notes.txt", "e.pdf", "f.mp3", "jpg", "g.jpg.part")
    assert paths(tmp_path) == ["B.JPG", "a.jpg", "c.HeIc", "d.tar.png"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(1, 1_234_567_890_123_456_789))
    assert list(scan(tmp_path)) == [FoundFile(b"a.jpg", 5, (tmp_path / "a.jpg").stat().st_mtime_ns)]


def test_order_is_folder_by_folder_and_sorted(tmp_path: Path) -> None:
    put(tmp_path, "z.jpg", "b/2.jpg", "b/1.jpg", "a/x/y.jpg", "a/w.jpg", "c.jpg")
    assert paths(tmp_path) == ["c.jpg", "z.jpg", "a/w.jpg", "a/x/y.jpg", "b/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize(
    "folder",
    [
        ".git",
        ".Trash-1000",
        "node_modules",
        "@eaDir",
        "System Volume Information",
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "lost+found",
        "#recycle",
        "__MACOSX",
        "Catalog Previews.lrdata",
    ],
)
def test_hidden_and_junk_folders_are_not_entered(tmp_path: Path, folder: str) -> None:
    put(
        tmp_path,
        f"trip/{folder}/a.jpg",
        f"trip/{folder}/deeper/b.jpg",
        "trip/c.jpg",
        ".hidden.jpg",
        "._c.jpg",
    )
    assert paths(tmp_path) == ["trip/c.jpg"]


def test_the_root_is_walked_whatever_its_name(tmp_path: Path) -> None:
    put(tmp_path, ".photos/node_modules/a.jpg")
    assert paths(tmp_path / ".photos" / "node_modules") == ["a.jpg"]


def test_of_a_photo_library_only_the_originals_are_read(tmp_path: Path) -> None:
    put(
        tmp_path,
        "My.photoslibrary/originals/0/a.heic",
        "My.photoslibrary/resources/derivatives/0/a.jpeg",
        "My.photoslibrary/database/b.jpg",
    )
    assert paths(tmp_path) == ["My.photoslibrary/originals/0/a.heic"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.png", ["top.jpg", "private/a.jpg", "trips/trips.jpg", "x/trips/c.jpg"]),
        ("*.PNG", ["top.jpg", "private/a.jpg", "trips/trips.jpg", "x/trips/c.jpg"]),
        ("private/*", ["top.jpg", "trips/trips.jpg", "x/b.png", "x/trips/c.jpg"]),
        ("private/", ["top.jpg", "trips/trips.jpg", "x/b.png", "x/trips/c.jpg"]),
        ("trips", ["top.jpg", "private/a.jpg", "private/in/p.png", "x/b.png"]),
        ("x/trips", ["top.jpg", "private/a.jpg", "private/in/p.png", "trips/trips.jpg", "x/b.png"]),
        ("[tx]*", ["private/a.jpg", "private/in/p.png"]),
    ],
)
def test_excluded_names_and_paths_are_left_out(tmp_path: Path, pattern: str, left: list[str]) -> None:
    put(
        tmp_path,
        "top.jpg",
        "private/a.jpg",
        "private/in/p.png",
        "trips/trips.jpg",
        "x/b.png",
        "x/trips/c.jpg",
    )
    assert paths(tmp_path, [pattern]) == left
    assert paths(tmp_path, ["nothing-like-it", pattern]) == left


def test_a_pattern_matches_however_an_umlaut_is_written(tmp_path: Path) -> None:
    put(tmp_path, "Mu\u0308nchen/a.jpg", "b.jpg")
    assert paths(tmp_path, ["m\u00fcnchen"]) == ["b.jpg"]


def test_links_to_pictures_and_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "deep/a.jpg", "one.jpg", "noted.txt")
    put(tmp_path / "root", "z.jpg")
    (tmp_path / "root" / "album").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "root" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "one.jpg")
    (tmp_path / "root" / "text").symlink_to(tmp_path / "elsewhere" / "noted.txt")
    assert paths(tmp_path / "root") == ["linked.jpg", "z.jpg", "album/a.jpg"]


def test_a_folder_is_walked_once_and_under_its_real_name(tmp_path: Path) -> None:
    put(tmp_path, "real/a.jpg")
    (tmp_path / "a-link-that-sorts-first").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "real" / "self").symlink_to(tmp_path / "real")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    assert paths(tmp_path) == ["real/a.jpg"]


def test_a_link_above_the_root_ends(tmp_path: Path) -> None:
    put(tmp_path, "root/a.jpg", "beside/b.jpg")
    (tmp_path / "root" / "up").symlink_to(tmp_path)
    assert paths(tmp_path / "root") == ["a.jpg", "up/beside/b.jpg"]


def test_junk_stays_junk_behind_a_link(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "node_modules").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "private").symlink_to(tmp_path / "elsewhere")
    assert paths(tmp_path / "root", ["private"]) == []


def test_where_a_drive_may_have_been_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "album").symlink_to(tmp_path / "unplugged" / "album")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "mount").mkdir()
    for left_out in (".hidden", "private"):
        (tmp_path / left_out).symlink_to(tmp_path / "unplugged")
    found = [item.path for item in scan(tmp_path, exclude=["private"]) if isinstance(item, AbsentFolder)]
    assert found == [b"album", b"gone.jpg", b"mount"]
    assert paths(tmp_path) == ["a.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
def test_only_regular_files_are_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg", "folder.jpg/b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        assert paths(tmp_path) == ["a.jpg", "folder.jpg/b.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_names_are_the_bytes_of_the_file_system(tmp_path: Path) -> None:
    names = [b"\xff\xfe.jpg", b"new\nline.jpg", b" .jpg ", "\u65e5\u672c.jpg".encode(), b'"quo\'te".jpg']
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert {item.path for item in scan(tmp_path)} == set(names) - {b" .jpg "}
    assert paths(tmp_path, ["*"]) == []


def test_a_folder_500_levels_deep_is_reached(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 500)
    os.makedirs(tmp_path / deep)  # noqa: PTH103 - Path.mkdir recurses
    put(tmp_path, f"{deep}/a.jpg")
    assert paths(tmp_path) == [f"{deep}/a.jpg"]
    while (tmp_path / "d").exists():  # pytest's own clean-up recurses
        halfway = tmp_path / "/".join(["d"] * 250)
        shutil.rmtree(halfway if halfway.exists() else tmp_path / "d")


def test_a_folder_of_many_files_loses_none(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number}.jpg").touch()
    assert len(paths(tmp_path)) == 5000


def test_a_missing_root_is_told_from_an_empty_one(tmp_path: Path) -> None:
    assert list(scan(tmp_path)) == [AbsentFolder(b"")]
    assert list(scan(tmp_path / "gone")) == [UnreadableFolder(b"", "no such file or directory")]
    put(tmp_path, "file.jpg")
    assert list(scan(tmp_path / "file.jpg")) == [UnreadableFolder(b"", "not a directory")]


def test_a_root_that_goes_away_during_the_walk_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "drive"
    put(root, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    walk = scan(root)
    assert next(walk) == FoundFile(b"a/1.jpg", 5, (root / "a" / "1.jpg").stat().st_mtime_ns)
    root.rename(tmp_path / "unplugged")
    assert list(walk)[-1] == UnreadableFolder(b"", "the folder went away during the walk")


def test_a_folder_that_vanishes_during_the_walk_may_come_back(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    walk = scan(tmp_path)
    next(walk)
    shutil.rmtree(tmp_path / "b")
    gone, found = walk
    assert (gone, found.path) == (AbsentFolder(b"b"), b"c/3.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_without_permission_is_reported_and_the_rest_is_walked(mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, user = Path(name), os.geteuid()
        root.chmod(0o755)
        put(root, "a/1.jpg", "closed/2.jpg", "z/3.jpg")
        (root / "closed").chmod(mode)  # 444: names can be listed, but nothing can be known about the files
        if user == 0:
            os.seteuid(65534)  # permissions do not bind root
        try:
            items = list(scan(root))
        finally:
            os.seteuid(user)
            (root / "closed").chmod(0o755)
    assert [item.path for item in items] == [b"a/1.jpg", b"closed", b"z/3.jpg"]
    assert items[1] == UnreadableFolder(b"closed", "permission denied")


def test_only_what_is_named_is_looked_at_as_a_walk_of_the_root_would_see_it(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/2.jpg", "a/b/3.jpg", "c/4.jpg", "private/5.jpg", ".hidden/d/6.jpg", "a/7.txt")
    put(
        tmp_path,
        "node_modules/d/8.jpg",
        "x.photoslibrary/originals/9.jpg",
        "x.photoslibrary/derived/e/10.jpg",
    )

    def within(*names: bytes) -> list[bytes]:
        return [item.path for item in scan(tmp_path, exclude=["private/*"], within=names)]

    assert within(b"a/2.jpg", b"a/7.txt", b"a/none.jpg") == [b"a/2.jpg"]
    assert within(b"a/b", b"c") == [b"c/4.jpg", b"a/b/3.jpg"]
    assert set(within(b"a", b"a/2.jpg")) == {b"a/1.jpg", b"a/2.jpg", b"a/b/3.jpg"}
    assert within(b"private", b"private/5.jpg", b".hidden", b".hidden/d/6.jpg", b"node_modules/d") == []
    assert within(b"x.photoslibrary/originals", b"x.photoslibrary/derived/e") == [
        b"x.photoslibrary/originals/9.jpg"
    ]
    assert within() == []


def test_of_what_is_named_an_empty_folder_around_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    assert list(scan(tmp_path, within=[b"mount/1.jpg"])) == [AbsentFolder(b"mount")]
    assert list(scan(tmp_path / "gone", within=[b"1.jpg"])) == [
        UnreadableFolder(b"", "no such file or directory")
    ]
