"""Searching millions of vectors, exactly and after `clipsearch optimize`; no model and no catalog take part.

python -m benchmarks.optimize --vectors 10000000

Vectors of photos gather around 20,000 centres of 400 themes, of which few have most photos; questions
stand apart from them as texts do from photos, towards one or two centres. Variance falls from dimension to
dimension.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.limits import read_bandwidth
from benchmarks.population import DIM, building
from benchmarks.process import in_own_process
from benchmarks.report import Row, Wanted, parser, show
from clipsearch.vector_files import SEGMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_THEMES, _CENTRES = 400, 20_000
_BLOCK = 65_536
_ROOM = SEGMENT // (2 * DIM)
_NEAREST = 10
_QUESTIONS = 255  # as many as `clipsearch optimize` asks
_ASKED = 50
_SECONDS, _RECALL = 1.0, 98.0


class Structured:
    """The world that vectors and questions are drawn from."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        falling = (1 + np.arange(DIM)) ** -0.4
        self._scale = (falling / np.linalg.norm(falling)).astype(np.float32)
        themes = random.standard_normal((_THEMES, DIM), np.float32)
        self._centres = 0.75 * themes[random.integers(0, _THEMES, _CENTRES)]
        self._centres += 0.65 * random.standard_normal((_CENTRES, DIM), np.float32)
        self._centres *= self._scale
        chances = (1 + np.arange(_CENTRES)) ** -0.7
        self._chances = chances / chances.sum()
        self._photos, self._texts = random.standard_normal((2, DIM), np.float32) / DIM**0.5

    def photos(self, count: int, seed: int) -> NDArray[np.float32]:
        """`(count, DIM)` float32 unit rows."""
        random = np.random.default_rng([1, seed])
        rows = random.standard_normal((count, DIM), np.float32)
        rows *= 1.1 * self._scale
        rows += self._centres[random.choice(_CENTRES, count, p=self._chances)]
        rows += 0.9 * self._photos
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def texts(self, count: int, seed: int) -> NDArray[np.float32]:
        """`(count, DIM)` float32 unit rows, apart from the photos'."""
        random = np.random.default_rng([2, seed])
        first, second = random.choice(_CENTRES, (2, count), p=self._chances)
        rows = self._centres[first] + random.uniform(0, 0.6, (count, 1)) * self._centres[second]
        rows += 1.1 * self._scale * random.standard_normal((count, DIM))
        rows += 1.5 * self._texts
        unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit


@dataclass(frozen=True, slots=True)
class Asked:
    """What a process that searches has found and taken.

    Attributes:
        seconds: Of one search, the median.
        private: Memory that only this process has, in bytes, more than before the files were opened.
        opening: Seconds to open all files.
        found: Ids of the ten nearest of each question.
    """

    seconds: float
    private: int
    opening: float
    found: list[list[int]]


def build_flat(folder: Path, count: int) -> float:
    """Write the exact files; returns the seconds the store took."""
    from clipsearch.stores.faiss import build

    world, seconds = Structured(), 0.0
    for number, start in enumerate(range(0, count, _ROOM)):
        rows = min(_ROOM, count - start)

        def blocks(
            start: int = start, rows: int = rows
        ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
            nonlocal seconds
            for first in range(start, start + rows, _BLOCK):
                began = time.perf_counter()
                size = min(_BLOCK, start + rows - first)
                vectors = world.photos(size, first).astype(np.float16)
                seconds -= time.perf_counter() - began
                yield np.arange(first, first + size, dtype=np.int64), vectors

        began = time.perf_counter()
        build(folder / f"{number}.flat", DIM, rows, blocks())
        seconds += time.perf_counter() - began
    return seconds


def build_groups(folder: Path, flat: Path) -> str:
    """Group what is in one file; says what came of it."""
    from clipsearch.stores.faiss import FaissStore
    from clipsearch.stores.grouped import build_grouped

    target = flat.with_suffix(".grouped")
    found = build_grouped(folder / target.name, DIM, FaissStore(flat), Structured().texts(_QUESTIONS, 0))
    if found is None:
        (folder / target.name).symlink_to(flat.name)
        return f"{flat.name}: not grouped"
    return f"{flat.name}: {found.searched} of {found.groups} groups searched, recall {found.recall:.4f}"


def ask(files: list[Path], rounds: int) -> Asked:
    """Search all files, one question after the other."""
    from clipsearch.stores.exact import best
    from clipsearch.stores.faiss import FaissStore
    from clipsearch.stores.grouped import GroupedStore

    world = Structured()
    questions = np.concatenate([world.texts(_ASKED, 1), world.photos(_ASKED, 2**31)])
    before, began = _private(), time.perf_counter()
    stores = [
        GroupedStore(file) if file.suffix == ".grouped" and not file.is_symlink() else FaissStore(file)
        for file in files
    ]
    opening = time.perf_counter() - began
    seconds: list[float] = []
    for _ in range(rounds + 1):  # the first brings the files into the page cache
        seconds, found = [], []
        for question in questions:
            began = time.perf_counter()
            parts = [store.search(question, _NEAREST) for store in stores]
            ids, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
            found.append(best(ids, scores, _NEAREST).ids.tolist())
            seconds.append(time.perf_counter() - began)
    return Asked(statistics.median(seconds), _private() - before, opening, found)


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--vectors", type=int, default=10_000_000, metavar="N", help="default %(default)s")
    options.add_argument("--delete", action="store_true", help="delete the files at the end")
    chosen = options.parse_args()
    folder = chosen.cache / f"structured-{chosen.vectors}"
    shutil.rmtree(folder, ignore_errors=True)  # building is part of what is measured
    notes = []
    with building(folder) as draft:
        flat_seconds = in_own_process(build_flat, draft, chosen.vectors)
        began = time.perf_counter()
        for flat in sorted(draft.glob("*.flat")):
            notes.append(in_own_process(build_groups, draft, flat))
            print(notes[-1], flush=True)
        group_seconds = time.perf_counter() - began
    exact = in_own_process(ask, sorted(folder.glob("*.flat")), chosen.rounds)
    grouped = in_own_process(ask, sorted(folder.glob("*.grouped")), chosen.rounds)
    hits = [len(set(true) & set(found)) for true, found in zip(exact.found, grouped.found, strict=True)]
    texts, photos = (100 * sum(part) / (_NEAREST * _ASKED) for part in (hits[:_ASKED], hits[_ASKED:]))
    limit = chosen.vectors * DIM * 2 / read_bandwidth()
    rows = [
        Row("exact search, warm", "s", None, exact.seconds, Wanted("at most", _SECONDS, "s"), limit),
        Row("search, warm", "s", exact.seconds, grouped.seconds),
        Row("   recall of the ten best, texts", "%", 100, texts, Wanted("at least", _RECALL, "%")),
        Row("   recall of the ten best, photos", "%", 100, photos, Wanted("at least", _RECALL, "%")),
        Row("   opening the files", "s", exact.opening, grouped.opening),
        Row("   private memory of vectors", "MB", exact.private, grouped.private),
        Row("building", "s", flat_seconds, group_seconds),
    ]
    notes += [
        f"{2 * _ASKED} questions, half of them texts, none asked before; medians of the last round.",
        "limit: reading every float16 vector once, on all cores.",
    ]
    if chosen.delete:
        shutil.rmtree(folder)
    title = f"{chosen.vectors:,} vectors of {DIM} dimensions"
    return show(title, ("exact", "grouped"), rows, notes=notes, versions=[])


def _private() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    sys.exit(main())
