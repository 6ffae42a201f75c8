"""Predictions in blocks: column by column, for a million photos are too many to be looked at one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class Predictions:
    """Zero-shot classification of several photos; iterating gives a `Prediction` for each.

    Args:
        files: Absolute paths of the photos.
        probabilities: `(n, labels)` float32, as `Prediction.probabilities`.
        photos: Their ids; None for a file that was named.

    Attributes:
        best: `(n,)` positions of the most probable labels, the first of equals.
    """

    __slots__ = ("best", "files", "photos", "probabilities")

    def __init__(
        self, files: Sequence[str], probabilities: NDArray[np.float32], photos: Sequence[int | None]
    ) -> None:
        self.files, self.probabilities, self.photos = files, probabilities, photos
        self.best: NDArray[np.intp] = probabilities.argmax(axis=1)

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Predictions:
        """The block of these predictions, of which there is at least one."""
        rows = np.array([one.probabilities for one in predictions], np.float32)
        return cls([one.file for one in predictions], rows, [one.photo for one in predictions])

    def __len__(self) -> int:
        """How many photos."""
        return len(self.files)

    def __iter__(self) -> Iterator[Prediction]:
        """One prediction after the other."""
        rows = map(tuple, self.probabilities.tolist())
        return map(Prediction, self.files, rows, self.best.tolist(), self.photos)

    def sureness(self) -> NDArray[np.float64]:
        """`(n,)` probabilities of the best labels."""
        return self.probabilities[np.arange(len(self)), self.best].astype(np.float64)

    def counts(self) -> list[int]:
        """How many photos each label fits best."""
        counts: list[int] = np.bincount(self.best, minlength=self.probabilities.shape[1]).tolist()
        return counts

    def surest(self, label: int, most: int) -> list[Prediction]:
        """At most so many of those that a label fits best: the surest, and of equals the first."""
        places = np.flatnonzero(self.best == label)
        order = np.argsort(-self.probabilities[places, label], kind="stable")
        return list(self.at(places[order[:most]]))

    def at(self, places: NDArray[np.intp]) -> Predictions:
        """Those at these positions, in this order."""
        files, photos = self.files, self.photos
        order = places.tolist()
        return Predictions(
            [files[place] for place in order], self.probabilities[places], [photos[place] for place in order]
        )

    def at_least(self, probability: float) -> Predictions:
        """Those whose best label is at least so probable."""
        sure = self.sureness() >= probability
        return self if sure.all() else self.at(np.flatnonzero(sure))
