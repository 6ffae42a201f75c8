"""What a run takes does not grow with its length: the program of benchmarks/, at two sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Promised

PROJECT = Path(__file__).parents[1]


def endure(cache: Path, photos: int, *options: str) -> None:
    """Run the program; it fails when memory, handles or size are not as they should be."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.endurance", "--photos", str(photos)),
            *("--cache", str(cache), "--no-speed", *options),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


needs_proc = pytest.mark.skipif(
    not (Path("/proc/self/fd").exists() and (PROJECT / "benchmarks").exists()),
    reason="needs /proc and the benchmarks of a checkout",
)


@needs_proc
def test_a_run_takes_no_more_the_longer_it_lasts(builtin_cache: Path) -> None:
    endure(builtin_cache.parent, 2_000, "--interval", "0.05", "--searches", "200")


@needs_proc
@pytest.mark.slow
def test_a_run_over_a_large_library_takes_no_more_the_longer_it_lasts(
    tmp_path: Path, promised: Promised
) -> None:
    endure(tmp_path, 300_000)
    promised(
        "Memory (±5 %) and file handles stay flat during one run, and the size is as computed",
        300_000,
        "photos indexed in one run",
    )
