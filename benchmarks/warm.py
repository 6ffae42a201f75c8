"""A text query from the shell, by itself and answered by a server that runs: time of the whole process.

python -m benchmarks.warm --photos 100000
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from benchmarks import ours
from benchmarks.libraries import Sides
from benchmarks.process import Command, Contender, in_turns, output_of
from benchmarks.report import Row, Wanted, parser, show
from benchmarks.serve import served
from clipsearch.questions import Question
from clipsearch.warm import OFF, ask

_QUERY = "a brown dog on the beach"
_WANTED_S = 0.15
_MODULES = "typer", "clipsearch.cli.find"


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=15)
    options.add_argument("--photos", type=int, default=100_000, metavar="N", help="default %(default)s")
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    library = sides.imagined(chosen.photos).ours
    search = sides.ours.command(library, "search", _QUERY)
    cold = replace(search, environment={**search.environment, OFF: "1"})
    parts = [_python("pass"), *(_python(f"import {name}") for name in _MODULES)]
    with served(sides.ours, library):
        while ask(library, Question("newest")) is None:
            time.sleep(0.1)
        same = output_of(cold) == output_of(search)
        usages = in_turns([Contender(command) for command in (cold, search, *parts)], chosen.rounds)
    by_itself, warm, python, typer, command = usages
    bound = Wanted("at most", _WANTED_S, "s")
    rows = [
        Row(f"{chosen.photos:,} photos: time", "s", by_itself.seconds, warm.seconds, bound, typer.seconds),
        Row("   peak private memory", "MB", by_itself.private, warm.private),
    ]
    notes = [
        f"Whole processes with their output in a file, in turns, medians of {chosen.rounds} rounds.",
        (
            f"limit: importing Typer. Python alone {python.seconds * 1e3:.0f} ms, with Typer"
            f" {typer.seconds * 1e3:.0f}, with the command's own modules {command.seconds * 1e3:.0f}."
        ),
        f"Both say the same: {'yes' if same else 'NO'}.",
    ]
    shown = show("Text query from the shell", ("by itself", "with a server"), rows, notes=notes, versions=[])
    return shown or int(not same)


def _python(program: str) -> Command:
    return Command((sys.executable, "-c", program), ours.PROJECT)


if __name__ == "__main__":
    sys.exit(main())
