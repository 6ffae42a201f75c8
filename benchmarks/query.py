"""A text query from a cold shell, in libraries of several sizes: wall time and memory of the whole process.

python -m benchmarks.query --sizes 1000,100000,1000000
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.libraries import Sides
from benchmarks.limits import interpreter_start, read_bandwidth
from benchmarks.population import DIM
from benchmarks.process import Contender, in_turns, output_of, read_files
from benchmarks.report import Row, Wanted, parser, show

_QUERY = "a brown dog on the beach"
_HALF = 2  # bytes of a float16
# Targets by library size: on time, on peak resident memory, on peak private memory; as parts of rclip's.
_TARGETS = {1_000: (0.6, 0.6, None), 100_000: (0.25, None, None), 1_000_000: (0.04, None, 0.1)}


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--sizes", default="1000,100000,1000000", help="photos (default %(default)s)")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    start, bandwidth = interpreter_start(), read_bandwidth()
    rows: list[Row] = []
    agreed: list[str] = []
    for size in map(int, chosen.sizes.split(",")):
        libraries = sides.imagined(size)
        theirs, ours = in_turns(
            [
                Contender(
                    sides.theirs.search(libraries.theirs, libraries.root, _QUERY),
                    prepare=partial(read_files, libraries.theirs),
                ),
                Contender(
                    sides.ours.command(libraries.ours, "search", _QUERY),
                    prepare=partial(read_files, libraries.ours),
                ),
            ],
            chosen.rounds,
        )
        bounds = [
            None if part is None else Wanted("at most", part)
            for part in _TARGETS.get(size, (None, None, None))
        ]
        limit = start + size * DIM * _HALF / bandwidth
        rows += [
            Row(f"{size:,} photos: time", "s", theirs.seconds, ours.seconds, bounds[0], limit),
            Row("   peak resident memory", "MB", theirs.resident, ours.resident, bounds[1]),
            Row("   peak private memory", "MB", theirs.private, ours.private, bounds[2]),
        ]
        first = _paths(output_of(sides.theirs.search(libraries.theirs, libraries.root, _QUERY, paths=True)))
        second = _paths(output_of(sides.ours.command(libraries.ours, "search", _QUERY, "--format", "paths")))
        agreed.append(f"{len(first & second)} of {len(first)}")
    notes = [
        f"Whole processes with warm page cache, in turns, medians of {chosen.rounds} rounds; rclip with -n.",
        "Resident memory has the pages of mapped files in it, private memory only what cannot be dropped.",
        (
            f"limit: starting Python ({start * 1e3:.0f} ms) and reading every float16 vector once at"
            f" {bandwidth / 1e9:.1f} GB/s."
        ),
        f"Photos that both sides find: {', '.join(agreed)}.",
    ]
    return show(
        "Text query, cold process", sides.names, rows, notes=notes, versions=[sides.theirs.versions()]
    )


def _paths(output: str) -> set[Path]:
    return {Path(line) for line in output.splitlines()}


if __name__ == "__main__":
    sys.exit(main())
