"""One run over very many photos: does anything grow, the longer it runs?

python -m benchmarks.endurance --photos 300000

Indexes small synthetic pictures with the built-in model, looks through them again when nothing has changed,
and searches a thousand times through one opened library.
"""

from __future__ import annotations

import csv
import io
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import BooleanOptionalAction
from bisect import bisect_left
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.ours import PROJECT, prepared
from benchmarks.population import building, path_of
from benchmarks.process import Command, ProgramFailedError, counters, in_own_process, run
from benchmarks.report import Row, Wanted, parser, show
from clipsearch import Library
from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.connection import PAGE_SIZE
from clipsearch.catalog.schema import MIGRATIONS
from clipsearch.errors import NoLibraryError
from clipsearch.machine import usable_cores
from clipsearch.vector_files import MIN_TAIL

_MODEL = "builtin"
_DIM = 256
_SIDE = 32  # pixels
# Until then threads start, pools of memory fill, and SQLite's page cache grows to its bound.
_WARM_UP = 10_000
_WINDOWS = 12
_TICKS = os.sysconf("SC_CLK_TCK")
# ±5 % around the middle.
_FLAT = Wanted("at most", 1.05 / 0.95)


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment.

    Attributes:
        seconds: Since the watch began.
        done: Photos in the library, or searches made.
        private: Anonymous memory in bytes.
        resident: Resident memory in bytes, mapped files included.
        handles: Open file handles.
        threads: Threads.
        cpu: Processor seconds used so far.
        log: Bytes of SQLite's write-ahead log.
    """

    seconds: float
    done: int
    private: int
    resident: int
    handles: int
    threads: int
    cpu: float
    log: int


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--photos", type=int, default=300_000, metavar="N", help="default %(default)s")
    options.add_argument("--searches", type=int, default=1_000, metavar="N", help="default %(default)s")
    options.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between two looks (default %(default)s)",
    )
    options.add_argument("--samples", type=Path, metavar="FILE", help="write what was seen, for a plot (CSV)")
    options.add_argument(
        "--speed", default=True, action=BooleanOptionalAction, help="judge the speed, too (default)"
    )
    chosen = options.parse_args()
    cache, count = chosen.cache, chosen.photos
    photos = picture_set(cache, count)
    models = cache / "clipsearch-cache"
    in_own_process(prepared, _MODEL, models)

    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        library = Path(scratch) / "library"

        def command(*arguments: str) -> Command:
            return Command(
                (sys.executable, "-m", "clipsearch", *arguments, "--library", str(library)),
                PROJECT,
                {"CLIPSEARCH_CACHE": str(models)},
            )

        indexing = watched(command("index", str(photos), "--model", _MODEL), library, chosen.interval)
        stored = sum(path.stat().st_size for path in library.iterdir())
        with Catalog(library) as catalog:
            held = catalog.count_photos()
        if held != count:
            raise SystemExit(f"{held:,} photos of {count:,} were indexed")
        again = run(command("index"))
        searching = in_own_process(searched, library, models, chosen.searches)
    if chosen.samples:
        with chosen.samples.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(field.name for field in fields(Sample))
            writer.writerows(map(astuple, indexing))

    running = windows([sample for sample in indexing if min(_WARM_UP, count // 3) <= sample.done < count])
    searching = searching[len(searching) // 5 :]
    costs = [_per_photo(window, "cpu") for window in running]
    rates = [1 / _per_photo(window, "seconds") for window in running]
    half = len(costs) // 2
    fewest, most = _handles(running)
    # A file for each reading thread, the log of the database while it is flushed, and its folder.
    at_most_open = Wanted("at most", fewest + usable_cores() + 2, "open")
    rows = [
        Row("index: private memory, smallest and largest median", "MB", *_memory(running), _FLAT),
        # Each thread that reads has one photo open at a time.
        Row("   file handles, fewest and most", "open", fewest, most, at_most_open),
        Row(
            "   processor time a photo, first and second half",
            "ms",
            statistics.mean(costs[:half]),
            statistics.mean(costs[half:]),
            Wanted("at most", 1.05) if chosen.speed else None,
        ),
        Row("   photos a second, first and last twelfth", "photos/s", rates[0], rates[-1]),
        Row("   peak private memory, the vector index at the end included", "MB", None, _peak(indexing)),
        Row("   largest write-ahead log", "MB", None, max(sample.log for sample in indexing)),
        Row("library: size as computed, and as it is", "MB", computed_size(count), stored, _FLAT),
        Row("nothing changed: whole process", "s", None, again.seconds),
        Row("   peak private memory", "MB", None, again.private),
        Row(
            f"{chosen.searches:,} searches: private memory, smallest and largest",
            "MB",
            *_memory(windows(searching)),
            _FLAT,
        ),
        Row("   file handles, fewest and most", "open", *_handles([searching]), Wanted("at most", 1)),
    ]
    notes = [
        f"From {running[0][0].done:,} photos on, in {len(running)} parts, of each the median of its memory.",
        f"Pictures of {_SIDE} x {_SIDE} pixels; the built-in model; one look every {chosen.interval:g} s.",
        "Size computed: see `computed_size`.",
    ]
    return show(f"{count:,} photos in one go", ("from", "to"), rows, notes=notes, versions=[])


def picture_set(cache: Path, count: int) -> Path:
    """A folder of `count` small JPEGs of a few soft colours, no two alike, a thousand a folder."""
    folder = cache / f"synthetic-{count}"
    if not folder.exists():
        print(f"making {count:,} pictures ...", flush=True)
        random = np.random.default_rng(0)
        with building(folder) as draft:
            for number in range(count):
                path = draft / path_of(number)
                path.parent.mkdir(exist_ok=True)
                colors = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
                file = io.BytesIO()
                colors.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
                path.write_bytes(file.getvalue())
    return folder


def watched(command: Command, library: Path, interval: float) -> list[Sample]:
    """Run `index` to its end and look at its process now and then.

    Raises:
        ProgramFailedError: It ended with an error.
    """
    samples: list[Sample] = []
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command.arguments, **command.settings, stdout=output, stderr=output)
        while process.poll() is None:
            with suppress(NoLibraryError):  # it has yet to be made
                with Catalog(library) as catalog:
                    done = catalog.count_photos()
                sample = look(process.pid, time.perf_counter() - started, done, library)
                samples += [] if sample is None else [sample]
            time.sleep(interval)
        if process.returncode:
            output.seek(0)
            raise ProgramFailedError(output.read().decode(errors="replace"))
    return samples


def searched(library: Path, models: Path, count: int) -> list[Sample]:
    """Make so many different searches through one opened library; a look after every twentieth."""
    os.environ["CLIPSEARCH_CACHE"] = str(models)
    samples: list[Sample] = []
    started = time.perf_counter()
    with Library.open(library) as opened:
        for done in range(1, count + 1):
            if not opened.search(f"picture number {done}", limit=10):
                raise SystemExit(f"search {done:,} found nothing")
            if done % 20 == 0:
                sample = look(os.getpid(), time.perf_counter() - started, done, library)
                samples += [] if sample is None else [sample]
    return samples


def look(pid: int, seconds: float, done: int, library: Path) -> Sample | None:
    """What a process takes now, None when it has ended; reads /proc, so Linux only."""
    folder = Path(f"/proc/{pid}")
    log = library / "catalog.sqlite-wal"
    try:
        status = counters(folder / "status")
        handles = len(list((folder / "fd").iterdir()))
        # Behind the name, which may hold anything: user and system time are the 12th and 13th (man proc).
        numbers = (folder / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            round(seconds, 3),
            done,
            1024 * status["RssAnon"],  # the kernel says kB, means KiB
            1024 * status["VmRSS"],
            handles,
            status["Threads"],
            (int(numbers[11]) + int(numbers[12])) / _TICKS,
            log.stat().st_size if log.exists() else 0,
        )
    except (OSError, KeyError):
        return None


def windows(samples: list[Sample]) -> list[list[Sample]]:
    """The samples in parts of equal work, each with the first sample of the next one at its end."""
    first, last = samples[0].done, samples[-1].done
    bounds = [first + (last - first) * part // _WINDOWS for part in range(_WINDOWS + 1)]
    cuts = [bisect_left(samples, bound, key=attrgetter("done")) for bound in bounds]
    return [samples[start : end + 1] for start, end in pairwise(cuts) if end > start]


def computed_size(photos: int) -> float:
    """Bytes of a library without duplicates whose paths are those of `population.path_of`.

    For each photo: the vector in float16, once in the catalog and once, with an id of 8 bytes, in the vector
    index (from `MIN_TAIL` photos on); its path, once in the table and once in its index; the SHA-256, the
    same; and some 100 bytes of ids, sizes, times and headers in seven B-trees. A page of 8 KiB holds 15
    vectors of 256 dimensions, and 3.5 % stay empty. The index of hashes, into which is inserted at random,
    is full to ln 2, as B-trees are (Yao, On random 2-3 trees, 1978). Each B-tree has a page, though empty.
    """
    with closing(sqlite3.connect(":memory:")) as empty:
        for migration in MIGRATIONS:
            migration(empty)
        (trees,) = empty.execute("SELECT count(*) FROM sqlite_master WHERE rootpage > 0").fetchone()
    vector, path, digest = 2 * _DIM, len(path_of(0)), 32
    in_catalog = 1.035 * vector + 2 * path + digest + (digest + 10) / math.log(2) + 100
    in_index = vector + 8 if photos > MIN_TAIL else 0
    return int(trees) * PAGE_SIZE + photos * (in_catalog + in_index)


def _per_photo(window: list[Sample], name: str) -> float:
    """Seconds, or processor seconds, a photo."""
    spent: float = getattr(window[-1], name) - getattr(window[0], name)
    return spent / (window[-1].done - window[0].done)


def _memory(parts: list[list[Sample]]) -> tuple[float, float]:
    medians = [statistics.median(sample.private for sample in part) for part in parts]
    return min(medians), max(medians)


def _handles(parts: list[list[Sample]]) -> tuple[int, int]:
    seen = [sample.handles for part in parts for sample in part]
    return min(seen), max(seen)


def _peak(samples: list[Sample]) -> int:
    return max(sample.private for sample in samples)


if __name__ == "__main__":
    sys.exit(main())
