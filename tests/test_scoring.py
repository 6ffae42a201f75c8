"""`clipsearch score`: cosines of pictures and texts, and of the rows of a table."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import program
import pytest
from mean_color import COLORS, paint

from clipsearch import scoring
from clipsearch.cli import main

if TYPE_CHECKING:
    Capture = pytest.CaptureFixture[bytes]

MODEL = ("--model", "ViT-B-32/openai")  # stands for the tiny encoder
ODD = os.fsdecode("zwölf, 🐕\n".encode() + b"\xff.png")
# Unit vectors along (256, 1, 1) and (1, 256, 1), by hand.
SAME, OTHER = 1.0, (256 + 256 + 1) / (256**2 + 2)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{name}.png", COLORS[name])
    paint(tmp_path / "photos" / ODD, COLORS["red"])
    return tmp_path / "photos"


def run(capsys: Capture, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    got = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert got == code, err
    return out.decode("utf-8", "surrogateescape"), err.decode()


@pytest.fixture
def caps(capfdbinary: Capture) -> Capture:
    return capfdbinary


def test_every_picture_is_scored_with_every_text(photos: Path, caps: Capture) -> None:
    said = ("score", "red", "green", *MODEL, "--format", "json", "--", photos)
    got = json.loads(run(caps, *said)[0])
    assert [(one["text"], Path(one["path"]).name) for one in got[:4]] == [
        *(("red", "red.png"), ("red", ODD)),  # equal ones by path
        *(("red", "blue.png"), ("red", "green.png")),
    ]
    assert [one["text"] for one in got[4:]] == ["green"] * 4
    assert [one["score"] for one in got[:4]] == pytest.approx([SAME, SAME, OTHER, OTHER], abs=1e-5)


def test_texts_and_pictures_come_from_files_too(photos: Path, tmp_path: Path, caps: Capture) -> None:
    (tmp_path / "texts").write_text("\ufeffgreen\r\nred\n\n")
    (tmp_path / "images").write_bytes(os.fsencode(photos / "green.png") + b"\0" + os.fsencode(photos / ODD))
    said = ("score", *MODEL, "--texts", tmp_path / "texts", "--images", tmp_path / "images", "--limit", "1")
    rows = list(csv.DictReader(io.StringIO(run(caps, *said, "--format", "csv")[0])))
    assert [(row["text"], row["path"]) for row in rows] == [
        ("green", str(photos / "green.png")),
        ("red", str(photos / ODD)),
    ]
    out, _ = run(caps, "score", "red", *MODEL, "-0", "--min-score", "0.9", "--", photos)
    assert set(out.split("\0")) == {str(photos / "red.png"), str(photos / ODD), ""}


def test_rows_come_back_in_order_with_a_score_or_a_reason(
    photos: Path, caps: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_ROWS", 3)  # several parts
    (photos / "text.png").write_text("no picture")
    rows = [
        ["1", "red.png", "red", "SAME", ""],
        ["2", "gone.png", "red", "", "no such file"],
        ["3", ODD, 'red, "green"', None, ""],
        ["4", "red.png", "green", "OTHER", ""],
        ["5", "", "green", "", "no picture is named"],
        ["6", "blue.png", "", "", "no text"],
        ["7", "text.png", "red", "", "not an image of a known format"],
        ["8", "green.png", "green\nred", None, ""],
        ["9", "green.png", "red", "OTHER", ""],
    ]
    with (photos / "pairs.csv").open("w", newline="", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([["id", "Path", "Text"], *(row[:3] for row in rows)])
        stream.write("10,red.png,a, b\n\n11,red.png\n")
    out, said = run(caps, "score", "--pairs", photos / "pairs.csv", *MODEL)
    got = list(csv.reader(io.StringIO(out, newline="")))
    assert got[0] == ["id", "Path", "Text", "score", "reason"]
    for row, wanted in zip(got[1:], rows, strict=False):
        assert row[:3] == wanted[:3]
        assert row[4] == wanted[4]
        if wanted[3] is not None:
            figure = {"": None, "SAME": SAME, "OTHER": OTHER}[str(wanted[3])]
            assert (float(row[3]) if row[3] else None) == (figure and pytest.approx(figure, abs=1e-5))
    assert got[10] == ["10", "red.png", "a", " b", "", "4 cells in a table of 3 columns"]
    assert got[11] == ["11", "red.png", "", "", "no text"]
    assert len(got) == 12
    assert "6 without a score" in said
    out, said = run(caps, "score", "--pairs", photos / "pairs.csv", *MODEL, "--min-score", "0.9")
    assert [row[0] for row in csv.reader(io.StringIO(out, newline=""))] == ["id", "1"]
    assert "1 row written, 4 below 0.9 left out, 6 without a score left out" in said


def test_rows_without_a_header_come_through_a_pipe(
    photos: Path, caps: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"red.png\tred\ngreen.png\tred\n")))
    out, _ = run(caps, "score", "--pairs", "-", *MODEL)
    assert out == f"red.png\tred\t{SAME:.6f}\t\ngreen.png\tred\t{OTHER:.6f}\t\n"


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("red",), "no pictures to score", 2),
        (("--", "red.png"), "no texts", 2),
        (("red", "--pairs", "x.csv"), "--pairs has the texts", 2),
        (("--pairs", "x.csv", "--format", "json"), "--pairs writes CSV", 2),
        (("--pairs", "gone.csv"), "cannot be read", 2),
        (("--pairs", "scored.csv"), "a column 'score' already", 2),
        (("red", "--texts", "gone.txt", "--", "red.png"), "cannot be read", 2),
        (("red", "--", "gone.png"), "none of these pictures", 2),
        (("red", "--min-score", "0.9", "--", "blue.png", "gone.png"), "no picture scores that high", 1),
        (("--pairs", "scores.csv", "--min-score", "0.9"), "0 rows written", 1),
    ],
)
def test_what_cannot_be_scored_is_said(
    photos: Path,
    caps: Capture,
    *,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
    code: int,
) -> None:
    monkeypatch.chdir(photos)
    (photos / "scored.csv").write_text("path,text,score\n")
    (photos / "scores.csv").write_text("path,text\nblue.png,red\n")
    assert says in run(caps, "score", *MODEL, *arguments, code=code)[1]
