"""Captions, words in photos, and searching for them, through the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import program
import pytest
import written
from mean_color import COLORS, paint
from PIL import Image, ImageDraw, ImageFont
from tiny_model import make_coca

from clipsearch import Library, texts
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.scope import Scope
from clipsearch.catalog.texts import all_of, any_of
from clipsearch.cli import main
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    Capture = pytest.CaptureFixture[str]

MODEL = ("--model", "ViT-B-32/openai")  # stands for the tiny encoder
ODD = os.fsdecode("zwölf 🐕\n".encode() + b"\xff.png")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)


@pytest.fixture
def photos(tmp_path: Path, capsys: Capture) -> Path:
    """Indexed, and with captions and words as an author would have written them."""
    folder = tmp_path / "photos"
    for name in ("red", "green", "blue"):
        paint(folder / f"{name}.png", COLORS[name])
    paint(folder / "deep" / ODD, (255, 60, 0))
    run(capsys, "index", folder, *MODEL)
    write("caption", {"red.png": "a red fox", "green.png": "Grüne Wiese mit Bäumen", ODD: "a fox, running"})
    write("words", {"blue.png": "INVOICE 2023-117\nTotal: 84,50", "red.png": "invoice of last year"})
    return folder


def write(kind: Any, said: dict[str, str]) -> None:
    written.write(Library.default_path(), kind, said)


def run(capsys: Capture, *arguments: str | Path, code: int = 0) -> str:
    got = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert got == code, said.err
    return said.out if code == 0 else said.err


def captions(capsys: Capture) -> list[dict[str, str]]:
    return [json.loads(line) for line in run(capsys, "caption", "--list", "--format", "jsonl").splitlines()]


def found(capsys: Capture, *arguments: str | Path) -> list[str]:
    out = run(capsys, "search", *arguments, "--format", "jsonl")
    return [Path(json.loads(line)["path"]).name for line in out.splitlines()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("fox", {"red.png", ODD}),
        ("FOX red", {"red.png"}),
        ("grune baumen", {"green.png"}),  # without their dots
        ("grün*", {"green.png"}),
        ("invoice 2023", {"blue.png"}),
        ('"last year"', {"red.png"}),
        ('"year last"', set()),
        ("invoice -2023 (total) NOT", set()),
        ("84,50", {"blue.png"}),
        ("fox OR", set()),
        ('fox "', {"red.png", ODD}),
        (os.fsdecode(b"fox\xff"), {"red.png", ODD}),
        ("caption:fox*", set()),
        ("wolf", set()),
    ],
)
def test_words_are_found_in_captions_and_in_photos(
    photos: Path, capsys: Capture, words: str, names: set[str]
) -> None:
    assert photos.is_dir()
    if names:
        assert set(found(capsys, "--text", words)) == names
    else:
        assert "no photo matches" in run(capsys, "search", "--text", words, code=1)


def test_the_best_fit_comes_first_a_page_at_a_time(photos: Path) -> None:
    write(
        "caption",
        {"blue.png": "a fox and a fox with a fox", "green.png": "a walk past one fox and much more"},
    )
    with Library.open() as library:
        from clipsearch.types import Filters

        every = [match.path.name for match in library.newest(Filters(text="fox"))]
        assert every[0] == "blue.png"
        assert every[-1] == "green.png"
        assert len(every) == 4
        pages = [library.newest(Filters(text="fox"), limit=2, offset=at)[0] for at in (0, 2)]
        assert [match.path.name for match in pages] == every[::2]
        assert [match.rank for match in pages] == [1, 3]
    assert photos.is_dir()


def test_a_query_and_filters_hold_as_well(photos: Path, capsys: Capture) -> None:
    assert found(capsys, "blue", "--text", "invoice") == ["blue.png", "red.png"]
    assert found(capsys, "red", "--text", "invoice") == ["red.png", "blue.png"]
    assert found(capsys, "--text", "fox", "--in", photos / "deep") == [ODD]
    assert found(capsys, "green", "--text", "fox", "--glob", "r*") == ["red.png"]
    out = run(capsys, "classify", "--labels", "red,blue", "--text", "2023", "--format", "csv")
    assert [row["label"] for row in csv.DictReader(io.StringIO(out))] == ["blue"]
    assert "no word in the text" in run(capsys, "search", "--text", "- ()", code=2)
    assert "an empty filter" in run(capsys, "search", "--text", " ", code=2)


def test_a_blended_ranking_is_that_of_the_formula(photos: Path, capsys: Capture) -> None:
    write("caption", {"blue.png": "red", "green.png": "green red, much else and more"})
    plain = json.loads(run(capsys, "search", "red", "--format", "json"))
    cosines = {one["path"]: one["score"] for one in plain}
    with Library.open() as library:
        catalog = library._session().catalog
        worth = texts.texts.ranked(catalog, any_of("red"), Scope(), 10)
    lowest, highest = min(cosines.values()), max(cosines.values())
    blend = json.loads(run(capsys, "search", "red", "--blend", "0.4", "--format", "json"))
    assert [one["score"] for one in blend] == sorted((one["score"] for one in blend), reverse=True)
    with Catalog(Library.default_path()) as catalog:
        held = {str(photo.path): photo.content for photo in catalog.newest(Scope(), 10)}
    for one in blend:
        picture = (cosines[one["path"]] - lowest) / (highest - lowest)
        text = worth.get(held[one["path"]], 0.0) / max(worth.values())
        assert one["score"] == pytest.approx(0.6 * picture + 0.4 * text, abs=1e-4)
    # With all weight on the texts, the best of them is first; --text still has to hold.
    (best,) = json.loads(run(capsys, "search", "red", "--blend", "1", "--limit", "1", "--format", "json"))
    assert held[best["path"]] == max(worth, key=lambda content: worth[content])
    assert set(found(capsys, "red", "--blend", "0.5", "--text", "invoice")) == {"blue.png", "red.png"}
    assert "has no cosines" in run(capsys, "search", "x", "--blend", "0.5", "--min-score", "0", code=2)
    assert photos.is_dir()


def test_without_texts_it_is_said_how_to_get_some(tmp_path: Path, capsys: Capture) -> None:
    paint(tmp_path / "red.png", COLORS["red"])
    run(capsys, "index", tmp_path, *MODEL)
    said = run(capsys, "search", "--text", "fox", code=1)
    assert "no photo has a caption or words yet: clipsearch caption, clipsearch ocr" in said
    assert "nothing was written" in run(capsys, "caption", "--list", code=1)


def test_texts_go_with_their_photos_and_their_authors(photos: Path, capsys: Capture) -> None:
    rows = captions(capsys)
    assert {(row["text"], row["by"]) for row in rows} == {
        ("a red fox", "somebody"),
        ("Grüne Wiese mit Bäumen", "somebody"),
        ("a fox, running", "somebody"),
    }
    run(capsys, "caption", "--forget", "--in", photos / "deep")
    assert found(capsys, "--text", "fox") == ["red.png"]
    run(capsys, "ocr", "--forget")
    run(capsys, "search", "--text", "invoice", code=1)
    (photos / "red.png").unlink()
    (photos / "green.png").rename(photos / "meadow.png")
    run(capsys, "index")
    run(capsys, "search", "--text", "fox", code=1)
    assert found(capsys, "--text", "wiese") == ["meadow.png"]
    with Catalog(Library.default_path(), write=True) as catalog:
        catalog.drop_orphans()
    assert tables() == {"written": 1, "full_text_docsize": 1}
    assert is_sound(capsys)


def is_sound(capsys: Capture) -> bool:
    main(["doctor", "--json"])
    return bool(json.loads(capsys.readouterr().out)["sound"])


def tables() -> dict[str, int]:
    with closing(sqlite3.connect(Library.default_path() / FILE_NAME)) as connection:
        names = ("written", "full_text_docsize")
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM full_text_docsize WHERE id = (SELECT min(id) FROM full_text_docsize)",
        "UPDATE full_text_data SET block = zeroblob(length(block)) WHERE id > 10",
        "UPDATE written SET caption = x'ff' WHERE caption LIKE '%Wiese%'",
    ],
)
def test_a_damaged_index_is_seen_and_made_anew(photos: Path, capsys: Capture, damage: str) -> None:
    with closing(sqlite3.connect(Library.default_path() / FILE_NAME)) as connection, connection:
        assert connection.execute(damage).rowcount
    assert not is_sound(capsys)
    run(capsys, "doctor", "--repair")
    assert is_sound(capsys)
    assert set(found(capsys, "--text", "fox")) == {"red.png", ODD}
    assert photos.is_dir()


def test_texts_outlive_a_salvage_and_a_backup(photos: Path, tmp_path: Path, capsys: Capture) -> None:
    run(capsys, "doctor", "--backup", tmp_path / "kept.sqlite")
    database = Library.default_path() / FILE_NAME
    data = bytearray(database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'photo_content'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data[(page - 1) * size : page * size] = os.urandom(size)
    data[:100] = os.urandom(100)
    database.write_bytes(data)
    run(capsys, "doctor", "--repair")
    run(capsys, "index")
    assert set(found(capsys, "--text", "fox")) == {"red.png", ODD}
    run(capsys, "caption", "--forget")
    run(capsys, "doctor", "--restore", tmp_path / "kept.sqlite")
    assert set(found(capsys, "--text", "fox")) == {"red.png", ODD}
    assert photos.is_dir()


def test_terms_are_never_syntax() -> None:
    assert all_of('a "b c"* d*e f* NEAR(x') == '"a" AND "b c"* AND "d*e" AND "f"* AND "NEAR(x"'
    assert all_of("a\0b") == '"a" AND "b"'
    assert any_of("a b") == '"a" OR "b"'
    for nothing in ("", " ", '""', "-- ()", "*"):
        with pytest.raises(UsageError):
            all_of(nothing)


def test_coca_writes_captions_that_are_found(
    photos: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local-dir:{make_coca(tmp_path / 'coca')}"
    monkeypatch.setattr("clipsearch.encoders.captioner._LONGEST", 8)
    (photos / "blue.png").unlink()
    said = main(["caption", "--model", model])
    out = capsys.readouterr()
    assert said == 0
    assert "Looked at 3 photos" in out.out
    assert "1 photos cannot be read" in out.err
    rows = captions(capsys)
    assert {row["by"] for row in rows} == {model}
    assert len({row["text"] for row in rows}) > 1  # random weights, but they do look at the photo
    for row in rows:
        words = [word for word in row["text"].split() if word.isalnum()]
        if words:
            assert Path(row["path"]).name in found(capsys, "--text", words[0])
    run(capsys, "index")
    assert "looked at before" in run(capsys, "caption", "--model", model)
    assert "Looked at 3 photos" in run(capsys, "caption", "--model", model, "--again")
    assert "writes no captions" in run(capsys, "caption", "--model", "builtin", code=2)


def test_a_caption_is_as_likely_as_the_search_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    from clipsearch.encoders import captioner
    from clipsearch.encoders.registry import resolve
    from clipsearch.types import Listeners

    monkeypatch.setattr(captioner, "_LONGEST", 12)
    writer = captioner.CocaCaptioner(resolve(f"local-dir:{make_coca(tmp_path / 'coca')}"), Listeners())
    seen = np.stack([np.full((32, 32, 3), color, np.uint8) for color in ((0, 255, 0), (200, 200, 200))])
    totals: list[float] = []
    for beams in (captioner.BEAMS, 1):
        monkeypatch.setattr(captioner, "BEAMS", beams)
        with torch.inference_mode():
            found = [writer._best(latent, tokens) for latent, tokens in looked(writer, seen)]
        for image, (score, caption) in zip(seen, found, strict=True):
            assert score == pytest.approx(likelihood(writer, image, caption), abs=1e-3)
        totals.append(sum(score for score, _ in found))
    assert totals[0] > totals[1]  # six beams find better ones than one


def looked(writer: Any, images: Any) -> list[tuple[Any, Any]]:
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    seen = writer._network(pixels * writer._scale + writer._offset)
    return list(zip(seen["image_features"], seen["image_embs"], strict=True))


def likelihood(writer: Any, image: Any, caption: list[int]) -> float:
    """Mean log-probability of a caption, from one pass over the whole of it, as in training."""
    import torch

    from clipsearch.encoders import captioner

    with torch.inference_mode():
        ((latent, tokens),) = looked(writer, image[None])
        text = torch.tensor([[captioner._START, *caption]])
        said = writer._network(
            None, text, image_latent=latent[None], image_embs=tokens[None], output_labels=False
        )
        chances = torch.log_softmax(said["logits"][0], dim=-1)
    ended = [] if len(caption) == captioner._LONGEST - 1 else [captioner._END]
    whole = [*caption, *ended]
    return sum(float(chances[place, word]) for place, word in enumerate(whole)) / len(whole)


def sign(path: Path, text: str) -> None:
    picture = Image.new("RGB", (640, 200), (250, 250, 245))
    ImageDraw.Draw(picture).text((30, 60), text, (10, 10, 10), ImageFont.load_default(54))
    picture.save(path)


def test_words_in_photos_are_read_and_found(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("rapidocr")
    sign(tmp_path / "bill.png", "INVOICE 2023")
    sign(tmp_path / "sign.webp", "Fresh bread")  # goes through the guarded process
    paint(tmp_path / "none.png", COLORS["blue"], size=(64, 64))
    paint(tmp_path / "dot.png", COLORS["red"], size=(1, 1))
    run(capsys, "index", tmp_path, *MODEL)
    assert "2 with something to say" in run(capsys, "ocr")
    assert found(capsys, "--text", "invoice 2023") == ["bill.png"]
    assert found(capsys, "--text", "bread") == ["sign.webp"]
    assert "looked at before" in run(capsys, "ocr")


def test_without_the_extra_its_install_command_is_said(
    photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert 'pip install "clipsearch[ocr]"' in run(capsys, "ocr", code=2)
    assert photos.is_dir()


def test_an_interrupted_run_keeps_what_is_done(
    photos: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local-dir:{make_coca(tmp_path / 'coca')}"
    real = texts.CaptionAuthor.write
    calls: list[int] = []

    def impatient(self: texts.CaptionAuthor, pictures: Any) -> Any:
        calls.append(len(pictures))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, pictures)

    monkeypatch.setattr(texts.CaptionAuthor, "write", impatient)
    monkeypatch.setattr("clipsearch.encoders.captioner._CPU_BATCH", 1)
    monkeypatch.setattr("clipsearch.encoders.captioner._LONGEST", 8)
    assert "what is done is kept" in run(capsys, "caption", "--model", model, code=130)
    assert "Looked at 2 photos" in run(capsys, "caption", "--model", model)
    assert calls == [1] * 5
    assert photos.is_dir()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("caption", "--list", "--forget"), "do not go together"),
        (("caption", "--list", "--model", "x"), "leave --model"),
        (("ocr", "--format", "json"), "--format is for lists"),
    ],
)
def test_one_thing_at_a_time(capsys: Capture, arguments: tuple[str, ...], says: str) -> None:
    assert says in run(capsys, *arguments, code=2)


def test_captions_of_tags_with_the_builtin_model(
    shared_photos: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    run(capsys, "index", shared_photos / "coco", "--model", "builtin")
    assert "Looked at 51 photos" in run(capsys, "caption")
    rows = captions(capsys)
    assert rows
    for row in rows:
        assert row["by"] == "tags"
        first = row["text"].replace(" and ", ", ").split(", ")[0]
        assert Path(row["path"]).name in found(capsys, "--text", first, "-n", "51")
    assert "looked at before" in run(capsys, "caption")
