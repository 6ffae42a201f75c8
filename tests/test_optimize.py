"""Grouped vectors: searches read a part of them, find nearly all, and everything else stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from mean_color import unit
from test_projection import DIM, WIDE, Made

from clipsearch import optimizing, vector_files
from clipsearch.cli import main
from clipsearch.optimizing import optimize
from clipsearch.stores import grouped

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.types import OptimizeReport

SIZE = 4_000


def mixture(count: int, random: np.random.Generator) -> np.ndarray:
    """Vectors around 40 centres, a few of which have most of them."""
    centres = np.random.default_rng(5).standard_normal((40, DIM))
    chances = 1 / np.arange(1, 41)
    chosen = centres[random.choice(40, count, p=chances / chances.sum())]
    return unit(chosen + 0.25 * random.standard_normal((count, DIM)) + 0.5)


def questions(texts: object, seed: int = 11) -> np.ndarray:
    """Questions that lie apart from all vectors, as texts do."""
    rows = mixture(len(texts), np.random.default_rng(seed))  # type: ignore[arg-type]
    return unit(rows - 0.15)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "MIN_TAIL", 20)
    monkeypatch.setattr(optimizing, "WORTH", 1_000)
    monkeypatch.setattr(optimizing, "LEAST", 500)
    monkeypatch.setattr(vector_files, "SEGMENT", 3_000 * 2 * DIM)


@pytest.fixture
def made(tmp_path: Path):
    made = Made(tmp_path)
    made.add_rows(mixture(SIZE, made.random))
    made.refresh()
    yield made
    made.catalog.close()


def run(made: Made, *, exact: bool = False) -> OptimizeReport:
    return optimize(made.catalog, made.folder, made.key, WIDE, questions, exact=exact)


def answers(made: Made, k: int = 10) -> list[list[int]]:
    opened = made.open()
    return [opened.search(question, k).ids.tolist() for question in questions(range(100), seed=12)]


def test_a_search_finds_nearly_all_of_the_best_and_scores_them_exactly(made: Made) -> None:
    report = run(made)
    assert (report.vectors, report.grouped) == (SIZE, SIZE)
    assert report.recall is not None
    assert report.recall >= 0.99
    assert made.rows == [3_000, 1_000]
    opened = made.open()
    hits = 0
    own = mixture(100, np.random.default_rng(13))
    for question in (*questions(range(100), seed=12), *own):
        scores = made.vectors.astype(np.float64) @ question
        best = (np.argsort(-scores)[:10] + 1).tolist()
        found = opened.search(question, 10)
        hits += len(set(best) & set(found.ids.tolist()))
        np.testing.assert_allclose(found.scores, scores[found.ids - 1], atol=1e-6)
    assert hits >= 0.98 * 2_000, "of questions that it was not tuned on"
    for segment in made.catalog.segments(made.key):
        index = grouped.read(made.folder / segment.file)
        assert index.nprobe < index.nlist / 3, "and not by looking everywhere"


def test_searches_among_some_ids_and_long_ones_stay_exact(made: Made) -> None:
    run(made)
    opened = made.open()
    among = np.arange(5, SIZE, 7, dtype=np.int64)
    for question in questions(range(30), seed=14):
        scores = made.vectors.astype(np.float64) @ question
        wanted = among[np.argsort(-scores[among - 1])[:10]]
        assert opened.search(question, 10, among).ids.tolist() == wanted.tolist()
        assert opened.search(question, 200).ids.tolist() == (np.argsort(-scores)[:200] + 1).tolist()


def test_every_vector_is_still_given_by_ascending_content(made: Made) -> None:
    run(made)
    ids, rows = (np.concatenate(parts) for parts in zip(*made.open().blocks(), strict=True))
    assert ids.tolist() == list(range(1, SIZE + 1))
    np.testing.assert_array_equal(rows, made.vectors)


def test_undone_it_answers_as_before(made: Made) -> None:
    before, rows = answers(made), made.rows
    run(made)
    report = run(made, exact=True)
    assert report.grouped == 0
    assert (answers(made), made.rows) == (before, rows)
    assert len(made.files) == 2
    made.check()


def test_new_vectors_are_found_at_once_and_grouped_by_the_next_call(made: Made) -> None:
    run(made)
    files = made.files
    made.add_rows(mixture(600, made.random))
    made.refresh()
    assert made.files[:2] == files, "what is grouped is not written again"
    newest = made.vectors[-1].astype(np.float32)
    assert made.open().search(newest, 1).ids.tolist() == [SIZE + 600]
    assert run(made).grouped == SIZE + 600
    assert made.rows == [3_000, 1_600], "and a segment that is half empty is filled first"
    assert made.files[0] == files[0]
    again = run(made)
    assert (again.grouped, again.recall) == (SIZE + 600, None)


def test_a_small_library_is_left_alone(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizing, "WORTH", SIZE + 1)
    files = made.files
    assert (run(made).grouped, made.files) == (0, files)


def test_vectors_without_groups_stay_exact(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add(2_000)  # random directions: neighbors lie anywhere
    made.refresh()
    report = run(made)
    assert (report.grouped, report.recall) == (0, None)
    made.check()
    made.catalog.close()


@pytest.mark.parametrize("when", [1, 8, 18])
def test_interrupted_it_leaves_the_library_as_it_was(made: Made, when: int) -> None:
    files = made.files
    calls = iter(range(1, when))

    def interrupt(_done: int, _total: int) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize(made.catalog, made.folder, made.key, WIDE, questions, progress=interrupt)
    assert made.files == files
    made.check()


def test_a_damaged_grouped_file_costs_a_sentence_and_is_written_anew(made: Made) -> None:
    before = answers(made)
    run(made)
    damaged, whole = made.files
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"?" * 5)
    answers(made)
    assert "missing or damaged" in made.told[0]
    assert made.refresh()
    assert made.files[1] == whole
    assert [segment.grouped for segment in made.catalog.segments(made.key)] == [False, True]
    made.told.clear()
    hits = sum(len(set(a) & set(b)) for a, b in zip(answers(made), before, strict=True))
    assert hits >= 980
    assert made.told == []


def test_progress_goes_from_nothing_to_all(made: Made) -> None:
    steps: list[tuple[int, int]] = []
    optimize(
        made.catalog,
        made.folder,
        made.key,
        WIDE,
        questions,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == sorted(steps)
    assert steps[-1] == (SIZE, SIZE)


def test_the_command_says_what_it_found(
    tmp_path: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way, with the built-in model's own text encoder."""
    from clipsearch.encoders.opening import open_image_encoder
    from clipsearch.encoders.registry import resolve
    from clipsearch.index_run import BUILTIN_MODEL

    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    model = open_image_encoder(resolve(BUILTIN_MODEL)).model
    monkeypatch.setattr("test_projection.WIDE", model)
    monkeypatch.setattr("test_projection.DIM", model.dim)
    monkeypatch.setattr(vector_files, "SEGMENT", 1 << 30)
    made = Made(tmp_path)
    random = np.random.default_rng(2)
    made.add_rows(unit(random.standard_normal((12, model.dim)).repeat(100, axis=0)))
    made.catalog.close()
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path))
    monkeypatch.setattr(grouped, "MAX_SHARE", 1)
    assert main(["optimize"]) == 0
    said = capsys.readouterr().out
    assert "1,200 of 1,200 photos grouped" in said
    assert "of the ten best" in said
    assert main(["status"]) == 0
    assert "searched approximately" in capsys.readouterr().out
    assert main(["optimize"]) == 0
    assert capsys.readouterr().out.startswith("Nothing to do: 1,200 of 1,200")
    assert main(["optimize", "--exact"]) == 0
    assert "it is exact" in capsys.readouterr().out
    monkeypatch.setattr(optimizing, "WORTH", 10_000)
    assert main(["optimize"]) == 0
    assert "it stays exact" in capsys.readouterr().out
