"""`clipsearch export`: every photo once, its vector in the same place."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import program
import pytest
from mean_color import paint

from clipsearch import Library
from clipsearch.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[bytes]

NAMES = ["a b.png", "zwölf 🐕.png", "two\nlines.png", os.fsdecode(b"latin-\xe9.png"), "deep/down/x.png"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture) -> Path:
    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    folder = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        paint(folder / name, (number * 50, 255 - number * 50, number * 9 % 256))
    (folder / "copy.png").write_bytes((folder / NAMES[0]).read_bytes())
    assert main(["index", str(folder)]) == 0
    capsysbinary.readouterr()
    return folder


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "paths"])
def test_every_photo_is_there_once_and_its_vector_in_the_same_place(
    photos: Path, tmp_path: Path, capsysbinary: Capture, form: str
) -> None:
    null = ["-0"] if form == "paths" else []
    assert main(["export", "--vectors", str(tmp_path / "v.npy"), "--format", form, *null]) == 0
    out = capsysbinary.readouterr().out
    if form == "paths":
        paths = [os.fsdecode(path) for path in out.split(b"\0")[:-1]]
    elif form == "csv":
        text = out.decode("utf-8", "surrogateescape")
        paths = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    else:
        records = json.loads(out) if form == "json" else [json.loads(line) for line in out.splitlines()]
        paths = [record["path"] for record in records]
    assert sorted(paths) == sorted(str(photos / name) for name in [*NAMES, "copy.png"])
    rows = np.load(tmp_path / "v.npy")
    assert (rows.dtype, len(rows)) == (np.dtype("<f2"), len(paths))
    with Library.open() as library:
        for path, row in zip(paths, rows.astype(np.float32), strict=True):
            (match, *_) = library.similar(path, include_self=True, limit=1)
            assert match.score == pytest.approx(1, abs=1e-3)
            scores = rows.astype(np.float32) @ row
            twins = {paths[place] for place in np.flatnonzero(scores > 1 - 1e-3)}
            assert str(match.path) in twins


@pytest.mark.usefixtures("photos")
def test_nothing_is_written_over(tmp_path: Path, capsysbinary: Capture) -> None:
    taken = tmp_path / "v.npy"
    taken.write_text("mine")
    assert main(["export", "--vectors", str(taken)]) == 2
    out, err = capsysbinary.readouterr()
    assert (out, taken.read_text()) == (b"", "mine")
    assert err.startswith(b"error: there is a file already")
    assert main(["export", "--vectors", str(tmp_path / "no" / "v.npy")]) == 2
    assert capsysbinary.readouterr().err.startswith(b"error: no such folder")
    assert main(["export", "--vectors", str(tmp_path / "none.npy"), "--on", "1999"]) == 1
    assert capsysbinary.readouterr().err == b"no photo passes the filters\n"


@pytest.mark.usefixtures("photos")
def test_filters_choose_what_is_exported(capsysbinary: Capture) -> None:
    assert main(["export", "--glob", "deep/*"]) == 0
    assert len(capsysbinary.readouterr().out.splitlines()) == 2
