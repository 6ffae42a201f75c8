"""A text query over HTTP, from a server that is warm: how long one client waits, and what 200 at once get.

python -m benchmarks.serve --photos 100000
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.libraries import Sides
from benchmarks.process import in_own_process
from benchmarks.report import Row, Wanted, parser, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.ours import Clipsearch

_WANTED_S = 0.040
_LIMIT = 50  # what a page of the grid asks for
_ALONE = 60  # queries of the one client
_WARM_UP = 8
_CLIENTS = 200
_COLORS = ("red", "green", "blue", "white", "black", "grey", "brown", "golden", "old", "small")
_THINGS = (
    "dog",
    "cat",
    "boat",
    "house",
    "flower",
    "bridge",
    "car",
    "tree",
    "bird",
    "cup",
    "child",
    "bicycle",
)
_PLACES = (
    "on the beach",
    "in the snow",
    "at night",
    "in a garden",
    "by a river",
    "in the city",
    "on a table",
)


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--photos", type=int, default=100_000, metavar="N", help="default %(default)s")
    options.add_argument("--clients", type=int, default=_CLIENTS, metavar="N", help="default %(default)s")
    options.add_argument(
        "--seconds", type=float, default=10.0, help="how long all of them ask (default %(default)s)"
    )
    chosen = options.parse_args()
    sides = Sides(chosen.cache)
    library = sides.imagined(chosen.photos).ours
    words = [f"{color} {thing} {place}" for place in _PLACES for thing in _THINGS for color in _COLORS]
    with served(sides.ours, library) as address:
        new = in_own_process(_alone, address, words[: _WARM_UP + _ALONE])
        again = in_own_process(_alone, address, words[_WARM_UP : _WARM_UP + 1] * (_WARM_UP + _ALONE))
        crowd = in_own_process(_crowd, address, words, chosen.clients, chosen.seconds)
    count = f"{chosen.photos:,} photos"
    rows = [
        Row(f"{count}: a text, median", "ms", None, new.median, Wanted("at most", _WANTED_S, "s")),
        Row("   the slowest of a hundred (p99)", "ms", None, new.p99),
        Row("   a text asked before, median", "ms", None, again.median),
        Row(f"{chosen.clients} clients at once", "requests/s", None, crowd.rate),
        Row("   median", "ms", None, crowd.median),
        Row("   p99", "ms", None, crowd.p99),
        Row("   lost or wrong", "requests", None, crowd.lost, Wanted("at most", 0, "requests")),
    ]
    notes = [
        f"One process serves, another asks, on the same cores; {_LIMIT} matches an answer, connections kept.",
        (
            f"One client: {_ALONE} different texts. {chosen.clients} clients, for {chosen.seconds:g} s:"
            f" {len(words)} texts in turn."
        ),
    ]
    return show("A text query over HTTP", ("", "clipsearch serve"), rows, notes=notes, versions=[])


@dataclass(frozen=True, slots=True)
class Measured:
    """What clients saw. Seconds.

    Attributes:
        median: Of the times to a whole answer.
        p99: That 99 of 100 answers stay below.
        rate: Answers a second.
        lost: Requests without the right answer.
    """

    median: float
    p99: float
    rate: float
    lost: int


@contextmanager
def served(program: Clipsearch, library: Path) -> Iterator[tuple[str, int]]:
    """The address of a server, which ends with the body."""
    command = program.command(library, "serve", "--port", "0", "--no-open")
    with subprocess.Popen(
        command.arguments, **command.settings, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://([\d.]+):(\d+)/", said)
            if address is None:
                raise RuntimeError("the server has not started")
            yield address[1], int(address[2])
        finally:
            process.terminate()


def _alone(address: tuple[str, int], words: Sequence[str]) -> Measured:
    return asyncio.run(_measure(address, [words], until=None, warm_up=_WARM_UP))


def _crowd(address: tuple[str, int], words: Sequence[str], clients: int, seconds: float) -> Measured:
    turned = [[*words[number:], *words[:number]] for number in range(clients)]
    return asyncio.run(_measure(address, turned, until=time.perf_counter() + seconds, warm_up=0))


async def _measure(
    address: tuple[str, int], queries: Sequence[Sequence[str]], *, until: float | None, warm_up: int
) -> Measured:
    taken: list[float] = []
    lost = 0

    async def client(words: Sequence[str]) -> None:
        nonlocal lost
        reader, writer = await asyncio.open_connection(*address)
        for number, word in enumerate(words):
            begun = time.perf_counter()
            if until is not None and begun > until:
                break
            writer.write(_request(word, address))
            lost += not await _is_right(reader)
            if number >= warm_up:
                taken.append(time.perf_counter() - begun)
        writer.close()
        await writer.wait_closed()

    begun = time.perf_counter()
    ended = await asyncio.gather(*(client(words) for words in queries), return_exceptions=True)
    lost += sum(isinstance(one, BaseException) for one in ended)
    rate = len(taken) / (time.perf_counter() - begun)
    return Measured(statistics.median(taken), statistics.quantiles(taken, n=100)[98], rate, lost)


def _request(word: str, address: tuple[str, int]) -> bytes:
    host = f"{address[0]}:{address[1]}"
    return f"GET /api/search?limit={_LIMIT}&q={quote(word)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def _is_right(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return head.startswith(b"HTTP/1.1 200 ") and len(json.loads(body)) == _LIMIT


if __name__ == "__main__":
    sys.exit(main())
