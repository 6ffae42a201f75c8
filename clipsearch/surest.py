"""What stands for each label: the photos that have it most surely."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clipsearch.predictions import Predictions
    from clipsearch.types import Prediction


class Surest:
    """Counts the photos of each label and keeps the surest, as predictions pass by.

    Args:
        labels: How many there are.
        kept: Photos of each to keep.

    Attributes:
        counts: Photos of each label, in the order of the predictions' probabilities.
    """

    def __init__(self, labels: int, kept: int) -> None:
        self.counts = [0] * labels
        self._kept = kept
        self._surest: list[list[Prediction]] = [[] for _ in range(labels)]

    def keep(self, blocks: Iterable[Predictions]) -> Iterator[Predictions]:
        """Let all predictions through."""
        for block in blocks:
            for label, count in enumerate(block.counts()):
                self.counts[label] += count
                if count:
                    found = self._surest[label] + block.surest(label, self._kept)
                    found.sort(key=lambda one: -one.probabilities[one.best])  # of equals the first stays
                    self._surest[label] = found[: self._kept]
            yield block

    def of(self, label: int) -> list[Prediction]:
        """The predictions kept for a label, the surest first."""
        return self._surest[label]
