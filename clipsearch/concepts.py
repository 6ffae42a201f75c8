"""Concepts: what words do not say, taught by example, as one direction among the embeddings of photos.

A linear discriminant (Fisher 1936) with the spread of the whole library: with `L` and `U` the means of the
photos that show the concept and of those that do not, and `S` the covariance of the library's embeddings, the
direction is `(S + r I)^-1 (L - U)`. It needs no search for weights, works from a single photo on, and what
all photos of a library share does not count. docs/concepts.md has it measured against other ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.errors import UsageError
from clipsearch.terms import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# The ridge `r`, in parts of the mean variance of a dimension: it matters little between 1 and 10.
_RIDGE = 3.0
# The library counts as so many photos that do not show the concept: with few of the user's own, or none.
_BACKGROUND = 20


@dataclass(frozen=True, slots=True)
class Direction:
    """What was learned.

    Attributes:
        vector: `(dim,)` float32, unit length: the higher the dot product, the more a photo shows it.
        usual: Dot product of the library's mean.
        shown: Dot product to expect of a photo that shows it.
    """

    vector: NDArray[np.float32]
    usual: float
    shown: float


def unknown(name: str, known: Sequence[str]) -> UsageError:
    """What to say of a name that no concept has."""
    names = ", ".join(f"{MARK}{one}" for one in known)
    return UsageError(
        f"no concept {MARK}{name}" + (f"; there are {names}" if known else " has been learned"),
        f"teach it: clipsearch concept learn {name} --like DIR\nfor the text itself: {MARK}{MARK}{name}",
    )


def spread(
    blocks: Iterable[NDArray[np.float32]], dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean `(dim,)` and covariance `(dim, dim)` of rows that come in blocks."""
    count, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    for rows in blocks:
        count += len(rows)
        total += rows.sum(axis=0, dtype=np.float64)
        products += rows.T @ rows
    mean = total / max(1, count)
    return mean, products / max(1, count) - np.outer(mean, mean)


def learn(
    liked: NDArray[np.float32],
    unliked: NDArray[np.float32],
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> Direction:
    """The direction that leads to the photos liked, away from the others.

    Args:
        liked: `(n, dim)` unit rows, at least one.
        unliked: `(m, dim)` unit rows, or none.
        mean: `(dim,)` of the library.
        covariance: `(dim, dim)` of the library.

    Raises:
        UsageError: The photos liked are those unliked, or the library is all alike.
    """
    dim = len(mean)
    ridge = _RIDGE * max(np.trace(covariance) / dim, 1e-9)
    whiten = np.linalg.inv(covariance + ridge * np.eye(dim))
    away = (unliked.sum(axis=0) + _BACKGROUND * mean) / (len(unliked) + _BACKGROUND)
    vector = _unit(whiten @ (liked.mean(axis=0) - away))
    usual = float(mean @ vector)
    if len(liked) == 1:
        # Its own score says nothing of others: half of it was seen of them, on average.
        shown = (float(liked[0] @ vector) + usual) / 2
    else:
        # Each photo is held against what the others have taught, to expect no more of strangers.
        total = liked.sum(axis=0, dtype=np.float64)
        held_out = [row @ _unit(whiten @ ((total - row) / (len(liked) - 1) - away)) for row in liked]
        shown = float(np.mean(held_out))
    return Direction(vector.astype(np.float32), usual, max(shown, usual + 1e-3))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:  # noqa: PLR2004 - nothing is left but rounding
        raise UsageError(
            "nothing to learn: what --like shows, --unlike and the library show as well",
            "name photos that differ",
        )
    return vector / length
