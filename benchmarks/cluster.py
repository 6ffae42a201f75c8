"""What the job on a cluster costs beside the local pipeline, on one machine; and what a second worker brings.

unshare --net bash -c "ip link set lo up; python -m benchmarks.cluster ~/Photos"

(Ray listens on every interface; so nobody else can reach it.) The built-in model, whose photos are so quickly
embedded that anything around it shows.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.photos import photo_set
from benchmarks.plan import JOB, job_seconds
from benchmarks.report import Row, Wanted, parser, show
from clipsearch.machine import usable_cores

_MOST_CORES = 3  # up to which two workers of one core and the driver have less than they could use
_PROGRAM = (sys.executable, "-m", "clipsearch")


class Run(NamedTuple):
    """One run: photos a second once it runs, and the seconds of the whole that are not of that."""

    rate: float
    start: float


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=3)
    options.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of JPEGs")
    options.add_argument(
        "--photos", dest="count", type=int, default=10_000, metavar="N", help="how many (default %(default)s)"
    )
    chosen = options.parse_args()
    folder = photo_set(chosen.cache, chosen.photos, chosen.count)
    cores = usable_cores()
    sides = [(False, 1, cores), (True, 1, cores), (False, 1, 1), (True, 1, 1), (True, 2, 1)]
    taken: dict[tuple[bool, int, int], list[Run]] = {side: [] for side in sides}
    _measured(chosen.cache, folder, 0, on_cluster=False, workers=1, cores=cores)  # the model, the page cache
    for _ in range(chosen.rounds):
        for on_cluster, workers, each in sides:
            run = _measured(
                chosen.cache, folder, chosen.count, on_cluster=on_cluster, workers=workers, cores=each
            )
            taken[on_cluster, workers, each].append(run)
            print(f"{'job' if on_cluster else 'local'}, {workers} x {each}: {run}", flush=True)
    middle = {
        side: Run(*(statistics.median(values) for values in zip(*runs, strict=True)))
        for side, runs in taken.items()
    }
    local, job, local_one, one, two = (middle[side] for side in sides)
    rows = [
        Row(f"one worker of {cores} cores", "photos/s", local.rate, job.rate, Wanted("at least", 0.85)),
        Row("   start and end", "s", local.start, job.start),
        Row("one worker of 1 core", "photos/s", local_one.rate, one.rate),
        Row("   two of them, beside one", "photos/s", one.rate, two.rate),
        Row("   start and end of two", "s", one.start, two.start),
    ]
    # Two workers of one core each have half a machine of two, where local runs have all of it.
    for what, run, rate, workers in (
        (f"one worker of {cores} cores", job, local.rate, 1),
        ("one worker of 1 core", one, local_one.rate, 1),
        ("two workers of 1 core", two, local_one.rate if cores > _MOST_CORES else local.rate / 2, 2),
    ):
        computed = job_seconds(chosen.count, JOB * rate, workers, run.start)
        rows.append(Row(f"{what}: as planned, as it was", "s", computed, run.start + chosen.count / run.rate))
    notes = [
        f"{chosen.count:,} photos, built-in model, medians of {chosen.rounds} rounds in turns.",
        "Rate: of the local run its own, without Python's start; of the job from the first worker's first",
        "photo to the end of the last shard. Start and end: all other time of the process.",
    ]
    return show("The job on a cluster", ("local", "job"), rows, notes=notes, versions=[])


def _measured(cache: Path, photos: Path, count: int, *, on_cluster: bool, workers: int, cores: int) -> Run:
    """Embed a folder anew; of a warm-up no rate is told."""
    target = cache / "cluster-target"
    shutil.rmtree(target, ignore_errors=True)
    arguments: tuple[str, ...] = (*_PROGRAM, "index", str(photos), "--library", str(target))
    if on_cluster:
        arguments = (*_PROGRAM, "cluster", "index", str(photos), "--to", str(target))
        arguments += ("--workers", str(workers), "--cores", str(cores))
    environment = os.environ | {"CLIPSEARCH_CACHE": str(cache / "cluster-models")}
    if not on_cluster:
        environment["OMP_NUM_THREADS"] = str(cores)
    began = time.perf_counter()
    done = subprocess.run(
        [*arguments, "--model", "builtin", "--json"], env=environment, capture_output=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    report = json.loads(done.stdout)
    embedded = report["photos"] if on_cluster else report["new"]
    if count and embedded != count:
        raise SystemExit(f"embedded {embedded:,} of {count:,} photos")
    steady = report["steady"] if on_cluster else report["seconds"]
    return Run(embedded / steady, seconds - steady)


if __name__ == "__main__":
    sys.exit(main())
