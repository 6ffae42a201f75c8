"""Bringing an index up to date when nothing has changed.

python -m benchmarks.rescan --files 50000
"""

from __future__ import annotations

import sys

from benchmarks.libraries import Sides
from benchmarks.limits import walk_rate
from benchmarks.process import Contender, in_turns
from benchmarks.report import Row, Wanted, parser, show


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--files", type=int, default=50_000, metavar="N", help="default %(default)s")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    count = chosen.files
    libraries = sides.of_empty_files(count)
    theirs, ours = in_turns(
        [
            Contender(sides.theirs.index(libraries.theirs, libraries.root)),
            Contender(sides.ours.command(libraries.ours, "index")),
        ],
        chosen.rounds,
    )
    both = sides.theirs.count(libraries.theirs), sides.ours.count(libraries.ours)
    if both != (count, count):
        raise SystemExit(f"{both[0]:,} and {both[1]:,} photos of {count:,} are left: a library is spoilt")
    rates = count / theirs.seconds, count / ours.seconds
    rows = [
        Row(f"{count:,} photos: whole process", "s", theirs.seconds, ours.seconds),
        Row("   photos a second", "photos/s", *rates, Wanted("at least", 2), walk_rate(libraries.root)),
        Row("   peak private memory", "MB", theirs.private, ours.private),
        Row("   written", "MB", theirs.stored, ours.stored),
    ]
    notes = [
        f"Whole processes with warm page cache, in turns, medians of {chosen.rounds} rounds.",
        "limit: listing the folders and asking for each file's size and time, in Python, on one core.",
    ]
    return show("Nothing changed", sides.names, rows, notes=notes, versions=[sides.theirs.versions()])


if __name__ == "__main__":
    sys.exit(main())
