"""What stands for each label: the photos that have it most surely."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from clipsearch.cli.terminal import harmless
from clipsearch.cli.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from clipsearch.contact_sheet import Section
    from clipsearch.types import Prediction

SHOWN = 10
PLOTTED = 5
_BARS = 40  # more make no plot to look at


class Surest:
    """Keeps the surest photos of each label, as predictions pass by.

    Args:
        labels: In the order of the predictions' probabilities.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._counts = [0] * len(labels)
        # The least sure first; of equals the later one goes.
        self._heaps: list[list[tuple[float, int, Prediction]]] = [[] for _ in labels]

    def keep(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Let all predictions through."""
        for number, prediction in enumerate(predictions):
            best = prediction.best
            self._counts[best] += 1
            entry = (prediction.probabilities[best], -number, prediction)
            if len(self._heaps[best]) < SHOWN:
                heapq.heappush(self._heaps[best], entry)
            else:
                heapq.heappushpop(self._heaps[best], entry)
            yield prediction

    def sections(self, examples: int = SHOWN) -> list[Section]:
        """Photos of each label that has any, the surest first; the most frequent label first."""
        from clipsearch.contact_sheet import Section, Tile

        return [
            Section(
                f"{harmless(self._labels[label])}   {count(self._counts[label], 'photo')}",
                [
                    Tile(path, f"{probability:.1%}", harmless(path.name))
                    for probability, path in self._best(label, examples)
                ],
            )
            for label in self._order()
            if self._counts[label]
        ]

    def plot(self, file: Path) -> None:
        """Write a picture of how many photos each label has, with a row of examples each.

        Raises:
            UsageError: A file has come to be there.
            OutputError: It cannot be written.
        """
        from clipsearch.cli.showing import thumbnails_of, write_picture
        from clipsearch.contact_sheet import label_plot

        sections = self.sections(PLOTTED)[:_BARS]
        counts = [(harmless(self._labels[label]), self._counts[label]) for label in self._order()]
        write_picture(file, label_plot(counts[:_BARS], sections, thumbnails_of(sections)))

    def _order(self) -> list[int]:
        return sorted(range(len(self._labels)), key=lambda label: -self._counts[label])

    def _best(self, label: int, examples: int) -> list[tuple[float, Path]]:
        ordered = sorted(self._heaps[label], key=lambda entry: entry[:2], reverse=True)
        return [(probability, prediction.path) for probability, _, prediction in ordered[:examples]]
