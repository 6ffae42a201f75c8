"""Tags and concepts through the command line, with the built-in model, on real photos."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from mean_color import MODEL, MeanColor

from clipsearch import Library, tagging
from clipsearch.catalog.catalog import FILE_NAME
from clipsearch.cli import main
from clipsearch.tagger import MOST, builtin_vocabulary, tagger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Capture = pytest.CaptureFixture[str]
KINDS = ("T-Shirt", "schooner", "strawberry", "gramophone")
EACH = 5
ODD = os.fsdecode("zwölf 🐕\nx".encode() + b"\xff.jpg")


class Made(NamedTuple):
    """A library that is tagged, its photos, and those of them that show a kind."""

    home: Path
    photos: Path
    kinds: dict[str, list[Path]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shared_photos: Path, builtin_cache: Path) -> Made:
    home = tmp_path_factory.mktemp("tags")
    with (shared_photos / "labels.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    kinds: dict[str, list[Path]] = {}
    for kind in KINDS:
        files = [row["file"] for row in rows if row["label"] == kind][:EACH]
        for number, name in enumerate(files):
            copy = home / "photos" / kind / (ODD if kind == "schooner" and not number else f"{number}.jpg")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shared_photos / name, copy)
            kinds.setdefault(kind, []).append(copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
        with Library.open(home / "library") as library:
            library.index([home / "photos"], model="builtin")
            report = library.tag()
    assert report.looked_at == len(KINDS) * EACH
    return Made(home, home / "photos", kinds)


@pytest.fixture
def made(
    whole: Made, tmp_path: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> Made:
    """A copy to change; the photos stay where they are."""
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    shutil.copytree(whole.home / "library", tmp_path / "library")
    capsys.readouterr()
    return whole


def run(capsys: Capture, *arguments: str | Path, code: int = 0) -> str:
    got = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert got == code, said.err
    return said.out if code == 0 else said.err


def tags(capsys: Capture, *arguments: str | Path) -> dict[str, list[str]]:
    out = run(capsys, "tag", "--photos", "--format", "jsonl", *arguments)
    return {record["path"]: record["tags"] for record in map(json.loads, out.splitlines())}


def test_tags_say_what_photos_show(made: Made, capsys: Capture) -> None:
    found = tags(capsys)
    assert sum("shirt" in found.get(str(path), ()) for path in made.kinds["T-Shirt"]) >= 3
    assert sum("sailboat" in found.get(str(path), ()) for path in made.kinds["schooner"]) >= 3
    assert all(0 < len(words) <= MOST for words in found.values())
    assert {word for words in found.values() for word in words} <= set(builtin_vocabulary())


def test_counts_are_of_the_photos_that_a_filter_finds(made: Made, capsys: Capture) -> None:
    listed = json.loads(run(capsys, "tag", "--list", "--format", "json"))
    counts = {row["tag"]: row["photos"] for row in listed}
    every = tags(capsys)
    for name, number in counts.items():
        having = {path for path, words in every.items() if name in words}
        assert len(having) == number
        assert set(tags(capsys, "--tag", name.upper())) == having
    inside = run(capsys, "tag", "--list", "--in", made.photos / "schooner", "--format", "csv")
    assert "sailboat" in inside
    assert "shirt" not in inside


@pytest.mark.usefixtures("made")
def test_commands_answer_with_photos_that_have_all_tags(capsys: Capture) -> None:
    both = {path for path, words in tags(capsys).items() if {"boat", "sailboat"} <= set(words)}
    out = run(capsys, "search", "shirt", "--tag", "boat", "--tag", "sailboat", "--format", "jsonl")
    assert {json.loads(line)["path"] for line in out.splitlines()} == both
    assert both
    said = run(capsys, "search", "shirt", "--tag", "sailbot", code=1)
    assert "near it: sailboat" in said


def test_only_new_photos_are_looked_at(made: Made, capsys: Capture) -> None:
    assert "looked at before" in run(capsys, "tag")
    before = tags(capsys)
    assert "Looked at 20 photos" in run(capsys, "tag", "--again")
    assert tags(capsys) == before
    run(capsys, "tag", "--forget", "--in", made.photos / "schooner")
    assert len(tags(capsys)) < len(before)
    assert "Looked at 5 photos" in run(capsys, "tag")
    assert tags(capsys) == before


@pytest.mark.usefixtures("made")
def test_an_interrupted_run_keeps_its_batches_and_the_next_goes_on(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tags(capsys)
    run(capsys, "tag", "--forget")
    monkeypatch.setattr(tagging, "_BATCH", 4)

    def stop(title: str, _unit: str, done: int, _total: int) -> None:
        if title == "tagging" and done >= 8:
            raise KeyboardInterrupt

    with Library.open() as library, pytest.raises(KeyboardInterrupt):
        library.tag(progress=stop)
    assert set(tags(capsys)) <= set(before)
    assert f"Looked at {len(KINDS) * EACH - 8} photos" in run(capsys, "tag")
    assert tags(capsys) == before


def test_a_dry_run_changes_nothing(made: Made, capsys: Capture, tmp_path: Path) -> None:
    copied = tmp_path / "copies"
    shutil.copytree(made.photos / "schooner", copied)
    run(capsys, "index", copied)
    before = tags(capsys)
    shown = run(capsys, "tag", "--again", "--dry-run", "--format", "jsonl")
    assert {json.loads(line)["path"] for line in shown.splitlines()} == set(before)
    run(capsys, "tag", "--write-xmp", "--dry-run", "--in", copied)
    assert not list(copied.glob("*.xmp"))
    assert tags(capsys) == before
    run(capsys, "tag", "--write-xmp", "--in", copied)
    assert (copied / f"{ODD}.xmp").exists() == (str(copied / ODD) in before)
    written = list(copied.glob("*.xmp"))
    assert len(written) == sum(path.startswith(str(copied)) for path in before)
    assert all(b"sailboat" in ET.tostring(ET.parse(file).getroot()) for file in written)  # noqa: S314 - ours
    assert "unchanged" in run(capsys, "tag", "--write-xmp", "--in", copied)


@pytest.mark.slow
def test_words_of_ones_own_are_remembered(made: Made, capsys: Capture, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# mine\nsailboat\nStrawberry\n")
    assert "with 2 words" in run(capsys, "tag", "--vocabulary", words)
    first = tags(capsys)
    assert {word for found in first.values() for word in found} == {"sailboat", "Strawberry"}
    assert not any(str(path) in first for path in made.kinds["T-Shirt"])
    words.unlink()
    assert "with 2 words" in run(capsys, "tag", "--again")
    run(capsys, "tag", "--vocabulary", "builtin")
    assert "shirt" in run(capsys, "tag", "--list")


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no words"),
        (b"sea\nSea\n", "twice"),
        (b"\xff\xfe", "UTF-8"),
        (b"se\x07a", "control character"),
        (None, "No such file"),
    ],
)
def test_a_bad_list_of_words_is_named_in_one_line(
    capsys: Capture, tmp_path: Path, text: bytes | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "words").write_bytes(text)
    error = run(capsys, "tag", "--vocabulary", tmp_path / "words", code=2)
    assert said in error
    assert "shirt" in run(capsys, "tag", "--list")


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    "options", [["--list", "--photos"], ["--forget", "--again"], ["--format", "csv"], ["--list", "--dry-run"]]
)
def test_options_that_contradict_each_other_are_refused(capsys: Capture, options: list[str]) -> None:
    assert "hint:" in run(capsys, "tag", *options, code=2)


def test_a_model_that_knows_no_word_gives_no_tag() -> None:
    class Blind(MeanColor):
        def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
            return np.tile(np.eye(1, MODEL.dim, dtype=np.float32), (len(items), 1))

    words = tagger(("dog", "cat"), Blind())
    assert (words.labels, words.unknown) == ((), 2)
    assert words.choose(Blind().encode(["photo"] * 3)) == [[], [], []]


def test_nothing_indexed_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path))
    assert "nothing is indexed yet" in run(capsys, "tag", code=2)
    assert "nothing is indexed yet" in run(capsys, "concept", "list", code=2)


def test_a_concept_is_learned_searched_and_forgotten(made: Made, capsys: Capture, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    for path in made.kinds["gramophone"][:2]:
        shutil.copy(path, shown)
    said = run(
        capsys, "concept", "learn", "Horn", "--like", shown, "--like", made.kinds["gramophone"][2],
        "--unlike", made.photos / "T-Shirt",
    )  # fmt: skip
    assert "Learned @horn from 3 photos and 5 photos unlike it" in said
    best = run(capsys, "search", "@horn", "-n", "5", "--format", "jsonl")
    found = {json.loads(line)["path"] for line in best.splitlines()}
    assert len(found & set(map(str, made.kinds["gramophone"]))) >= 4
    assert run(capsys, "search", "--add", "@HORN", "-n", "5", "--format", "jsonl") == best
    assert run(capsys, "search", "@horn", "--subtract", "shirt", "--format", "jsonl") != best
    (listed,) = json.loads(run(capsys, "concept", "list", "--json"))
    assert (listed["name"], listed["liked"], listed["unliked"]) == ("horn", 3, 5)
    assert "Learned anew" in run(capsys, "concept", "learn", "horn", "--like", shown)
    run(capsys, "concept", "forget", "@horn")
    assert "no concept @horn has been learned" in run(capsys, "search", "@horn", code=2)
    assert len(list(shown.iterdir())) == 2


def test_a_concept_is_a_label_beside_texts(made: Made, capsys: Capture) -> None:
    run(capsys, "concept", "learn", "horn", "--like", made.photos / "gramophone")
    out = run(capsys, "classify", "--labels", "@horn,t-shirt,sailboat", "--format", "jsonl")
    found = {record["path"]: record["label"] for record in map(json.loads, out.splitlines())}
    assert sum(found[str(path)] == "@horn" for path in made.kinds["gramophone"]) >= 4
    assert not any(found[str(path)] == "@horn" for path in made.kinds["T-Shirt"])
    assert "@horn" in run(capsys, "classify", "--labels", "@nose,t-shirt", code=2)


def test_a_text_may_begin_with_the_mark(made: Made, capsys: Capture) -> None:
    assert run(capsys, "search", "@@home", "--format", "jsonl")
    assert "a concept stands for itself" in run(capsys, "search", "@grandma", "in", "snow", code=2)
    assert "not a name for a concept" in run(capsys, "concept", "learn", "a b", "--like", made.photos, code=2)
    assert "not a name for a concept" in run(capsys, "search", "@", code=2)


@pytest.mark.usefixtures("made")
def test_nothing_to_learn_is_said(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    error = run(capsys, "concept", "learn", "x", "--like", tmp_path / "empty", code=2)
    assert "none of these files could be read" in error
    run(capsys, "concept", "learn", "x", "--like", tmp_path / "gone.jpg", code=2)
    assert "no concept has been learned" in run(capsys, "concept", "list", code=1)


def test_the_doctor_notices_and_repairs(made: Made, capsys: Capture, tmp_path: Path) -> None:
    run(capsys, "concept", "learn", "horn", "--like", made.photos / "gramophone")
    before = tags(capsys)
    run(capsys, "doctor")
    database = tmp_path / "library" / FILE_NAME
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE concept SET vector = zeroblob(length(vector))")
        connection.execute(
            "UPDATE content_tag SET tag = 9999 + tag WHERE content = (SELECT max(content) FROM content_tag)"
        )
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "rows of concept" in said
    assert "rows of content_tag" in said
    assert "damaged" in run(capsys, "search", "@horn", code=2)
    run(capsys, "doctor", "--repair")
    run(capsys, "doctor")
    run(capsys, "tag")
    assert tags(capsys) == before
    run(capsys, "concept", "list", code=1)


@pytest.mark.slow
def test_a_backup_and_a_salvaged_catalog_have_what_was_learned(
    made: Made, capsys: Capture, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("sailboat\nstrawberry\n")
    run(capsys, "tag", "--vocabulary", words)
    run(capsys, "concept", "learn", "horn", "--like", made.photos / "gramophone")
    before, answers = tags(capsys), run(capsys, "search", "@horn", "--format", "csv")
    run(capsys, "doctor", "--backup", tmp_path / "backup")
    database = tmp_path / "library" / FILE_NAME
    with database.open("rb+") as file:
        file.write(bytes(100))  # the header: read row by row into a new one
    run(capsys, "doctor", "--repair")
    run(capsys, "index")
    assert run(capsys, "search", "@horn", "--format", "csv") == answers
    assert "with 2 words" in run(capsys, "tag")
    assert tags(capsys) == before
    run(capsys, "concept", "forget", "horn")
    run(capsys, "doctor", "--restore", tmp_path / "backup")
    assert run(capsys, "search", "@horn", "--format", "csv") == answers
    assert tags(capsys) == before
