"""Finding pairs of near vectors among many; no model, no catalog and no picture take part.

python -m benchmarks.duplicates --vectors 1000000

Vectors of 512 dimensions, of which every hundredth has a copy, at a cosine of 0.93, 0.96 or 0.99. Vectors
drawn evenly from the sphere are the worst case: no cell is more like one than another. Those of photos
gather; here around 20,000 centres.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.stores.pairs import near_pairs

if TYPE_CHECKING:
    from typing import IO

    from numpy.typing import NDArray

_DIM, _BLOCK, _CENTRES, _EVERY = 512, 50_000, 20_000, 100
_COSINES = (0.93, 0.96, 0.99)
_FLOOR = 0.925
# Around its centre, a vector is about as near to another as two photos of one kind: cosine 0.7.
_SPREAD = 0.65


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--vectors", type=int, default=100_000)
    options.add_argument("--even", action="store_true", help="evenly over the sphere")
    given = options.parse_args()
    with tempfile.TemporaryFile() as file:
        planted = _write(file, given.vectors, even=given.even)
        rows = np.memmap(file, "<f2", "r", shape=(given.vectors, _DIM))
        started = time.perf_counter()
        pairs = near_pairs(rows, _FLOOR, _advance)
        took = time.perf_counter() - started
        print(file=sys.stderr)
        keys = set((pairs[:, 0] * given.vectors + pairs[:, 1]).tolist())
        peak = _peak() / 1e6
        print(f"{given.vectors:,} vectors in {took:.0f} s; {len(pairs):,} pairs; {peak:,.0f} MB of its own")
        for number, cosine in enumerate(_COSINES):
            wanted = planted[number :: len(_COSINES)]
            found = sum(one * given.vectors + other in keys for one, other in wanted)
            print(f"copies at cosine {cosine}: {found:,} of {len(wanted):,} found")


def _write(file: IO[bytes], count: int, *, even: bool) -> list[tuple[int, int]]:
    """Write the vectors; returns the row numbers of each one that has a copy, and of that."""
    random = np.random.default_rng(0)
    centres = _units(random.standard_normal((_CENTRES, _DIM), np.float32))
    planted: list[tuple[int, int]] = []
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        noise = _units(random.standard_normal((size, _DIM), np.float32))
        rows = noise if even else _units(centres[random.integers(_CENTRES, size=size)] + _SPREAD * noise)
        for place in range(0, size - 1, _EVERY):
            copy = int(random.integers(place + 1, min(place + _EVERY, size)))
            cosine = _COSINES[len(planted) % len(_COSINES)]
            aside = random.standard_normal(_DIM).astype(np.float32)
            aside -= (aside @ rows[place]) * rows[place]
            aside /= np.linalg.norm(aside)
            rows[copy] = cosine * rows[place] + np.sqrt(1 - cosine**2) * aside
            planted.append((start + place, start + copy))
        rows.astype("<f2").tofile(file)
    return planted


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _advance(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,}", end="", file=sys.stderr)


def _peak() -> int:
    """Peak memory that is not mapped from the file, in bytes, where Linux tells; else of all."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        facts = dict(line.split(":", 1) for line in status)
    mapped = int(facts["RssFile"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - mapped * 1024


if __name__ == "__main__":
    main()
