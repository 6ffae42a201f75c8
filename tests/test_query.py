"""Queries: what a typed term means, and the vector that terms make together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mean_color import MeanColor, unit

from clipsearch.errors import UsageError
from clipsearch.query import combine, embed
from clipsearch.terms import parse_term
from clipsearch.types import Term


@pytest.mark.parametrize(
    ("typed", "term"),
    [
        ("brown dog", Term("brown dog")),
        ("  brown dog ", Term("brown dog")),
        ("2:dog", Term("dog", 2.0)),
        ("0.5: dog", Term("dog", 0.5)),
        (".5:dog", Term("dog", 0.5)),
        ("12:30 train", Term("30 train", 12.0)),
        ("ratio 2:1", Term("ratio 2:1")),
        ("https://example.org/a.jpg", Term("https://example.org/a.jpg", 1.0, "url")),
        ("3:http://example.org/a", Term("http://example.org/a", 3.0, "url")),
        ("missing.jpg", Term("missing.jpg", 1.0, "image")),
        ("2:holiday/missing.HEIC", Term("holiday/missing.HEIC", 2.0, "image")),
        ("a photo of a sign that says cats.jpg", Term("a photo of a sign that says cats.jpg")),
        ("and/or", Term("and/or")),
        ("犬と猫", Term("犬と猫")),
    ],
)
def test_a_term_is_a_text_a_picture_or_a_url(typed: str, term: Term) -> None:
    assert parse_term(typed) == term
    assert parse_term(typed, sign=-1).weight == -term.weight


def test_a_text_that_happens_to_name_a_file_stays_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dog").write_bytes(b"x")
    assert parse_term("dog").kind == "text"
    assert parse_term("./dog").kind == "image", "a path is a picture when it exists"
    Path("my holiday.jpg").write_bytes(b"x")
    assert parse_term("my holiday.jpg").kind == "image"


@pytest.mark.parametrize("typed", ["", "   ", "\n", "2:", "2:  "])
def test_nothing_to_search_for_is_an_error(typed: str) -> None:
    with pytest.raises(UsageError):
        parse_term(typed)


def test_weight_zero_is_an_error() -> None:
    with pytest.raises(UsageError, match="weight 0"):
        parse_term("0:dog")


@given(st.text())
def test_any_text_is_a_term_or_a_clear_error(typed: str) -> None:
    try:
        assert parse_term(typed).value
    except UsageError as error:
        assert error.message  # noqa: PT017


def test_terms_add_up_weighted_and_signed() -> None:
    encoder = MeanColor()
    picture = unit(np.array([1.0, 2.0, 3.0]))
    terms = [Term("red"), Term("x.jpg", 2.0, "image"), Term("blue", -0.5)]
    found = combine(terms, embed(terms, encoder.encode, lambda term: {"x.jpg": picture}[term.value]))
    red, blue = encoder.encode(["red", "blue"])
    np.testing.assert_allclose(found, unit(red + 2 * picture - 0.5 * blue), rtol=1e-6)
    assert found.dtype == np.float32


def test_terms_that_cancel_are_an_error() -> None:
    with pytest.raises(UsageError, match="cancel"):
        combine([Term("red"), Term("red", -1.0)], MeanColor().encode(["red", "red"]))
