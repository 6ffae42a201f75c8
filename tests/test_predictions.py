"""Predictions in blocks say what predictions one by one say."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipsearch.cli.predictions import Tally, write_prediction_table
from clipsearch.predictions import Predictions
from clipsearch.records import prediction_record, prediction_records
from clipsearch.surest import Surest
from clipsearch.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS = ["cat", "dog", "cow"]


def _random(photos: int, seed: int) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    # Of such steps many are equal, and many lie in the middle between two roundings to 3 or to 6 digits.
    steps = rng.integers(0, 129, (photos, 3)) / 128
    rows = np.where(rng.random((photos, 1)) < 0.5, steps, rng.random((photos, 3)))
    return [
        Prediction(f"/{seed}/{number}.jpg", tuple(row), int(np.argmax(row)), number)
        for number, row in enumerate(rows.astype(np.float32).tolist())
    ]


def _blocks(predictions: Sequence[Prediction], size: int) -> list[Predictions]:
    starts = range(0, len(predictions), size)
    return [Predictions.of(predictions[start : start + size]) for start in starts]


def test_a_block_gives_back_the_predictions_it_was_made_of() -> None:
    predictions = _random(500, 1)
    assert list(Predictions.of(predictions)) == predictions


@pytest.mark.parametrize("least", [0, 0.5, 0.9, 1])
def test_those_sure_enough_are_kept_and_counted(least: float) -> None:
    predictions = _random(500, 2)
    tally = Tally(LABELS)
    kept = [one for block in tally.count(_blocks(predictions, 64), least) for one in block]
    assert kept == [one for one in predictions if one.probabilities[one.best] >= least]
    assert (tally.photos, tally.left_out) == (len(kept), len(predictions) - len(kept))


def test_the_limit_of_probability_is_not_rounded() -> None:
    nearly = float(np.float32(0.9))  # a little less
    assert nearly < 0.9
    assert len(Predictions.of([Prediction("/a.jpg", (nearly, 0.1), 0)]).at_least(0.9)) == 0


@pytest.mark.parametrize("kept", [0, 1, 7])
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_the_surest_are_the_same_however_the_blocks_are_cut(kept: int, size: int) -> None:
    predictions = _random(300, 3)
    surest = Surest(len(LABELS), kept)
    passed = [one for block in surest.keep(_blocks(predictions, size)) for one in block]
    assert passed == predictions
    for label in range(len(LABELS)):
        # Python's sort keeps the order of equals.
        having = [one for one in predictions if one.best == label]
        assert surest.counts[label] == len(having)
        assert surest.of(label) == sorted(having, key=lambda one: -one.probabilities[one.best])[:kept]


def test_records_of_a_block_round_as_those_of_one() -> None:
    predictions = _random(2000, 4)
    records = list(prediction_records(Predictions.of(predictions), LABELS))
    assert records == [prediction_record(one, LABELS) for one in predictions]


@pytest.mark.parametrize(("top", "limit"), [(1, None), (2, 50), (3, None)])
def test_the_table_rounds_and_ranks_as_python_does(
    top: int, limit: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = _random(2000, 5)
    written = write_prediction_table(_blocks(predictions, 64), LABELS, top=top, limit=limit)
    lines = []
    for one in predictions[:limit]:
        ranked = sorted(range(len(LABELS)), key=lambda label: -one.probabilities[label])[:top]
        cells = [cell for label in ranked for cell in (f"{one.probabilities[label]:.1%}", LABELS[label])]
        lines.append("\t".join([*cells, one.file]))
    assert capsys.readouterr().out.splitlines() == lines
    assert written == len(lines)


def test_one_odd_name_in_a_block_is_spelled_out_alone(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"/photos/{number}.jpg" for number in range(20)]
    random.Random(6).shuffle(names)
    names[7] = "/photos/two\nlines.jpg"
    block = Predictions.of([Prediction(name, (1.0,), 0) for name in names])
    write_prediction_table([block], ["cat"], top=1, limit=None)
    shown = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown[7] == "$'/photos/two\\nlines.jpg'"
    assert shown[:7] + shown[8:] == names[:7] + names[8:]
