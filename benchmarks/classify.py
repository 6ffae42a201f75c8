"""Sorting every photo of a large library by ten labels, from the stored embeddings; rclip cannot.

python -m benchmarks.classify --photos 1000000
"""

from __future__ import annotations

import sys

from benchmarks.libraries import Sides
from benchmarks.limits import interpreter_start, read_bandwidth
from benchmarks.population import DIM
from benchmarks.process import Contender, in_turns
from benchmarks.report import Row, Wanted, parser, show

_LABELS = "dog,cat,bird,car,flower,beach,mountain,portrait,food,building"
_HALF = 2  # bytes of a float16
_SECONDS = 10.0  # for a million photos


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--photos", type=int, default=1_000_000, metavar="N", help="default %(default)s")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    count = chosen.photos
    library = sides.imagined(count).ours
    command = ("classify", "--labels", _LABELS)
    table, csv = in_turns(
        [
            Contender(sides.ours.command(library, *command)),
            Contender(sides.ours.command(library, *command, "--format", "csv")),
        ],
        chosen.rounds,
    )
    bandwidth = read_bandwidth()
    limit = interpreter_start() + count * DIM * _HALF / bandwidth
    wanted = Wanted("at most", _SECONDS, "s")
    rows = [
        Row(f"{count:,} photos, a line each", "s", None, table.seconds, wanted, limit),
        Row("   peak private memory", "MB", None, table.private),
        Row("   with all probabilities, as CSV", "s", None, csv.seconds, None, limit),
        Row("   peak private memory", "MB", None, csv.private),
    ]
    notes = [
        f"Whole processes with warm page cache, output to a file, medians of {chosen.rounds} rounds.",
        f"limit: starting Python and reading every float16 vector once at {bandwidth / 1e9:.1f} GB/s.",
    ]
    return show("Classifying a library by ten labels", sides.names, rows, notes=notes, versions=[])


if __name__ == "__main__":
    sys.exit(main())
