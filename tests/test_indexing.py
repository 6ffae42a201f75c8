"""An index run does exactly what changed on disk, says so, and can be stopped anywhere."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mean_color import MODEL, MeanColor, paint

from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.scope import Scope
from clipsearch.errors import ModelMismatchError, UsageError
from clipsearch.indexing import Indexer
from clipsearch.photos.guarded import Decoder
from clipsearch.roots import Walk, plan
from clipsearch.types import IndexProgress, IndexReport, Listeners

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Promised

    from clipsearch.types import Model

COUNTS = ("new", "changed", "moved", "copied", "removed", "unchanged", "skipped", "still_skipped", "embedded")


class Bench:
    """A folder of photos and a library, indexed with the mean-colour encoder."""

    def __init__(self, tmp_path: Path) -> None:
        self.photos = tmp_path / "photos"
        self.photos.mkdir()
        self.folder = tmp_path / "library"
        self.folder.mkdir()
        self.encoder = MeanColor()
        self.loads = 0

    def paint(self, name: str, number: int) -> Path:
        """A picture whose colour, hence content, follows from a number."""
        return paint(self.photos / name, (number * 7 % 256, number * 13 % 256, number))

    def index(self, *roots: Path, exclude=(), retry_skipped=False, stop=lambda: False, listeners=Listeners()):
        def load(_: int) -> MeanColor:
            self.loads += 1
            return self.encoder

        with Catalog(self.folder, write=True) as catalog:
            indexer = Indexer(catalog, catalog.current_model(), load, listeners=listeners, stop=stop)
            return indexer.run(plan(catalog, roots, exclude), retry_skipped=retry_skipped)

    def run(self, load: Callable[[int], MeanColor], foretold: Model) -> IndexReport:
        """The first run, with a model that is known before it is loaded."""
        with Catalog(self.folder, write=True) as catalog:
            indexer = Indexer(
                catalog, None, load, listeners=Listeners(), stop=lambda: False, foretell=lambda: foretold
            )
            return indexer.run(plan(catalog, [self.photos], ()), retry_skipped=False)

    def known(self) -> dict[str, list[float]]:
        """Path relative to the photos folder, and stored vector, of everything in the catalog."""
        with Catalog(self.folder) as catalog:
            key, model = catalog.current_model()
            found = {}
            for _, contents, rows in catalog.vectors(model, key):
                photos = catalog.photos(contents.tolist(), Scope())
                for content, row in zip(contents.tolist(), rows, strict=True):
                    for photo in photos.get(content, ()):
                        found[photo.path.relative_to(self.photos.parent).as_posix()] = row.tolist()
            return found

    def on_disk(self) -> set[str]:
        return {path.relative_to(self.photos.parent).as_posix() for path in self.photos.rglob("*.png")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def counts(report: IndexReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


def test_each_photo_gets_the_embedding_of_its_pixels(bench: Bench) -> None:
    for number in range(10):
        bench.paint(f"{number % 3}/{number}.png", number)
    assert counts(bench.index(bench.photos)) == {"new": 10, "embedded": 10}
    known = bench.known()
    assert set(known) == bench.on_disk()
    for number in range(10):
        pixels = np.full((1, 8, 8, 3), (number * 7 % 256, number * 13 % 256, number), np.uint8)
        np.testing.assert_allclose(
            known[f"photos/{number % 3}/{number}.png"], MeanColor().encode(pixels)[0], atol=1e-3
        )


def test_a_second_run_touches_nothing_and_loads_no_model(bench: Bench) -> None:
    for number in range(5):
        bench.paint(f"{number}.png", number)
    bench.index(bench.photos)
    assert counts(bench.index()) == {"unchanged": 5}
    assert (bench.loads, bench.encoder.embedded) == (1, 5)


def test_photos_are_read_while_a_model_is_loaded_that_is_foretold(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        bench.paint(f"{number}.png", number)
    is_read = threading.Event()
    decode = Decoder.decode

    def decoded(self: Decoder, *given: Any) -> Any:
        is_read.set()
        return decode(self, *given)

    def load(_: int) -> MeanColor:
        assert is_read.wait(60), "nothing is read before the model is there"
        return bench.encoder

    monkeypatch.setattr(Decoder, "decode", decoded)
    assert counts(bench.run(load, bench.encoder.model)) == {"new": 5, "embedded": 5}
    assert set(bench.known()) == bench.on_disk()


def test_a_model_that_is_not_the_one_foretold_embeds_nothing(bench: Bench) -> None:
    bench.paint("1.png", 1)
    with pytest.raises(ModelMismatchError):
        bench.run(lambda _: bench.encoder, replace(bench.encoder.model, fingerprint="another"))
    with Catalog(bench.folder) as catalog:
        assert (catalog.current_model(), catalog.count_photos()) == (None, 0)
    assert counts(bench.index(bench.photos)) == {"new": 1, "embedded": 1}


def test_renames_copies_deletions_and_edits_are_told_apart_and_only_edits_embedded(bench: Bench) -> None:
    for number in range(200):
        bench.paint(f"{number // 50}/{number}.png", number)
    bench.index(bench.photos)
    bench.encoder.embedded = 0
    (bench.photos / "moved").mkdir()
    for number in range(50):
        (bench.photos / f"0/{number}.png").rename(bench.photos / f"moved/{number}.png")
    for number in range(50, 75):
        shutil.copy(bench.photos / f"1/{number}.png", bench.photos / f"1/{number}-copy.png")
    for number in range(100, 115):
        (bench.photos / f"2/{number}.png").unlink()
    for number in range(150, 160):
        paint(bench.photos / f"3/{number}.png", (number, 1, 2), size=(20, 20))
    report = bench.index()
    assert counts(report) == {
        "moved": 50, "copied": 25, "removed": 15, "changed": 10, "unchanged": 125, "embedded": 10,
    }  # fmt: skip
    assert bench.encoder.embedded == 10
    assert set(bench.known()) == bench.on_disk()
    assert counts(bench.index()) == {"unchanged": 210}


def test_swapping_two_photos_changes_both_and_embeds_none(bench: Bench) -> None:
    one, two = bench.paint("1.png", 1), bench.paint("2.png", 2)
    bench.index(bench.photos)
    before = bench.known()
    one.rename(bench.photos / "x")
    two.rename(one)
    (bench.photos / "x").rename(two)
    os.utime(one, (1, 1))
    os.utime(two, (2, 2))
    assert counts(bench.index()) == {"changed": 2}
    after = bench.known()
    assert (after["photos/1.png"], after["photos/2.png"]) == (before["photos/2.png"], before["photos/1.png"])


def test_a_touched_file_is_unchanged(bench: Bench) -> None:
    path = bench.paint("1.png", 1)
    bench.index(bench.photos)
    os.utime(path, (1, 1))
    assert counts(bench.index()) == {"unchanged": 1}
    assert bench.encoder.embedded == 1


def test_copies_that_come_together_are_embedded_once(bench: Bench) -> None:
    for name in ("a.png", "b.png", "c/d.png"):
        bench.paint(name, 1)
    assert counts(bench.index(bench.photos)) == {"new": 1, "copied": 2, "embedded": 1}
    assert len(bench.known()) == 3


def test_a_photo_that_comes_back_is_not_embedded_again(bench: Bench) -> None:
    path = bench.paint("1.png", 1)
    bench.paint("2.png", 2)
    bench.index(bench.photos)
    path.unlink()
    assert counts(bench.index()) == {"removed": 1, "unchanged": 1}
    assert set(bench.known()) == {"photos/2.png"}
    bench.paint("again.png", 1)
    assert counts(bench.index()) == {"new": 1, "unchanged": 1}
    assert bench.encoder.embedded == 2


def test_a_bad_file_is_skipped_with_its_reason_and_left_alone_until_it_changes(bench: Bench) -> None:
    bench.paint("good.png", 1)
    bad = bench.photos / "bad.jpg"
    bad.write_bytes(b"no picture at all")
    (bench.photos / "empty.png").touch()
    assert counts(bench.index(bench.photos)) == {"new": 1, "skipped": 2, "embedded": 1}
    with Catalog(bench.folder) as catalog:
        reasons = {file.path.name: file.reason for file in catalog.skipped()}
    assert set(reasons) == {"bad.jpg", "empty.png"}
    assert reasons["empty.png"] == "empty file"
    assert counts(bench.index()) == {"unchanged": 1, "still_skipped": 2}
    assert counts(bench.index(retry_skipped=True)) == {"unchanged": 1, "skipped": 2}
    bench.paint("bad.jpg", 9)
    assert counts(bench.index()) == {"new": 1, "unchanged": 1, "still_skipped": 1, "embedded": 1}
    (bench.photos / "empty.png").unlink()
    bench.index()
    with Catalog(bench.folder) as catalog:
        assert catalog.skipped() == []


def test_a_photo_that_becomes_unreadable_leaves_the_results(bench: Bench) -> None:
    path = bench.paint("1.png", 1)
    bench.paint("2.png", 2)
    bench.index(bench.photos)
    path.write_bytes(path.read_bytes()[:40])
    assert counts(bench.index()) == {"skipped": 1, "unchanged": 1}
    assert set(bench.known()) == {"photos/2.png"}


@pytest.mark.parametrize("how", ["gone", "empty mount point"])
def test_an_unplugged_drive_keeps_its_photos_and_is_back_at_once(bench: Bench, how: str) -> None:
    for number in range(6):
        bench.paint(f"{number}.png", number)
    bench.index(bench.photos)
    away = bench.photos.with_name("away")
    bench.photos.rename(away)
    if how == "empty mount point":
        bench.photos.mkdir()
    report = bench.index()
    assert report.offline == (bench.photos,)
    assert counts(report) == {}
    assert len(bench.known()) == 6
    if how == "empty mount point":
        bench.photos.rmdir()
    away.rename(bench.photos)
    report = bench.index()
    assert (counts(report), report.offline) == ({"unchanged": 6}, ())


@pytest.mark.parametrize("how", ["empty mount point", "link to a folder", "link to a picture"])
def test_a_drive_within_a_root_keeps_its_photos(bench: Bench, promised: Promised, how: str) -> None:
    bench.paint("here.png", 1)
    drive = bench.photos.with_name("drive")
    paint(drive / "deep" / "there.png", (9, 9, 9))
    paint(drive / "there.png", (8, 8, 8))
    inside = bench.photos / "drive"
    if how == "empty mount point":
        drive.rename(inside)
        here, away, back = inside, drive, inside
    else:
        inside = inside.with_suffix(".png" if how == "link to a picture" else "")
        inside.symlink_to(drive / "there.png" if how == "link to a picture" else drive)
        here, away, back = drive, drive.with_name("unplugged"), drive
    bench.index(bench.photos)
    known = bench.known()
    here.rename(away)
    if how == "empty mount point":
        inside.mkdir()
    report = bench.index()
    assert (counts(report), report.offline) == ({"unchanged": 1}, (inside,))
    assert bench.known() == known
    if how == "empty mount point":
        inside.rmdir()
    away.rename(back)
    report = bench.index()
    assert (counts(report), report.offline) == ({"unchanged": len(known)}, ())
    promised("a drive that is unplugged is never forgotten", len(known) - 1, f"photos kept behind: {how}")


def test_photos_moved_out_of_a_folder_do_not_stay_in_it(bench: Bench) -> None:
    bench.paint("trip/1.png", 1)
    bench.paint("trip/2.png", 2)
    bench.index(bench.photos)
    (bench.photos / "trip" / "1.png").rename(bench.photos / "1.png")
    (bench.photos / "trip" / "2.png").unlink()
    report = bench.index()
    assert (counts(report), report.offline) == ({"moved": 1}, (bench.photos / "trip",))
    assert set(bench.known()) == {"photos/1.png", "photos/trip/2.png"}
    (bench.photos / "trip").rmdir()
    report = bench.index()
    assert (counts(report), report.offline) == ({"unchanged": 1, "removed": 1}, ())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_keeps_its_photos(bench: Bench) -> None:
    bench.paint("open/1.png", 1)
    bench.paint("locked/2.png", 2)
    bench.index(bench.photos)
    (bench.photos / "locked").chmod(0)
    try:
        report = bench.index()
    finally:
        (bench.photos / "locked").chmod(0o700)
    assert report.unreadable == (bench.photos / "locked",)
    assert counts(report) == {"unchanged": 1}
    assert len(bench.known()) == 2


def test_a_stopped_run_keeps_what_it_did_and_the_next_goes_on(bench: Bench) -> None:
    for number in range(40):
        bench.paint(f"{number:02}.png", number)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 15

    report = bench.index(bench.photos, stop=stop)
    assert report.interrupted
    assert 0 < report.embedded < 40
    assert len(bench.known()) == report.embedded == bench.encoder.embedded
    rest = bench.index()
    assert counts(rest) == {
        "new": 40 - report.embedded,
        "unchanged": report.embedded,
        "embedded": 40 - report.embedded,
    }
    assert bench.encoder.embedded == 40, "nothing was embedded twice"


def test_a_crash_of_the_model_loses_no_finished_batch(bench: Bench) -> None:
    for number in range(12):
        bench.paint(f"{number:02}.png", number)

    class Fails(MeanColor):
        def encode(self, items):
            if self.embedded >= 8:
                raise MemoryError("made to fail")
            return super().encode(items)

    bench.encoder = Fails()
    with pytest.raises(MemoryError):
        bench.index(bench.photos)
    assert len(bench.known()) == 8
    bench.encoder = MeanColor()
    assert counts(bench.index()) == {"new": 4, "unchanged": 8, "embedded": 4}


def test_a_stopped_run_forgets_no_photo_that_may_still_turn_up(bench: Bench) -> None:
    for number in range(10):
        bench.paint(f"{number}.png", number)
    bench.index(bench.photos)
    (bench.photos / "new").mkdir()
    for number in range(10):
        (bench.photos / f"{number}.png").rename(bench.photos / f"new/{number}.png")
    report = bench.index(stop=lambda: True)
    assert report.interrupted
    assert len(bench.known()) == 10
    report = bench.index()
    assert counts(report)["moved"] + counts(report).get("unchanged", 0) == 10
    assert report.removed == 0
    assert set(bench.known()) == bench.on_disk()


def test_weights_that_changed_are_refused(bench: Bench) -> None:
    bench.paint("1.png", 1)
    bench.index(bench.photos)
    bench.paint("2.png", 2)
    changed = MeanColor()
    changed.model = type(MODEL)(MODEL.source, "other", 3, 10.0, None, MODEL.preprocessing)
    bench.encoder = changed
    with pytest.raises(ModelMismatchError, match="weights have changed"):
        bench.index()
    assert set(bench.known()) == {"photos/1.png"}


def test_excludes_are_remembered_and_take_photos_out(bench: Bench) -> None:
    bench.paint("keep.png", 1)
    bench.paint("private/2.png", 2)
    bench.index(bench.photos)
    assert counts(bench.index(bench.photos, exclude=["private"])) == {"removed": 1, "unchanged": 1}
    assert counts(bench.index()) == {"unchanged": 1}


def test_a_folder_inside_a_root_refreshes_only_that_part(bench: Bench) -> None:
    for name in ("a/1.png", "b/2.png"):
        bench.paint(name, int(name[2]))
    bench.index(bench.photos)
    (bench.photos / "a/1.png").unlink()
    (bench.photos / "b/2.png").unlink()
    bench.paint("a/3.png", 3)
    bench.paint("b/4.png", 4)
    assert counts(bench.index(bench.photos / "a")) == {"new": 1, "removed": 1, "embedded": 1}
    assert set(bench.known()) == {"photos/a/3.png", "photos/b/2.png"}
    with Catalog(bench.folder) as catalog:
        assert [root.path for root in catalog.roots()] == [bench.photos]


def test_a_folder_in_a_root_is_refreshed_by_the_excludes_of_the_root(bench: Bench) -> None:
    bench.paint("private/1.png", 1)
    bench.paint("a/2.png", 2)
    bench.index(bench.photos, exclude=["private/*"])
    assert counts(bench.index(bench.photos / "private")) == {}
    assert set(bench.known()) == {"photos/a/2.png"}


def test_of_a_root_only_named_files_and_folders_are_compared_with_the_disk(bench: Bench) -> None:
    for number in range(6):
        bench.paint(f"{'aab'[number % 3]}/{number}.png", number)
    bench.index(bench.photos)
    for path in list(bench.photos.rglob("*.png")):
        path.unlink()
    bench.paint("a/9.png", 9)
    with Catalog(bench.folder, write=True) as catalog:
        walk = Walk(catalog.roots()[0], (b"a/0.png", b"a/9.png", b"b"))
        indexer = Indexer(
            catalog,
            catalog.current_model(),
            lambda _: bench.encoder,
            listeners=Listeners(),
            stop=lambda: False,
        )
        report = indexer.run([walk], retry_skipped=False)
    # An empty folder may be a drive's: its photos are kept.
    assert counts(report) == {"new": 1, "removed": 1, "embedded": 1}
    assert report.offline == (bench.photos / "b",)


def test_files_that_may_still_be_written_are_left_as_they_are(bench: Bench) -> None:
    for number in range(3):
        bench.paint(f"{number}.png", number)
    bench.index(bench.photos)
    for number, age in (0, 5), (1, 500), (3, 5), (4, -500):
        path = bench.paint(f"{number}.png", number + 50)
        os.utime(path, (time.time() - age, time.time() - age))
    with Catalog(bench.folder, write=True) as catalog:
        walk = Walk(catalog.roots()[0], quiet=60)
        model = catalog.current_model()
        indexer = Indexer(catalog, model, lambda _: bench.encoder, listeners=Listeners(), stop=lambda: False)
        report = indexer.run([walk], retry_skipped=False)
    assert counts(report) == {"new": 1, "changed": 1, "embedded": 2}
    assert set(bench.known()) == {f"photos/{number}.png" for number in (0, 1, 2, 4)}
    assert counts(bench.index(bench.photos)) == {"new": 1, "changed": 1, "unchanged": 3, "embedded": 2}


def test_a_folder_around_a_root_takes_it_in_without_embedding(bench: Bench) -> None:
    bench.paint("a/1.png", 1)
    bench.paint("2.png", 2)
    bench.index(bench.photos / "a")
    assert counts(bench.index(bench.photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert set(bench.known()) == bench.on_disk()


def test_one_folder_under_two_names_is_one_root(bench: Bench) -> None:
    bench.paint("1.png", 1)
    bench.index(bench.photos)
    link = bench.photos.with_name("link")
    link.symlink_to(bench.photos, target_is_directory=True)
    assert counts(bench.index(link)) == {"unchanged": 1}


def test_folders_that_cannot_be_indexed_are_named(bench: Bench) -> None:
    path = bench.paint("1.png", 1)
    for bad, says in ((bench.photos / "nowhere", "no such folder"), (path, "not a folder")):
        with pytest.raises(UsageError, match=says):
            bench.index(bad)
    with pytest.raises(UsageError, match="none yet"):
        bench.index()


def test_progress_counts_up_to_the_total(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsearch.indexing._SHOW_EVERY_S", 0)
    for number in range(10):
        bench.paint(f"{number}.png", number)
    seen: list[IndexProgress] = []
    bench.index(bench.photos, listeners=Listeners(index=seen.append))
    assert list(dict.fromkeys(moment.phase for moment in seen)) == [
        "scan",
        "load",
        "embed",
        "finish",
    ]
    embed = [moment for moment in seen if moment.phase == "embed"]
    assert [moment.done for moment in embed] == list(range(11))
    assert {moment.total for moment in embed} == {10}


def test_a_pipe_in_the_folder_is_never_waited_for(bench: Bench) -> None:
    bench.paint("1.png", 1)
    os.mkfifo(bench.photos / "pipe.png")
    assert counts(bench.index(bench.photos)) == {"new": 1, "embedded": 1}


def test_no_more_than_a_batch_is_embedded_before_it_is_committed(bench: Bench) -> None:
    """The first one, too, before which the model is loaded."""
    for number in range(60):
        bench.paint(f"{number}.png", number)
    ahead: list[int] = []
    encode = bench.encoder.encode

    def counted(items):
        with Catalog(bench.folder) as catalog:
            (kept,) = catalog.connection.execute("SELECT count(*) FROM embedding").fetchone()
        rows = encode(items)
        ahead.append(bench.encoder.embedded - kept)
        return rows

    bench.encoder.encode = counted
    assert bench.index(bench.photos).embedded == 60
    assert max(ahead) <= bench.encoder.batch_size + bench.encoder.batch_size // 2
