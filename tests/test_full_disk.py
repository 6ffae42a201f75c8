"""A disk that is full, fails or cannot be written: one clear line, nothing lost, and on it goes after."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import TYPE_CHECKING

import program
import pytest
from faults import DEEDS, Trial, filled, mounted, needs_strace, read_only

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Promised

BLOCK = 4096
SOME_OR_ALL = pytest.mark.parametrize(
    "every", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        program.install(patch.setattr)
        yield


@pytest.fixture(scope="module", params=DEEDS)
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(tmp_path_factory.mktemp(request.param), request.param)


def told(errors: str) -> str:
    """The one line of a failed command, which has a hint below."""
    lines = [line for line in errors.splitlines() if "rror" in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: "), errors
    assert "internal" not in errors
    assert "\nhint: " in errors
    return lines[0]


@SOME_OR_ALL
def test_a_disk_that_fills_up(trial: Trial, tmp_path: Path, promised: Promised, *, every: bool) -> None:
    full = 0
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=16m", "tmpfs") as disk:
        for blocks in count() if every else (0, *(4**n for n in range(10))):
            bench = trial.bench(disk / "disturbed")
            with filled(disk, blocks * BLOCK):
                code, errors = bench.here(*trial.arguments)
                if code:
                    full += 1
                    line = told(errors)
                    assert "full" in line or "no space" in line
                    if trial.before.photos and trial.name != "migration":
                        assert bench.here("search", "red")[0] == 0, "searching goes on"
            trial.check(bench)
            if not code:
                break
    assert full
    promised("a full disk costs one clear line", full, f"places where {trial.name} met it")


@SOME_OR_ALL
def test_a_disk_that_fails(trial: Trial, promised: Promised, *, every: bool) -> None:
    needs_strace()
    chance = Random(trial.name)
    for call, when in trial.calls if every else chance.sample(trial.calls, 1):
        for lasting in ["", "+"] if every else chance.choice("+ ").split() or [""]:
            bench = trial.bench()
            code, _, errors = bench.inject(call, f"{when}{lasting}", "error=EIO", *trial.arguments)
            assert code in (0, 2), (call, when, errors)
            if code:
                told(errors)
            else:
                assert bench.truth() == trial.after, (call, when, "made no difference")
            trial.check(bench)
    faults = 2 * len(trial.calls) if every else 1
    promised("a disk that fails costs one clear line", faults, f"failed writes and flushes of {trial.name}")
