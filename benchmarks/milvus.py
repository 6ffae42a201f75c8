"""Photos in a Milvus collection beside the same photos in the local vector file: writing, searching, recall.

python -m benchmarks.milvus milvus://127.0.0.1:19530/benchmark

The vectors are those of `benchmarks.optimize`, which gather as photos do. The collection is searched with the
exact index first and with HNSW after; it is removed at the end.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.optimize import Structured
from benchmarks.population import DIM, path_of
from benchmarks.report import Row as Line
from benchmarks.report import parser, show
from clipsearch.address import parse_address
from clipsearch.milvus.conditions import below, between
from clipsearch.milvus.fields import seconds
from clipsearch.milvus.settings import server_of
from clipsearch.rows import Row
from clipsearch.sending import to_milvus
from clipsearch.stores import faiss, milvus
from clipsearch.types import Metadata, Model, ModelSource, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from clipsearch.address import Address

_NEAREST, _QUESTIONS = 10, 100
_BLOCK = 10_000
_FIRST = datetime(2020, 1, 1)  # noqa: DTZ001 - a camera's clock
_MODEL = Model(ModelSource("structured"), "0", DIM, 1.0, None, Preprocessing((1, 1), (0, 0, 0), (1, 1, 1)))


def main() -> int:
    """Measure and print; returns the exit code."""
    options = parser(__doc__, rounds=1)
    options.add_argument("address", help="a collection that is not there yet")
    options.add_argument("--photos", type=int, default=100_000, help="(default %(default)s)")
    chosen = options.parse_args()
    address, count = parse_address(chosen.address), chosen.photos
    if address is None:
        options.error("not the address of a collection")
    world = Structured()
    blocks = [world.photos(min(_BLOCK, count - start), start) for start in range(0, count, _BLOCK)]
    stored, questions = np.concatenate(blocks).astype(np.float16), world.texts(_QUESTIONS, 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "store.faiss")
        began = time.perf_counter()
        faiss.build(file, DIM, count, [(np.arange(count, dtype=np.int64), stored)])
        built = count / (time.perf_counter() - began)
        local = faiss.FaissStore(file)
        lines = _measured(address, stored, questions, local, built)
    notes = [
        f"{count:,} vectors of {DIM} dimensions in clusters; medians of {_QUESTIONS} questions.",
        "Left: the local file of float16 vectors, in memory, exact. Right: Milvus over loopback.",
        "Recall is of the ten best; the folder holds 1 % of the photos, the dates 10 %.",
    ]
    versions = [f"{name} {version(name)}" for name in ("pymilvus", "grpcio")]
    return show("Milvus", ("local file", "Milvus"), lines, notes=notes, versions=versions)


def _measured(
    address: Address,
    stored: NDArray[np.float16],
    questions: NDArray[np.float32],
    local: faiss.FaissStore,
    built: float,
) -> list[Line]:
    count = len(stored)
    ids = {_photo(number).id: number for number in range(count)}
    end = seconds(_FIRST) + count // 10 * 60
    scopes = {
        "all": ("", np.arange(count)),
        "within dates": (between(seconds(_FIRST), end), np.arange(count // 10)),
        "in a folder": (below("/photos/0003"), np.arange(3_000, 4_000)),
    }
    began = time.perf_counter()
    to_milvus(address, _MODEL, _batches(stored))
    lines = [Line("written and ready", "photos/s", built, count / (time.perf_counter() - began))]
    store = milvus.MilvusStore(server_of(address), address.collection)
    for kind in ["FLAT"] if address.kind == "file" else ["FLAT", "HNSW"]:
        if kind == "HNSW":
            milvus.FLAT_ROWS = 0
            began = time.perf_counter()
            store.settle(written=count)
            lines.append(Line("HNSW built", "photos/s", None, count / (time.perf_counter() - began)))
        for name, (where, among) in scopes.items():
            wanted, here = _asked(
                questions, lambda query, among=among: local.search(query, _NEAREST, among).ids
            )
            found, there = _asked(
                questions,
                lambda query, where=where: [
                    ids[row["id"]] for _, row in store.nearest(query, _NEAREST, where)[:_NEAREST]
                ],
            )
            hits = sum(len({*one} & {*other}) for one, other in zip(wanted, found, strict=True))
            lines += [
                Line(f"{kind}, {name}", "ms", here, there),
                Line("   recall", "%", 100.0, 100 * hits / (_NEAREST * len(questions))),
            ]
    store.drop()
    store.close()
    return lines


def _asked(
    questions: NDArray[np.float32], ask: Callable[[NDArray[np.float32]], list[int]]
) -> tuple[list[list[int]], float]:
    """What each question finds, and the median of the seconds."""
    ask(questions[0])
    found, took = [], []
    for question in questions:
        began = time.perf_counter()
        found.append([int(one) for one in ask(question)])
        took.append(time.perf_counter() - began)
    return found, statistics.median(took)


def _photo(number: int) -> Row:
    digest = number.to_bytes(32, "little")
    taken = Metadata(_FIRST + timedelta(minutes=number))
    return Row(f"/photos/{path_of(number)}", digest, 4000, 3000, 2_500_000 + number, taken)


def _batches(stored: NDArray[np.float16]) -> Iterator[tuple[list[Row], NDArray[np.float16]]]:
    for start in range(0, len(stored), _BLOCK):
        part = stored[start : start + _BLOCK]
        yield [_photo(number) for number in range(start, start + len(part))], part


if __name__ == "__main__":
    sys.exit(main())
