"""How good a match is: the margin over generic prompts, the words for it, and what only matches leave out."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mean_color import MODEL, unit
from program import AnyWords

from clipsearch import Library
from clipsearch.cli import main
from clipsearch.encoders import cache, shared
from clipsearch.encoders.prompts import generic_prompts, prompt_vectors
from clipsearch.errors import ModelUnavailableError
from clipsearch.strength import FAIR, SAME, STRONG, Gauge
from clipsearch.types import Listeners, Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.encoders import TextEncoder

DIM, PROMPTS, PHOTOS = 16, 40, 50
RANDOM = np.random.default_rng(5)
BANK = unit(RANDOM.normal(size=(PROMPTS, DIM)))
ROWS = unit(RANDOM.normal(size=(PHOTOS, DIM)))
ASKED = ("pizza", "laptop", "sunflower", "elephant", "watch")
AWKWARD = ("two\nlines .jpg", "grüße 日本 👨‍👩‍👧.jpg", os.fsdecode(b"latin-\xe9.jpg"))


# -- the formula ---------------------------------------------------------------------------------


def test_the_margin_is_the_cosine_over_the_five_best_prompts_in_deviations() -> None:
    query = unit(RANDOM.normal(size=DIM))
    expected = []
    for row in ROWS.astype(float):
        by_prompt = BANK.astype(float) @ row
        expected.append((query @ row - np.sort(by_prompt)[-5:].mean()) / by_prompt.std())
    found = Gauge([Term("dog")], query[None], BANK).margins(ROWS)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_else_is_in_the_library_changes_nothing() -> None:
    gauge = Gauge([Term("dog")], BANK[:1], BANK)
    together = gauge.margins(ROWS)
    alone = [gauge.margins(ROWS[place : place + 1])[0] for place in range(PHOTOS)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert len(gauge.margins(ROWS[:0])) == 0


def test_the_words_follow_from_the_lines() -> None:
    gauge = Gauge([Term("dog")], BANK[:1], BANK)
    near = unit(ROWS + np.linspace(0, 3, PHOTOS)[:, None] * BANK[0])  # from anywhere to nearly the query
    rated = gauge.rate(near)
    assert {strength for strength, _ in rated} == {"weak", "fair", "strong"}
    for strength, margin in rated:
        assert strength == ("strong" if margin >= STRONG else "fair" if margin >= FAIR else "weak")


def test_the_same_picture_in_other_bytes_is_a_strong_match() -> None:
    picture = ROWS[:1]
    twins = unit(picture + RANDOM.normal(0, 0.02, (5, DIM)))
    assert (twins @ picture[0] >= SAME).all()
    assert {strength for strength, _ in Gauge([Term("a.jpg", 1.0, "image")], picture, BANK).rate(twins)} == {
        "strong"
    }


def test_a_picture_counts_as_the_prompt_that_fits_it_best() -> None:
    best = BANK[np.argmax(BANK @ ROWS[0])]
    as_picture = Gauge([Term("a.jpg", 1.0, "image")], ROWS[:1], BANK).margins(ROWS)
    np.testing.assert_allclose(as_picture, Gauge([Term("x")], best[None], BANK).margins(ROWS), atol=1e-5)


def test_subtracting_what_all_texts_share_makes_no_match_weaker() -> None:
    """Texts of CLIP models lie close together: one less another scores low with any photo, as prompts do."""
    shared = unit(np.ones(DIM))
    bank = unit(4 * shared + BANK)
    query, other = unit(4 * shared + ROWS[:2])
    terms = [Term("dog"), Term("cat", -1.0)]
    photo = unit(shared + 2 * (ROWS[0] - ROWS[1]))
    assert float(photo @ query - photo @ other) < (bank @ photo).max(), "its cosine is low"
    assert Gauge(terms, np.stack([query, other]), bank).rate(photo[None])[0][0] == "strong"


@given(
    st.lists(st.tuples(st.sampled_from(["text", "image", "url"]), st.floats(-9, 9).filter(bool)), min_size=1),
    st.integers(0, PHOTOS - 1),
)
def test_any_query_gets_finite_margins(kinds: list[tuple[Any, float]], first: int) -> None:
    terms = [Term("x", weight, kind) for kind, weight in kinds]
    rows = ROWS[np.arange(first, first + len(terms)) % PHOTOS]
    assert np.isfinite(Gauge(terms, rows, BANK).margins(ROWS)).all()
    assert np.isfinite(Gauge(terms, rows, np.repeat(BANK[:1], 9, axis=0)).margins(ROWS)).all(), "no spread"


# -- the prompts ---------------------------------------------------------------------------------


class Counting(AnyWords):
    """Counts the texts it was given."""

    texts = 0

    def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(items)
        return super().encode(items)


def test_the_prompts_are_many_and_none_comes_twice() -> None:
    prompts = generic_prompts()
    assert len(prompts) > 500
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)
    assert all(prompt == " ".join(prompt.split()) != "" for prompt in prompts)


def test_prompts_are_embedded_once_a_model_and_again_when_their_file_is_damaged() -> None:
    folder = cache.folder_of(MODEL.fingerprint)
    folder.mkdir(parents=True)
    encoder, seen = Counting(), []
    count = len(generic_prompts())

    def asked() -> NDArray[np.float32]:
        return prompt_vectors(MODEL, lambda: encoder, lambda done, total: seen.append((done, total)))

    first = asked()
    assert first.shape == (count, MODEL.dim)
    assert encoder.texts == count
    assert seen[0] == (0, count)
    assert np.array_equal(asked(), first)
    assert encoder.texts == count
    (file,) = folder.iterdir()
    for number, damage in enumerate((b"", b"\x93NUMPY", file.read_bytes()[:-8], bytes(5000)), 2):
        file.write_bytes(damage)
        assert np.array_equal(asked(), first)
        assert encoder.texts == number * count
    stored = np.load(file)
    np.save(file, stored * np.float16(0.5))
    assert np.array_equal(asked(), first), "no unit vectors"


def test_a_model_that_is_not_cached_leaves_no_folder_behind() -> None:
    prompt_vectors(MODEL, AnyWords)
    assert not cache.folder_of(MODEL.fingerprint).exists()


# -- the commands, with the real built-in model ----------------------------------------------------


def photos_of(shared: Path) -> dict[str, list[Path]]:
    held: dict[str, list[Path]] = {}
    for line in (shared / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        file, label, *_ = line.split("\t")
        held.setdefault(label, []).append(shared / file)
    return held


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared_photos: Path, builtin_cache: Path) -> Path:
    """A home with a library of some photos in folders by label, and three pizzas with awkward names."""
    home = tmp_path_factory.mktemp("strength")
    held = photos_of(shared_photos)
    for label in ASKED:
        (home / "photos" / label).mkdir(parents=True)
        names = [*AWKWARD, *(f"{number}.jpg" for number in range(9))] if label == "pizza" else None
        for number, path in enumerate(held[label]):
            shutil.copy(path, home / "photos" / label / (names[number] if names else f"{number}.jpg"))
    shutil.copytree(builtin_cache, home / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(home / "cache"))
        assert main(["index", str(home / "photos"), "--model", "builtin", "-L", str(home / "library")]) == 0
    return home


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(made / "cache"))
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(made / "library"))
    return made


Capture = pytest.CaptureFixture[bytes]


def answers(capture: Capture, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    capture.readouterr()
    assert main([*arguments, "--format", "json"]) == code, capture.readouterr().err.decode()
    out = capture.readouterr().out
    return json.loads(out) if out else []


def folder(match: dict[str, Any]) -> str:
    return Path(match["path"]).parent.name


def test_the_first_run_of_a_model_has_prompts_ready(home: Path) -> None:
    assert len(list((home / "cache").rglob("prompts-*.npy"))) == 1


@pytest.mark.parametrize("asked", ASKED)
def test_right_answers_are_matches_and_wrong_ones_are_weak(
    asked: str, home: Path, capsysbinary: Capture
) -> None:
    found = answers(capsysbinary, "search", asked, "-n", "100")
    assert len(found) == sum(1 for _ in (home / "photos").rglob("*.jpg"))
    right = [match["strength"] != "weak" for match in found if folder(match) == asked]
    wrong = [match["strength"] == "weak" for match in found if folder(match) != asked]
    assert np.mean(right) > 0.5
    assert np.mean(wrong) > 0.9


@pytest.mark.usefixtures("home")
def test_only_matches_leaves_out_what_is_weak_and_goes_on_past_it(capsysbinary: Capture) -> None:
    everything = answers(capsysbinary, "search", "watch", "-n", "100")
    expected = [match for match in everything if match["strength"] != "weak"]
    places = [match["rank"] for match in expected]
    assert 3 < len(expected) < len(everything)
    found = answers(capsysbinary, "search", "watch", "-n", "100", "--only-matches")
    assert [match["path"] for match in found] == [match["path"] for match in expected]
    margins = [match["margin"] for match in expected]
    assert [match["margin"] for match in found] == pytest.approx(margins, abs=1e-4)
    assert [match["rank"] for match in found] == list(range(1, len(found) + 1))
    first = answers(capsysbinary, "search", "watch", "-n", "3", "--only-matches")
    assert [match["path"] for match in first] == [match["path"] for match in expected[:3]]
    assert places == sorted(places)


@pytest.mark.usefixtures("home")
def test_what_is_not_there_is_exit_1_and_an_empty_output(capsysbinary: Capture) -> None:
    assert main(["search", "a giraffe", "--only-matches"]) == 1
    captured = capsysbinary.readouterr()
    assert captured.out == b""
    assert b"no photo matches" in captured.err
    assert {match["strength"] for match in answers(capsysbinary, "search", "a giraffe")} == {"weak"}


def test_a_library_of_one_photo_tells_a_match_from_none(
    home: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(home / "photos" / "pizza" / "1.jpg", tmp_path / "one" / AWKWARD[0])
    library = ["-L", str(tmp_path / "library")]
    assert main(["index", str(tmp_path / "one"), "--model", "builtin", *library]) == 0
    in_many = {
        match["path"]: match["margin"] for match in answers(capsysbinary, "search", "a pizza", "-n", "99")
    }
    (match,) = answers(capsysbinary, "search", "a pizza", "--only-matches", *library)
    assert match["strength"] == "strong"
    assert match["margin"] == pytest.approx(in_many[str(home / "photos" / "pizza" / "1.jpg")], abs=1e-4)
    assert answers(capsysbinary, "search", "a laptop", "--only-matches", *library, code=1) == []
    (itself,) = answers(capsysbinary, "similar", match["path"], "--include-self", *library)
    assert itself["strength"] == "strong"


def test_filters_pictures_and_sums_are_rated_too(home: Path, capsysbinary: Capture) -> None:
    inside = answers(
        capsysbinary, "search", "pizza", "--in", str(home / "photos" / "laptop"), "--only-matches", code=1
    )
    assert inside == []
    picture = str(home / "photos" / "sunflower" / "2.jpg")
    like = answers(capsysbinary, "similar", picture, "-n", "100", "--only-matches")
    assert np.mean([folder(match) == "sunflower" for match in like]) > 0.8
    less = answers(
        capsysbinary, "search", "--add", picture, "--add", "flower", "--subtract", "laptop", "--only-matches"
    )
    assert {folder(match) for match in less} == {"sunflower"}


def test_every_format_says_how_strong_a_match_is(home: Path, capsysbinary: Capture) -> None:
    found = answers(capsysbinary, "search", "pizza", "-n", "100")
    awkward = {str(home / "photos" / "pizza" / name) for name in AWKWARD}
    assert awkward <= {match["path"] for match in found}
    assert main(["search", "pizza", "-n", "100"]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert [line.split("\t")[2] for line in lines] == [match["strength"] for match in found]
    assert main(["search", "pizza", "-n", "100", "--format", "csv"]) == 0
    text = capsysbinary.readouterr().out.decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["strength"], float(row["margin"])) for row in rows] == [
        (match["strength"], match["margin"]) for match in found
    ]
    assert main(["search", "pizza", "--only-matches", "-n", "100", "-0"]) == 0
    paths = capsysbinary.readouterr().out.split(b"\0")[:-1]
    assert [os.fsdecode(path) for path in paths] == [
        match["path"] for match in found if match["strength"] != "weak"
    ]


def test_without_its_model_similar_still_answers_but_rates_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "cache", tmp_path / "cache")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    for file in (tmp_path / "cache").rglob("prompts-*.npy"):
        file.unlink()

    def away(*_: object, **__: object) -> TextEncoder:
        raise ModelUnavailableError("the model cannot be had", "go online")

    monkeypatch.setattr(shared, "open_text_encoder", away)
    told: list[str] = []
    picture = home / "photos" / "pizza" / "1.jpg"
    with Library.open(listeners=Listeners(notice=told.append)) as library:
        found = library.similar(picture)
        assert len(found) == 10
        assert {(match.strength, match.margin) for match in found} == {(None, None)}
        assert any("the model cannot be had" in sentence for sentence in told)
        with pytest.raises(ModelUnavailableError):
            library.similar(picture, only_matches=True)


@pytest.mark.slow
def test_four_of_five_right_answers_lie_above_the_line_and_four_of_five_wrong_ones_below(
    shared_photos: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import strength

    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    monkeypatch.setattr("sys.argv", ["strength", str(shared_photos)])
    assert strength.main() == 0
