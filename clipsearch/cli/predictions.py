"""Predictions as table rows and records, and how often each label came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, harmless, on_terminal
from clipsearch.cli.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.predictions import Predictions

_WIDEST_LABEL = 32  # a longer one is printed whole, out of line
_BAR = 24
_GAP = "  "
_WHOLE = 1000  # in thousandths


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

    def count(self, blocks: Iterable[Predictions], min_prob: float) -> Iterator[Predictions]:
        """Let through, and count, the predictions whose best label has at least this probability."""
        for block in blocks:
            kept = block.at_least(min_prob)
            self.photos += len(kept)
            self.left_out += len(block) - len(kept)
            self._counts = [sum(pair) for pair in zip(self._counts, kept.counts(), strict=True)]
            yield kept

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
    blocks: Iterable[Predictions], labels: Sequence[str], *, top: int, limit: int | None
) -> int:
    """Write at most `limit` rows, the `top` most probable labels in each, and use up all blocks.

    Returns:
        How many rows there are.
    """
    from rich.cells import cell_len

    names = [harmless(label) for label in labels]
    width = min(_WIDEST_LABEL, max(map(cell_len, names)))
    pair = (Column("prob", len("100.0%"), "cyan", right=True), Column("label", width, "bold"))
    table = Table(pair * top)
    shares = [f"{share / _WHOLE:.1%}" for share in range(_WHOLE + 1)]
    rows = 0
    for block in blocks:
        wanted = len(block) if limit is None else min(len(block), limit - rows)
        if wanted:  # the rest is counted all the same
            rows += wanted
            columns: list[list[str]] = []
            for thousandths, best in _most_probable(block, wanted, top):
                columns += [shares[share] for share in thousandths], [names[label] for label in best]
            table.rows(columns, block.files[:wanted])
    return rows


def _most_probable(block: Predictions, rows: int, top: int) -> Iterator[tuple[list[int], list[int]]]:
    """Of the first photos of a block: the most probable label, then the next, each with its thousandths."""
    import numpy as np

    chances = block.probabilities[:rows]
    # Of equals the first one is the best.
    order = block.best[:rows, None] if top == 1 else np.argsort(-chances, axis=1, kind="stable")[:, :top]
    # The product of a float32 and a thousand is exact in double precision, so this rounds as `.1%` does.
    thousandths = np.rint(np.take_along_axis(chances, order, 1).astype(np.float64) * _WHOLE).astype(int)
    return zip(thousandths.T.tolist(), order.T.tolist(), strict=True)
