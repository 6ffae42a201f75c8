"""The parts of the job on a cluster that need no cluster: sources, shards, one worker."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import program
import pytest
from embedded import embed
from mean_color import COLORS, MODEL, paint, unit

from clipsearch.cli import main
from clipsearch.cluster.nodes import Share, share
from clipsearch.cluster.plan import LEAST, MOST, Tally, cut, items_of, name_of, table_of
from clipsearch.cluster.source import Item, source_of
from clipsearch.cluster.worker import Task, Worker
from clipsearch.errors import ClusterError, ModelMismatchError, UsageError
from clipsearch.rows import from_arrow, row_id
from clipsearch.shards import Shards

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["a b.png", "zwölf 🐕.png", "two\nlines.png", os.fsdecode(b"latin-\xe9.png"), "deep/down/x.png"]


@pytest.fixture(autouse=True)
def _tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        paint(folder / name, (number * 50, 255 - number * 50, number * 9 % 256))
    return folder


def _paths(place: Path | str, column: str | None = None) -> list[str]:
    return [item.path for item in source_of(str(place), column).items(lambda _: None)]


def _rows(target: Path) -> dict[str, tuple[dict[str, object], np.ndarray]]:
    return {
        row.path: (dict(row.extra), vector)
        for batch in Shards(str(target)).batches()
        for row, vector in zip(*from_arrow(batch), strict=True)
    }


# -- sources -----------------------------------------------------------------------------------------


def test_a_folder_is_walked_as_the_local_index_walks_it(photos: Path) -> None:
    (photos / "notes.txt").write_text("no photo")
    (photos / ".hidden.png").write_bytes(b"")
    assert sorted(_paths(photos)) == sorted(str(photos / name) for name in NAMES)
    assert source_of(str(photos)).folder == str(photos)


def test_videos_are_left_to_the_local_index_and_counted(photos: Path) -> None:
    (photos / "a.mp4").write_bytes(b"x")
    (photos / "b.mov").write_bytes(b"x")
    told: list[str] = []
    items = [item.path for item in source_of(str(photos)).items(told.append)]
    assert sorted(items) == sorted(str(photos / name) for name in NAMES)
    assert told == ["videos left out: 2; `clipsearch index` takes them in"]
    assert _paths(photos / "*.m*") == []


def test_a_glob_names_some_of_it_and_a_file_is_itself(photos: Path) -> None:
    (photos / "notes.txt").write_text("no photo")
    assert _paths(photos / "*.png") == sorted(str(photos / name) for name in NAMES[:4])
    assert _paths(photos / "**/x*") == [str(photos / NAMES[4])]
    assert _paths(photos / NAMES[2]) == [str(photos / NAMES[2])]
    assert source_of(str(photos / "*.png")).folder is None


def test_photos_in_another_file_system_are_found_below_their_address() -> None:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in ("a.jpg", "b/c.PNG", "b/.d.png", ".e/f.jpg", "b/notes.txt"):
        files.pipe_file(f"/bucket/{name}", b"12345")
    found = list(source_of("memory://bucket").items(lambda _: None))
    assert found == [Item("memory://bucket/a.jpg", 5), Item("memory://bucket/b/c.PNG", 5)]
    assert _paths("memory://bucket/*/*.PNG") == ["memory://bucket/b/c.PNG"]
    with pytest.raises(UsageError, match="no such place: memory://nothing"):
        _paths("memory://nothing")


def test_a_parquet_list_keeps_its_other_columns(photos: Path) -> None:
    table = {
        "Path": [NAMES[0], str(photos / NAMES[4]), None, "https://example.org/a%20b.jpg"],
        "caption": ["a", None, "c", "d"],
        "similarity": [0.5, float("nan"), 1.0, 2.0],
        "tags": [["x"], [], None, ["y", "z"]],
        "bytes": [b"1", b"2", b"3", b"4"],
    }
    pq.write_table(pa.table(table), photos / "list.parquet")
    told: list[str] = []
    found = list(source_of(str(photos / "list.parquet")).items(told.append))
    assert [(item.path, dict(item.extra)) for item in found] == [
        (str(photos / NAMES[0]), {"caption": "a", "similarity": 0.5, "tags": ["x"]}),
        (str(photos / NAMES[4]), {"tags": []}),
        ("https://example.org/a%20b.jpg", {"caption": "d", "similarity": 2.0, "tags": ["y", "z"]}),
    ]
    assert told == [f"{photos}/list.parquet: 1 rows without a Path, left out"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_csv_list_is_read_as_export_writes_it(photos: Path, suffix: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["n", "where"])
    writer.writerows([number, photos / name] for number, name in enumerate(NAMES))
    data = text.getvalue().encode("utf-8", "surrogateescape")
    file = photos / f"list.{suffix}"
    file.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    assert _paths(file, "where") == [str(photos / name) for name in NAMES]
    with pytest.raises(UsageError) as error:
        _paths(file)
    assert error.value.hint == "name one: --column; there are n, where"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("list.parquet", b"no", "no Parquet file that can be read"),
        ("list.csv", b"path\n" + b"x" * (1 << 21), "no CSV that can be read"),
        ("list.csv.gz", b"no", "cannot be read"),
    ],
)
def test_a_damaged_list_is_one_clear_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        _paths(tmp_path / name)


# -- shards ------------------------------------------------------------------------------------------


def test_what_is_finished_or_doubled_is_left_out() -> None:
    items = [Item(f"/p/{number % 90}.jpg", 10) for number in range(100)]
    known = np.sort(np.array([row_id(f"/p/{number}.jpg") for number in range(0, 90, 3)]))
    tally = Tally()
    tables = list(cut(items, known=known, workers=1, size=7, tally=tally))
    assert [table.num_rows for table in tables] == [7] * 8 + [4]
    assert [item.path for table in tables for item in items_of(table)] == [
        f"/p/{number}.jpg" for number in range(90) if number % 3
    ]
    assert (tally.items, tally.bytes, tally.finished, tally.doubled) == (60, 600, 30, 10)


@pytest.mark.parametrize(("count", "workers", "size"), [(100, 2, LEAST), (8000, 4, 500), (70_000, 4, MOST)])
def test_every_worker_gets_several_shards_of_a_bounded_size(count: int, workers: int, size: int) -> None:
    items = (Item(f"/{number}.jpg") for number in range(count))
    none = np.empty(0, np.int64)
    tables = list(cut(items, known=none, workers=workers, size=None, tally=Tally()))
    assert sum(table.num_rows for table in tables) == count
    assert {table.num_rows for table in tables[:-1]} <= {size}
    assert tables[0].num_rows == min(size, count)


def test_a_shard_is_named_by_its_photos() -> None:
    items = [Item(os.fsdecode(b"/caf\xe9.jpg"), 3, {"caption": "é"}), Item("/a.jpg")]
    there = items_of(table_of(items))
    assert there == [item._replace(size=None) for item in items]
    assert name_of(there) == name_of(items) != name_of(items[::-1])


# -- a worker ----------------------------------------------------------------------------------------


def test_a_worker_writes_what_the_local_pipeline_would_have_stored(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    (photos / "empty.png").write_bytes(b"")
    (photos / "copy.png").write_bytes((photos / NAMES[0]).read_bytes())
    target = tmp_path / "out"
    reports = embed(photos, target, size=100)
    assert [(one["photos"], one["encoded"], one["skipped"]) for one in reports] == [(6, 5, 2)]
    rows = _rows(target)
    assert sorted(rows) == sorted(str(photos / name) for name in [*NAMES, "copy.png"])
    for number, name in enumerate(NAMES):
        color = np.array([number * 50, 255 - number * 50, number * 9 % 256])
        assert np.array_equal(rows[str(photos / name)][1], unit(color + 1.0).astype(np.float16))
    shards = Shards(str(target))
    reasons = {one.path: one.reason for one in shards.skipped()}
    assert reasons[str(photos / "empty.png")] == "empty file"
    assert reasons.keys() == {str(photos / name) for name in ("bad.jpg", "empty.png")}
    assert (shards.model, shards.count(), shards.sources()) == (MODEL, 6, [str(photos)])
    assert set(shards.ids()) == {row_id(path) for path in [*rows, *reasons]}


def test_a_second_run_embeds_what_is_new_and_changes_no_file(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert sum(one["photos"] for one in embed(photos, target)) == 5
    before = {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    assert embed(photos, target) == []
    paint(photos / "new.png", COLORS["red"])
    assert [one["photos"] for one in embed(photos, target)] == [1]
    assert before.items() <= {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}.items()
    assert len(_rows(target)) == 6


def test_photos_of_tars_come_with_what_lies_beside_them(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        picture = paint(tmp_path / "p.png", COLORS["green"]).read_bytes()
        for name, data in {
            "x/1.json": json.dumps({"license": 4, "nothing": None}).encode(),
            "x/1.png": picture,
            "x/1.txt": b" a caption\n",
            "x/2.seg.png": picture + b"1",
            "x/3.png": b"",
            "x/4.cls": b"7",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    whole = (tmp_path / "00.tar").read_bytes()
    (tmp_path / "01.tar").write_bytes(whole[: whole.index(b"x/2.seg")])
    target = tmp_path / "out"
    reports = embed(tmp_path / "0*.tar", target)
    assert [(one["photos"], one["skipped"]) for one in reports] == [(2, 1), (1, 0)]
    rows = _rows(target)
    for tar_name in ("00.tar", "01.tar"):
        assert rows[f"{tmp_path}/{tar_name}/x/1.png"][0] == {"license": 4, "caption": "a caption"}
    assert rows[f"{tmp_path}/00.tar/x/2.seg.png"][0] == {}
    assert list(Shards(str(target)).skipped()) == [(f"{tmp_path}/00.tar/x/3.png", "empty file")]


def test_a_place_that_is_away_is_an_error_and_not_a_folder_of_bad_photos(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"/nowhere/{n}.jpg\n" for n in range(9)))
    (report,) = embed(tmp_path / "list.csv", tmp_path / "out", size=100)
    assert report["error"] == "UsageError"
    assert report["message"].startswith("9 of 9 photos cannot be reached from ")
    assert Shards(str(tmp_path / "out")).finished() == set()
    # One that vanished meanwhile is no reason to stop.
    (photos / "gone.png").symlink_to("/nowhere/x.png")
    (tmp_path / "more.csv").write_text(f"path\n{photos}/gone.png\n" + f"{photos}/a b.png\n")
    (report,) = embed(tmp_path / "more.csv", tmp_path / "out", size=100)
    assert (report["error"], report["photos"], report["skipped"]) == (None, 1, 1)


def test_a_target_that_cannot_be_written_is_said(photos: Path, tmp_path: Path) -> None:
    embed(photos / "a b.png", tmp_path / "out")
    blocked = tmp_path / "out" / "photos"
    blocked.rename(tmp_path / "elsewhere")
    blocked.write_text("in the way")
    reports = embed(photos / "deep", tmp_path / "out")
    assert [one["error"] for one in reports] == ["OutputError"]
    assert reports[0]["message"].startswith(f"cannot be written: {tmp_path}/out")


def test_embeddings_of_two_models_never_meet(photos: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "out"
    embed(photos, target)
    assert main(["cluster", "index", str(photos), "--to", str(target), "--model", "builtin"]) == 2
    assert "was made with mean-color, not with builtin" in capsys.readouterr().err
    with pytest.raises(ModelMismatchError, match="weights have changed"):
        Shards(str(target)).set_model(replace(MODEL, fingerprint="other"))
    # What a node has loaded is held against what was written down.
    paint(photos / "new.png", COLORS["red"])
    task = Task(
        target=str(target),
        is_tars=False,
        is_remote=False,
        model=replace(MODEL, fingerprint="other"),
        device="cpu",
        batch_size=None,
        photos=1,
    )
    (report,) = Worker(task)(table_of([Item(str(photos / "new.png"))])).to_pylist()
    assert report["error"] == "ModelMismatchError"


# -- the cluster -------------------------------------------------------------------------------------


def _node(cpu: float, gpu: float = 0, *, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpu, "GPU": gpu}}


@pytest.mark.parametrize(
    ("nodes", "options", "wanted"),
    [
        ([_node(8), _node(4), _node(0), _node(64, alive=False)], {}, Share(4, 0, 3)),
        ([_node(2)], {}, Share(2, 0, 1)),
        ([_node(2)], {"workers": 2}, Share(1, 0, 2)),
        ([_node(8)], {"cores": 3}, Share(3, 0, 2)),
        ([_node(16, 4), _node(32, 2), _node(8)], {}, Share(4, 1, 6)),
        ([_node(8, 1)], {"cores": 2}, Share(2, 1, 1)),
    ],
)
def test_nodes_are_shared_out(nodes: list[dict[str, object]], options: dict[str, int], wanted: Share) -> None:
    assert share(nodes, **({"workers": None, "cores": None} | options)) == wanted


def test_a_cluster_without_cores_is_said() -> None:
    with pytest.raises(ClusterError, match="no node of the cluster has a processor core"):
        share([_node(0)], workers=None, cores=None)
    with pytest.raises(ClusterError, match="no node of the cluster has 8 cores"):
        share([_node(4)], workers=None, cores=8)


MISSING = {
    "ray": "this needs Ray, which is not installed",
    "pyarrow": "Parquet files need the package pyarrow",
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_package_that_is_missing_names_its_install_command(
    photos: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["cluster", "index", str(photos), "--to", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.splitlines() == [f"error: {MISSING[missing]}", 'hint: pip install "clipsearch[cluster]"']


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere"], "no such file or folder: /nowhere"),
        (["https://example.org/album"], "a web page lists no photos"),
        ([".", "--column", "x"], "not a list with columns: ."),
        ([".", "--ray", "nonsense"], "not the address of a Ray cluster: nonsense"),
        (
            [".", "--ray", "127.0.0.1:1"],
            "the Ray cluster at 127.0.0.1:1 cannot be reached (connection refused)",
        ),
        ([".", "--weights", "x"], "weights without an architecture"),
        (["gopher://x/y"], "no such kind of place: gopher://x/y"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    tmp_path: Path, capsys: Capture, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", "index", *arguments, "--to", "out"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {said}")
    assert not (tmp_path / "out").exists()
