"""No file is ever overwritten, lost or half there."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch import placing

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=120
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 255)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, max_size=12), there=st.lists(NAMES, max_size=6))
def test_every_file_gets_a_target_of_its_own(names: list[str], there: list[str]) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for name in there:
            (folder / name).touch()
        planned = placing.plan((Path("/somewhere") / str(n), folder / name) for n, name in enumerate(names))
        targets = [placement.target for placement in planned]
        assert [placement.source.name for placement in planned] == [str(n) for n in range(len(names))]
        assert not any(map(os.path.lexists, targets))
        for target in targets:  # each can be made, and none is another by another spelling
            with target.open("x"):
                pass
        assert len({str(target).casefold() for target in targets}) == len(names)


@pytest.mark.parametrize("put", [placing.link, placing.copy, placing.move])
def test_what_is_there_stays_there(put: object, tmp_path: Path) -> None:
    assert callable(put)
    source = tmp_path / "a.jpg"
    source.write_bytes(b"new")
    target = tmp_path / "to" / "a.jpg"
    target.parent.mkdir()
    target.write_bytes(b"old")
    (tmp_path / "to" / "a (2).jpg").symlink_to("nowhere")
    placed = put(source, target)
    assert placed == tmp_path / "to" / "a (3).jpg"
    assert (target.read_bytes(), placed.read_bytes()) == (b"old", b"new")
    assert sorted(path.name for path in target.parent.iterdir()) == ["a (2).jpg", "a (3).jpg", "a.jpg"]
    assert source.exists() is (put is not placing.move)


def test_a_name_that_is_as_long_as_can_be_is_shortened(tmp_path: Path) -> None:
    name = "ü" * 125 + ".jpg"
    for number in range(2):
        (tmp_path / str(number)).touch()
        placing.move(tmp_path / str(number), tmp_path / "to" / name)
    found = sorted(path.name for path in (tmp_path / "to").iterdir())
    assert found == sorted([name, "ü" * 123 + " (2).jpg"])


def test_a_link_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    with pytest.raises(OSError, match="link"):
        placing.move(tmp_path / "b.jpg", tmp_path / "to" / "b.jpg")
    assert (tmp_path / "b.jpg").read_bytes() == b"a"


def test_where_there_are_no_hard_links_nothing_is_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.jpg").write_bytes(b"new")
    (tmp_path / "b.jpg").write_bytes(b"old")
    assert placing.move(tmp_path / "a.jpg", tmp_path / "b.jpg") == tmp_path / "b (2).jpg"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "b.jpg": b"old",
        "b (2).jpg": b"new",
    }


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_a_move_to_another_disk_is_a_copy_with_its_times(tmp_path: Path, other_disk: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(bytes(range(256)) * 10_000)
    os.utime(source, ns=(10**18, 10**18))
    placed = placing.move(source, other_disk / "sub" / "a.jpg")
    assert placed.read_bytes() == bytes(range(256)) * 10_000
    assert placed.stat().st_mtime_ns == 10**18
    assert not source.exists()
    assert [path.name for path in placed.parent.iterdir()] == ["a.jpg"]


def test_a_move_that_fails_leaves_the_file_and_nothing_else(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.jpg").write_bytes(b"a")
    with pytest.raises(OSError, match="No space"):
        placing.move(tmp_path / "a.jpg", other_disk / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == b"a"
    assert list(other_disk.iterdir()) == []
