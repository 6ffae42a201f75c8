"""Random input: mutated seeds by hypothesis here, an hour guided by coverage in the slow suite.

`CLIPSEARCH_FUZZ_SECONDS=60 pytest -m slow tests/test_fuzz.py` makes it a minute.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Promised

SECONDS = int(os.environ.get("CLIPSEARCH_FUZZ_SECONDS", "3600"))
# Pictures are what comes from strangers.
SHARES = {"plain": 0.25, "guarded": 0.25, "video": 0.1} | dict.fromkeys(
    ("metadata", "terms", "labels", "options"), 0.1
)
EXAMPLES = {"options": 20, "video": 100}


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with some bytes replaced, left out or put in."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data = data[:at] + draw(st.binary(max_size=8)) + data[end:]
    return data


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", TARGETS)
def test_random_input_ends_in_an_answer_or_a_clear_error(name: str, promised: Promised) -> None:
    target, seeds = TARGETS[name]
    examples = EXAMPLES.get(name, 250)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(list(seeds())))
    def check(data: bytes) -> None:
        target(data)

    check()
    promised(f"random input ({name}) ends in an answer or a clear error", examples, "inputs")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path, promised: Promised) -> None:
    pytest.importorskip("atheris")
    seed, seconds = random.SystemRandom().randrange(1, 2**31), max(1, round(SECONDS * SHARES[name]))
    program = Path(__file__).with_name("fuzz.py")
    words = [sys.executable, str(program), name, str(tmp_path), str(seconds), str(seed)]
    paths = os.pathsep.join([str(program.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stderr[-5000:]}"
    (inputs,) = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    promised(f"fuzzing guided by coverage finds nothing ({name}, {seconds} s)", int(inputs), "fuzz inputs")
