"""Near pairs, held against all against all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipsearch.stores import pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def units(rows: NDArray[np.float64]) -> NDArray[np.float16]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def found(rows: NDArray[np.float16], floor: float) -> set[tuple[int, ...]]:
    return set(map(tuple, pairs.near_pairs(rows, floor, lambda *_: None).tolist()))


def true(rows: NDArray[np.float16], floor: float) -> set[tuple[int, ...]]:
    wide = rows.astype(np.float32)
    return set(map(tuple, np.argwhere(np.triu(wide @ wide.T >= floor, 1)).tolist()))


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 1000])
def test_few_vectors_are_compared_all_with_all(count: int) -> None:
    rows = units(np.random.default_rng(count).normal(size=(count, 12)))
    assert found(rows, 0.8) == true(rows, 0.8)


def test_many_are_compared_cell_by_cell_and_near_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_ONE_CELL", 1000)
    monkeypatch.setattr(pairs, "_CELL", 100)
    random = np.random.default_rng(0)
    rows = random.normal(size=(6000, 64))
    rows[3000:3300] = rows[:300] + 0.3 * random.normal(size=(300, 64))
    stored = units(rows)
    wanted, got = true(stored, 0.9), found(stored, 0.9)
    assert len(wanted) >= 290
    assert got <= wanted
    assert len(got) >= 0.95 * len(wanted)


def test_a_thousand_of_a_kind_hang_together_by_few_pairs() -> None:
    rows = units(np.random.default_rng(1).normal(size=(1, 16)) + np.zeros((1000, 1)))
    got = found(rows, 0.9)
    assert len(got) <= 1000 * pairs.MOST_PARTNERS + 1000
    reached = {0}
    for one, other in sorted(got):
        if one in reached:
            reached.add(other)
    assert len(reached) == 1000
