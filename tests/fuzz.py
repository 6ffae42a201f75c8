"""Fuzzing guided by coverage: `python tests/fuzz.py TARGET FOLDER SECONDS SEED`, on atheris (libFuzzer).

An exception, a crash, a hang and 2 GB of memory are findings. FOLDER keeps what was learned; an input that
breaks a target is written there as `TARGET-crash-...`, and `python tests/fuzz.py TARGET FILE` runs it again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clipsearch", "PIL", "pillow_heif"]):
    from fuzz_targets import TARGETS

HANG_S, MEMORY_MB, LONGEST = 90, 2000, 20_000


def fuzz(name: str, folder: Path, seconds: int, seed: int) -> None:
    """Run one target; ends this process, with an exit code other than 0 when something was found."""
    target, seeds = TARGETS[name]
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    limits = [f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}"]
    course = [f"-max_total_time={seconds}", f"-seed={seed}"]
    output = [f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *course, *output, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    chosen, place, *numbers = sys.argv[1:]
    if numbers:
        # libFuzzer holds the peak of memory against the bound, and Linux carries the peak of whoever started
        # this process over to it; that of a fork is its own.
        if child := os.fork():
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
        fuzz(chosen, Path(place), *map(int, numbers))
    else:
        TARGETS[chosen][0](Path(place).read_bytes())
