"""What stands for each label, shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch import surest
from clipsearch.cli.terminal import harmless
from clipsearch.cli.wording import count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clipsearch.contact_sheet import Section

SHOWN = 10
PLOTTED = 5
_BARS = 40  # more make no plot to look at


class Surest(surest.Surest):
    """Shows what it has kept.

    Args:
        labels: In the order of the predictions' probabilities.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(len(labels), SHOWN)
        self._labels = labels

    def sections(self, examples: int = SHOWN) -> list[Section]:
        """Photos of each label that has any, the surest first; the most frequent label first."""
        from clipsearch.contact_sheet import Section, Tile

        return [
            Section(
                f"{harmless(self._labels[label])}   {count(self.counts[label], 'photo')}",
                [
                    Tile(one.path, f"{one.probabilities[label]:.1%}", harmless(one.path.name))
                    for one in self.of(label)[:examples]
                ],
            )
            for label in self._order()
            if self.counts[label]
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
        counts = [(harmless(self._labels[label]), self.counts[label]) for label in self._order()]
        write_picture(file, label_plot(counts[:_BARS], sections, thumbnails_of(sections)))

    def _order(self) -> list[int]:
        return sorted(range(len(self._labels)), key=lambda label: -self.counts[label])
