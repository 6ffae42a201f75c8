"""What stands for each label: the photos that have it most surely."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        # The least sure first; of equals the later one goes.
        self._heaps: list[list[tuple[float, int, Prediction]]] = [[] for _ in range(labels)]

    def keep(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Let all predictions through."""
        for number, prediction in enumerate(predictions):
            best = prediction.best
            self.counts[best] += 1
            heap, entry = self._heaps[best], (prediction.probabilities[best], -number, prediction)
            if len(heap) < self._kept:
                heapq.heappush(heap, entry)
            elif heap:
                heapq.heappushpop(heap, entry)
            yield prediction

    def of(self, label: int) -> list[Prediction]:
        """The predictions kept for a label, the surest first."""
        ordered = sorted(self._heaps[label], key=lambda entry: entry[:2], reverse=True)
        return [prediction for _, _, prediction in ordered]
