"""`clipsearch import`: what was embedded elsewhere answers as if it had been indexed here."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import program
import pytest
from embedded import embed
from mean_color import COLORS, MODEL, paint

from clipsearch import Library
from clipsearch.cli import main
from clipsearch.errors import UsageError
from clipsearch.importing import Places
from clipsearch.rows import Row, to_arrow
from clipsearch.shards import Shards, Skipped

pytest.importorskip("pyarrow")

Capture = pytest.CaptureFixture[str]

NAMES = ["a b.png", "zwölf 🐕.png", "two\nlines.png", os.fsdecode(b"latin-\xe9.png"), "deep/down/x.png"]


@pytest.fixture(autouse=True)
def _tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in [*NAMES, *(f"many/{number}.png" for number in range(60))]:
        paint(folder / name, tuple(random.integers(0, 255, 3).tolist()))
    (folder / "copy.png").write_bytes((folder / NAMES[0]).read_bytes())
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


def _answers(library: Library, count: int = 8) -> list[list[tuple[Path, float | None]]]:
    """To so many queries."""
    words = [*COLORS, *(f"word {number}" for number in range(count - len(COLORS)))]
    return [[(match.path, match.score) for match in library.search(word)] for word in words]


def _import(*arguments: Path | str) -> int:
    return main(["import", *map(str, arguments)])


def test_an_imported_library_answers_like_one_made_here(photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "out", size=7)
    assert _import(tmp_path / "out", "-L", tmp_path / "imported") == 0
    with Library(tmp_path / "imported") as imported, Library(tmp_path / "local") as local:
        local.index([photos])
        assert _answers(imported, 100) == _answers(local, 100)
        (root,) = imported.status().roots
        assert (root.path, root.photos, root.skipped) == (photos, 66, 1)
        (bad,) = imported.skipped()
        assert (bad.path, bad.reason) == (photos / "bad.jpg", "not an image of a known format")
        # The files are here: a refresh reads them once, and embeds none.
        report = imported.index(retry_skipped=True)
        assert (report.unchanged, report.embedded, report.new, report.removed) == (66, 0, 0, 0)
        assert _answers(imported) == _answers(local)


def test_photos_that_are_not_here_are_found_all_the_same(photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "out")
    with Library(tmp_path / "local") as local:
        local.index([photos])
        wanted = _answers(local)
    shutil.rmtree(photos)
    assert _import(tmp_path / "out", "-L", tmp_path / "imported") == 0
    with Library(tmp_path / "imported") as imported:
        assert _answers(imported) == wanted
        assert imported.similar(photos / NAMES[3], limit=1)[0].score is not None
        # A refresh finds none of them, and keeps them all.
        assert imported.index().offline == (photos,)
        assert _answers(imported) == wanted


def test_a_root_lies_elsewhere_here(photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "out")
    moved = photos.rename(tmp_path / "moved")
    assert _import(tmp_path / "out", "-L", tmp_path / "imported", "--root", f"{photos}={moved}") == 0
    with Library(tmp_path / "imported") as imported:
        assert {match.path for match in imported.newest(limit=100)} == {
            path for path in moved.rglob("*.png") if path.is_file()
        }


def test_a_second_import_changes_nothing_and_brings_what_is_new(
    photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, library = tmp_path / "out", tmp_path / "imported"
    embed(photos, out)
    assert _import(out, "-L", library) == 0
    assert capsys.readouterr().out.startswith(f"Imported 66 photos below {photos} in ")
    with Library(library) as opened:
        before = _answers(opened)
    assert _import(out, "-L", library, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["new"], report["changed"], report["unchanged"]) == (0, 0, 66)
    with Library(library) as opened:
        assert _answers(opened) == before
    paint(photos / "new.png", COLORS["red"])
    embed(photos, out)
    assert _import(out, "-L", library, "--json") == 0
    assert json.loads(capsys.readouterr().out)["new"] == 1
    with Library(library) as opened:
        assert opened.search("red", limit=1)[0].path == photos / "new.png"


def test_a_photo_that_was_read_here_stays_what_it_is(photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out, library = tmp_path / "out", tmp_path / "library"
    embed(photos, out)
    paint(photos / "many/0.png", COLORS["red"])
    with Library(library) as opened:
        opened.index([photos])
    assert _import(out, "-L", library, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["new"], report["kept"], report["unchanged"]) == (0, 1, 65)
    with Library(library) as opened:
        assert opened.search("red", limit=1)[0].path == photos / "many/0.png"
        assert opened.index().embedded == 0


def test_a_folder_inside_an_indexed_one_becomes_part_of_it(photos: Path, tmp_path: Path) -> None:
    with Library(tmp_path / "library") as library:
        library.index([photos / "deep"])
        embed(photos / "many", tmp_path / "out")
        embed(photos / "deep", tmp_path / "out")
        report = library.import_photos(str(tmp_path / "out"))
        assert (report.new, report.unchanged) == (60, 1)
        assert {root.path: root.photos for root in library.status().roots} == {
            photos / "deep": 1,
            photos / "many": 60,
        }


def test_addresses_need_a_folder_that_stands_for_them(tmp_path: Path, capsys: Capture) -> None:
    shards = Shards(str(tmp_path / "out"))
    shards.set_model(MODEL)
    row = Row("s3://bucket/photos/a.jpg", bytes(32), 3, 2, 1)
    lost = [Skipped("s3://bucket/photos/b.jpg", "why")]
    shards.write("x", to_arrow([row], np.eye(1, 3, dtype=np.float32), 3), lost)
    assert _import(tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: not a path on a disk: s3://bucket/photos/a.jpg")
    assert "--root s3://bucket=/mnt/photos" in err
    assert not Path(os.environ["CLIPSEARCH_LIBRARY"]).exists()
    assert _import(tmp_path / "out", "--root", "s3://bucket/=/nowhere/here") == 0
    with Library.open() as library:
        assert library.newest()[0].path == Path("/nowhere/here/photos/a.jpg")
        assert library.skipped()[0].path == Path("/nowhere/here/photos/b.jpg")


def test_the_longest_prefix_says_where_a_photo_is() -> None:
    places = Places({"/a": "/x", "/a/b/": "/y"})
    assert [places.here(path) for path in ("/a/1", "/a/b/1", "/ab/1", "/a/b")] == [
        "/x/1",
        "/y/1",
        "/ab/1",
        "/y/",
    ]


def test_photos_from_all_over_a_disk_are_no_root(tmp_path: Path) -> None:
    shards = Shards(str(tmp_path / "out"))
    shards.set_model(MODEL)
    rows = [Row(path, bytes(32), 3, 2, 1) for path in ("/data/x/a.jpg", "/data/b.jpg")]
    shards.write("x", to_arrow(rows, np.ones((2, 3), np.float32) / np.sqrt(3), 3), [])
    with Library.open() as library, pytest.raises(UsageError, match="no folder in common but /data"):
        library.import_photos(str(tmp_path / "out"))
    # ... unless that is what was embedded.
    shards.add_source("/data")
    with Library.open() as library:
        assert library.import_photos(str(tmp_path / "out")).roots == (Path("/data"),)


def test_embeddings_of_another_model_stay_outside(photos: Path, tmp_path: Path, capsys: Capture) -> None:
    embed(photos, tmp_path / "out")
    other = Shards(str(tmp_path / "other"))
    other.set_model(replace(MODEL, fingerprint="other"))
    other.write("x", to_arrow([Row("/a/b/c.jpg", bytes(32), 3, 2, 1)], np.eye(1, 3, dtype=np.float32), 3), [])
    assert _import(tmp_path / "out") == 0
    capsys.readouterr()
    assert _import(other.place) == 2
    assert capsys.readouterr().err.startswith("error: this library was made with mean-color")
    with Library.open() as library:
        assert library.status().photos == 66


@pytest.mark.parametrize("damage", ["model", "shard", "cut", "columns"])
def test_damaged_files_are_said_and_nothing_of_them_is_taken(
    photos: Path, tmp_path: Path, capsys: Capture, damage: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    embed(photos, out, size=100)
    (shard,) = out.glob("photos/*.parquet")
    data = shard.read_bytes()
    match damage:
        case "model":
            (out / "model.json").write_text("{}")
        case "shard":
            shard.write_bytes(data[:4] + bytes(byte ^ 255 for byte in data[4:-9]) + data[-9:])
        case "cut":
            shard.write_bytes(data[: len(data) // 2])
        case "columns":
            pq.write_table(pa.table({"path": ["x"]}), shard)
    assert _import(out) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: damaged, or not of clipsearch: {out}/")
    assert len(err.splitlines()) <= 2


def test_a_folder_without_embedded_photos_is_said(tmp_path: Path, capsys: Capture) -> None:
    assert _import(tmp_path) == 2
    assert capsys.readouterr().err.startswith(f"error: no embedded photos in {tmp_path}")
    assert _import(tmp_path, "--root", "nonsense") == 2
    assert "--root is 'nonsense'" in capsys.readouterr().err
