"""Adding ten photos to a large library: time and bytes written, beside the same on a small one.

python -m benchmarks.add ~/Photos --photos 1000000
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.libraries import Sides
from benchmarks.photos import photo_set
from benchmarks.process import Contender, in_turns, output_of
from benchmarks.report import Row, Wanted, parser, show

_ADDED = 10
_SMALL = 1_000
# "As for ten photos, not for a million": trees of a million rows are a level or two deeper, and ten random
# hashes fall on ten pages of their own instead of a few shared ones.
_TIME, _BYTES = 1.2, 4.0


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=5)
    options.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of JPEGs")
    options.add_argument("--photos", dest="count", type=int, default=1_000_000, metavar="N")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    added = photo_set(chosen.cache, chosen.photos, _ADDED)

    def adding(size: int) -> Contender:
        library = sides.imagined(size).ours
        forget = sides.ours.command(library, "forget", str(added))
        return Contender(sides.ours.command(library, "index", str(added)), clean_up=lambda: output_of(forget))

    small, large = in_turns([adding(_SMALL), adding(chosen.count)], chosen.rounds)
    rows = [
        Row(f"{_ADDED} photos: whole process", "s", small.seconds, large.seconds, Wanted("at most", _TIME)),
        Row("   written", "kB", small.handed, large.handed, Wanted("at most", _BYTES)),
        Row("   touched pages of the cache", "kB", small.stored, large.stored),
        Row("   peak private memory", "MB", small.private, large.private),
    ]
    notes = [
        f"Whole processes with warm page cache, in turns, medians of {chosen.rounds} rounds; the photos are",
        "forgotten again after each. Their folder is a root of its own: the others are not walked.",
        "Written: as passed to the system. A page of the cache may be large, and counts whole.",
    ]
    heads = f"to {_SMALL:,}", f"to {chosen.count:,}"
    return show(f"Adding {_ADDED} photos to a library", heads, rows, notes=notes, versions=[])


if __name__ == "__main__":
    sys.exit(main())
