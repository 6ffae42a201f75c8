"""Predictions as table rows and records, and how often each label came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, harmless, on_terminal
from clipsearch.cli.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.types import Prediction

_WIDEST_LABEL = 32  # a longer one is printed whole, out of line
_BAR = 24
_GAP = "  "


class Tally:
    """Counts how often each label is the most probable one, as predictions pass by.

    Attributes:
        labels: In the order given.
        photos: Predictions let through so far.
        left_out: Predictions held back because no label was probable enough.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.photos = 0
        self.left_out = 0
        self._counts = [0] * len(labels)

    def count(self, predictions: Iterable[Prediction], min_prob: float) -> Iterator[Prediction]:
        """Let through, and count, the predictions whose best label has at least this probability."""
        for prediction in predictions:
            best = prediction.best
            if prediction.probabilities[best] < min_prob:
                self.left_out += 1
                continue
            self.photos += 1
            self._counts[best] += 1
            yield prediction

    def show(self) -> None:
        """Print the counts, most frequent first: under the table, or in a pipe beside it."""
        from rich.cells import cell_len
        from rich.text import Text

        below = on_terminal()
        out = console(stderr=not below)
        block = "#" if out.options.ascii_only else "━"
        ordered = sorted(zip(self._counts, self.labels, strict=True), key=lambda pair: -pair[0])
        width = max(cell_len(harmless(label)) for label in self.labels)
        digits = len(f"{ordered[0][0]:,}")
        longest = max(0, min(_BAR, out.width - 1 - width - digits - 2 * len(_GAP) - len(" 100.0%")))
        if below:
            out.print()
        for number, label in ordered:
            name = harmless(label)
            bar = block * round(longest * number / ordered[0][0])
            share = f"{number / self.photos:>7.1%}"
            line = Text(name + " " * (width - cell_len(name)) + _GAP)
            out.print(line.append(f"{number:>{digits},}{share}{_GAP}").append(bar, "cyan"))
        if self.left_out:
            out.print(f"{count(self.left_out, 'photo')} left out: no label probable enough", style="dim")


def write_prediction_table(
    predictions: Iterable[Prediction], labels: Sequence[str], *, top: int, limit: int | None
) -> int:
    """Write at most `limit` rows, the `top` most probable labels in each, and use up all predictions.

    Returns:
        How many rows there are.
    """
    from rich.cells import cell_len

    names = [harmless(label) for label in labels]
    width = min(_WIDEST_LABEL, max(map(cell_len, names)))
    pair = (Column("prob", len("100.0%"), "cyan", right=True), Column("label", width, "bold"))
    table = Table(pair * top)
    rows = 0
    for prediction in predictions:
        if limit is not None and rows == limit:
            continue  # counted all the same
        rows += 1
        best = [prediction.best] if top == 1 else _most_probable(prediction.probabilities, top)
        cells = [cell for label in best for cell in (f"{prediction.probabilities[label]:.1%}", names[label])]
        table.row(cells, prediction.path if table.aligned else prediction.file)
    return rows


def _most_probable(probabilities: Sequence[float], top: int) -> list[int]:
    """Positions of the largest, the first of equals first."""
    return sorted(range(len(probabilities)), key=lambda position: -probabilities[position])[:top]
