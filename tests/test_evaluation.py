"""`clipsearch eval`: its figures are those worked out by hand."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import program
import pytest
from mean_color import COLORS, paint
from PIL import Image

from clipsearch.cli import main
from clipsearch.evaluation import first_ranks, retrieval, zero_shot

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "ViT-B-32/openai")  # stands for the tiny encoder
REDDISH = (255, 60, 0)
# "green blue" is nearer to every other photo than to the red one, and the reddish one is nearest to "red".
CAPTIONS = [
    ("red.png", "red"),
    ("red.png", "green blue"),
    ("green.png", "green"),
    ("blue.png", "blue"),
    ("reddish.png", "red green"),
]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("red", "green", "blue"):
        paint(tmp_path / f"{name}.png", COLORS[name])
    paint(tmp_path / "reddish.png", REDDISH)
    return tmp_path


def run(capsys: Capture, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    got = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert got == code, said.err
    return said.out, said.err


def evaluated(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    (record,) = json.loads(run(capsys, "eval", *arguments, "--format", "json")[0])
    return dict(record)


def table(file: Path, rows: list[tuple[str, ...]], *, header: str = "path,caption", mark: str = ",") -> Path:
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        if header:
            stream.write(header.replace(",", mark) + "\n")
        csv.writer(stream, delimiter=mark).writerows(rows)
    return file


def test_recall_and_rank_are_those_worked_out_by_hand(photos: Path, capsys: Capture) -> None:
    got = evaluated(capsys, table(photos / "captions.csv", CAPTIONS), *MODEL)
    # Ranks 1, 4, 1, 1, 1 of 4 photos; then 1, 1, 1, 2 of 5 texts: a photo with two captions counts once.
    assert {key: value for key, value in got.items() if "_to_" in key} == {
        "text_to_photo_queries": 5,
        "text_to_photo_candidates": 4,
        "text_to_photo_recall_1": 0.8,
        "text_to_photo_recall_5": 1.0,
        "text_to_photo_recall_10": 1.0,
        "text_to_photo_mrr": 0.85,
        "photo_to_text_queries": 4,
        "photo_to_text_candidates": 5,
        "photo_to_text_recall_1": 0.75,
        "photo_to_text_recall_5": 1.0,
        "photo_to_text_recall_10": 1.0,
        "photo_to_text_mrr": 0.875,
    }
    assert got["photos"] == 4
    assert got["photos_per_second"] > 0
    assert got["zero_shot_top_1"] is None


def test_accuracy_is_that_worked_out_by_hand(photos: Path, capsys: Capture) -> None:
    for label, name in (("red", "a"), ("green", "a"), ("green", "b"), ("blue", "a")):
        paint(photos / "sorted" / label / f"{name}.png", COLORS["blue" if name == "b" else label])
    paint(photos / "sorted" / "red" / "deep" / "b.png", REDDISH)
    paint(photos / "sorted" / "loose.png", REDDISH)
    got = evaluated(capsys, "--labels", photos / "sorted", *MODEL)
    assert (got["zero_shot_photos"], got["zero_shot_labels"]) == (5, 3)
    assert got["zero_shot_top_1"] == 0.8
    assert got["zero_shot_top_5"] is None  # of three labels, five are no achievement
    assert got["zero_shot_per_class"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-6)
    rows = [
        (f"sorted/{label}/{name}.png", label) for label, name in (("red", "a"), ("green", "b"), ("blue", "a"))
    ]
    got = evaluated(capsys, "--labels", table(photos / "l.tsv", rows, header="", mark="\t"), *MODEL)
    assert got["zero_shot_per_class"] == got["zero_shot_top_1"] == pytest.approx(2 / 3, abs=1e-6)


def test_figures_are_those_of_the_formulas() -> None:
    random = np.random.default_rng(7)
    scores = random.integers(0, 6, (40, 30)).astype(np.float32)  # many are equal
    asked, owners = random.integers(0, 12, 40), random.permutation(np.arange(30) % 12)
    ranks = first_ranks(scores, asked, np.eye(30, dtype=np.float32), owners)
    for row, about, rank in zip(scores, asked, ranks, strict=True):
        order = np.argsort(-row, kind="stable")
        assert rank == 1 + next(place for place, one in enumerate(order) if owners[one] == about)
    found = retrieval(ranks, 30)
    for k, share in ((1, found.recall_1), (5, found.recall_5), (10, found.recall_10)):
        # As CLIP_benchmark has it: whether there is any right one among the first k.
        hits = [
            any(owners[one] == about for one in np.argsort(-row, kind="stable")[:k])
            for row, about in zip(scores, asked, strict=True)
        ]
        assert share == np.mean(hits)
    assert found.mrr == pytest.approx(np.mean([1 / rank for rank in ranks]))
    sorted_out = zero_shot(np.array([1, 2, 6, 1, 1]), np.array([0, 0, 0, 1, 3]), 7)
    assert (sorted_out.top_1, sorted_out.top_5) == (3 / 5, 4 / 5)
    assert sorted_out.per_class == pytest.approx((1 / 3 + 1 + 1) / 3)


def test_equal_scores_are_no_merit() -> None:
    same = np.ones((4, 1), np.float32)
    ranks = first_ranks(same, np.arange(4), same, np.arange(4))
    assert ranks.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "header", "mark"),
    [
        ("a.csv", "path,caption", ","),
        ("a.csv", "", ","),
        ("a.txt", "", "\t"),
        ("a.csv", "Caption;File", ";"),
        ("a.tsv", "\ufefffilepath,title", "\t"),
    ],
)
def test_tables_are_read_as_they_come(
    photos: Path, capsys: Capture, name: str, header: str, mark: str
) -> None:
    rows = [(text, file) if header.startswith("Caption") else (file, text) for file, text in CAPTIONS]
    got = evaluated(capsys, table(photos / name, rows, header=header, mark=mark), *MODEL)
    assert (got["text_to_photo_queries"], got["text_to_photo_mrr"]) == (5, 0.85)


def test_what_is_missing_is_counted_and_the_rest_measured(photos: Path, capsys: Capture) -> None:
    odd = os.fsdecode("zwölf 🐕\n".encode() + b"\xff.png")
    paint(photos / odd, COLORS["red"])
    (photos / "text.png").write_text("no picture")
    rows = [(odd, "red"), ("gone.png", "red"), ("text.png", "blue"), ("green.png", "green"), ("blue.png", "")]
    rows += [("green.png", "b\udcffd"), ("", "red"), ("nul\0.png", "red")]
    out, said = run(capsys, "eval", table(photos / "captions.csv", rows), *MODEL, "--format", "jsonl")
    got = json.loads(out)
    assert (got["photos"], got["text_to_photo_queries"], got["text_to_photo_recall_1"]) == (2, 2, 1.0)
    assert "3 of 8 rows left out" in said
    assert "3 of 5 photos left out" in said
    assert "gone.png (no such file)" in said


def test_models_stand_side_by_side_in_every_format(photos: Path, capsys: Capture) -> None:
    file = table(photos / "captions.csv", CAPTIONS)
    labels = table(photos / "labels.csv", CAPTIONS[2:4], header="path,label")
    both = ("eval", file, "--labels", labels, *MODEL, "--model", "ViT-B-16/openai")
    rows = list(csv.DictReader(run(capsys, *both, "--format", "csv")[0].splitlines()))
    assert [row["text_to_photo_recall_1"] for row in rows] == ["0.8", "0.8"]
    out, said = run(capsys, *both, "--plot", photos / "chart.png")
    assert out.splitlines()[0].startswith("text to photo\t80.0%\t100.0%\t100.0%\t0.850\t")
    assert [line.partition("\t")[0] for line in out.splitlines()] == [
        *("text to photo", "text to photo", "photo to text", "photo to text"),
        *("2 labels", "2 labels"),
    ]
    assert "picture written" in said
    with Image.open(photos / "chart.png") as chart:
        assert chart.width == 960
    assert "there is a file already" in run(capsys, *both, "--plot", photos / "chart.png", code=2)[1]


def test_stored_embeddings_are_used_until_asked_otherwise(photos: Path, capsys: Capture) -> None:
    run(capsys, "index", photos, *MODEL)
    paint(photos / "elsewhere.png", COLORS["grey"])
    file = table(photos / "captions.csv", CAPTIONS)
    got = evaluated(capsys, file)
    assert (got["photos_per_second"], got["text_to_photo_mrr"]) == (None, 0.85)
    again = evaluated(capsys, file, "--again")
    assert again["photos_per_second"] > 0
    assert again["text_to_photo_mrr"] == 0.85
    some = evaluated(capsys, table(photos / "more.csv", [*CAPTIONS, ("elsewhere.png", "grey")]))
    assert (some["photos"], some["photos_per_second"]) == (5, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no row with a photo and a caption"),
        ("red.png\n", "has one column"),
        ("path,label\nred.png,red\n", "no column of texts"),
        ("path,caption\n" + '"' * 3, "no row with a photo"),
        ("p\0th", "not UTF-8 text"),
        ("path,caption\nnone.png,red\n", "none of these photos"),
    ],
)
def test_a_bad_table_is_one_clear_line(photos: Path, capsys: Capture, text: str, says: str) -> None:
    (photos / "bad.csv").write_text(text)
    assert says in run(capsys, "eval", photos / "bad.csv", *MODEL, code=2)[1]


def test_nothing_to_measure_is_said(photos: Path, capsys: Capture) -> None:
    assert "nothing to evaluate by" in run(capsys, "eval", code=2)[1]
    assert "cannot be read" in run(capsys, "eval", photos / "no.csv", code=2)[1]
    assert "cannot be read" in run(capsys, "eval", photos, *MODEL, code=2)[1]
    assert "fewer than two labels" in run(capsys, "eval", "--labels", photos, *MODEL, code=2)[1]
    assert "figures have no paths" in run(capsys, "eval", "x", "--format", "paths", code=2)[1]
    assert "unknown model" in run(capsys, "eval", "x", "--model", "nonsense", code=2)[1]


def test_the_builtin_model_on_real_photos(
    shared_photos: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    got = evaluated(capsys, shared_photos / "captions.tsv", "--model", "builtin")
    assert (got["photos"], got["text_to_photo_queries"]) == (51, 255)
    assert got["text_to_photo_recall_1"] > 2 / 51  # twice what chance finds
