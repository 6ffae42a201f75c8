"""Killed anywhere, a library loses nothing that was committed, and the next run ends where any run ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import program
import pytest
from faults import BATCH, DEEDS, Bench, Trial, needs_strace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Promised


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        program.install(patch.setattr)
        yield


@pytest.fixture(scope="module", params=DEEDS)
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize(
    ("kills", "photos", "model"),
    [
        pytest.param(10, 160, (), id="10 kills"),
        pytest.param(200, 600, ("--model", "builtin"), id="200 kills", marks=pytest.mark.slow),
    ],
)
def test_an_index_run_killed_at_random_moments(
    tmp_path: Path, promised: Promised, kills: int, photos: int, model: tuple[str, ...]
) -> None:
    chance = random.Random(kills)
    whole = Bench(tmp_path / "whole")
    whole.paint(photos, chance)
    index = ("index", whole.photos, "--batch-size", BATCH, *model)
    whole.done(*index)
    wanted, answers = whole.check(), whole.answers()
    killed = again = libraries = 0
    while killed < kills:
        libraries += 1
        bench = Bench(tmp_path / f"{libraries}")
        bench.home.mkdir()
        before, finished = bench.truth(), False
        while not finished:
            embedded = bench.embedded
            finished = killed == kills or not bench.kill_soon(chance, *index)
            killed += not finished
            if killed == kills:
                bench.done(*index)
            after = bench.truth()
            assert after.holds(before), "what was committed stays"
            lost = bench.embedded - embedded - (len(after.vectors) - len(before.vectors))
            assert 0 <= lost <= BATCH, "at most one batch is embedded again"
            again += lost
            before = after
        bench.done(*index)
        assert bench.check() == wanted
        assert bench.answers() == answers
        assert not bench.leftovers()
    assert again, "kills that cost nothing at all did not hit a run at work"
    promised("an index run that is killed loses at most the batch under way", killed, "kills at random")


@pytest.mark.parametrize(
    "steps", [pytest.param(1, id="a step"), pytest.param(None, id="every step", marks=pytest.mark.slow)]
)
def test_a_command_killed_at_a_step_of_a_write(trial: Trial, promised: Promised, steps: int | None) -> None:
    """Before one system call is after the one before it: each write, flush and rename has both."""
    needs_strace()
    chosen = trial.calls if steps is None else random.Random(trial.name).sample(trial.calls, steps)
    for call, when in chosen:
        bench = trial.bench()
        assert bench.kill_at(call, when, *trial.arguments), (call, when)
        trial.check(bench)
    promised(
        f"{trial.name}: killed anywhere, it is done wholly or not at all, and can be done again",
        len(chosen),
        "kills, each before another write, flush, rename or deletion",
    )
