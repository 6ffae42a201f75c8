"""From a million photos to a billion: bytes, workers, hours, memory, and the order of what it costs.

python -m benchmarks.plan
python -m benchmarks.plan --photos 100M --megapixels 12 --hours 24
python -m benchmarks.plan --check 10k 50k

Formulas of a few lines, from rates that were measured (`benchmarks/README.md`) and prices that are yours to
say. `--check` makes libraries, Parquet files and indexes of such sizes, and holds the formulas against them.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

_SIZES = (10**6, 10**7, 10**8, 10**9)
_SCALE = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}

# -- measured: seconds of one core of an AMD EPYC (AVX2), see benchmarks/README.md and docs/cluster.md
_DECODE_S = 0.0025  # any JPEG: reading, hashing, resizing ...
_DECODE_MP_S = 0.0033  # ... and for each megapixel; 12 megapixels take 0.042, 0.19 take 0.0032
_FORWARD_S = 0.074  # the default model (ViT-B-32-256) in 8 bits
_LOCAL = 0.8  # of that, whole runs keep: 20 photos/s on two cores, where decoding and forward pass allow 24
JOB = 0.93
"""Of the rate of a local run on the same cores, the job keeps this (benchmarks.cluster)."""

# -- not measured here: no GPU was to be had
_GFLOP = 11.5  # a picture through the default model, by its model card
_GPU_TFLOPS = 300.0  # of a data centre's GPU in BF16: a third of its maker's figure
_GPU_CORES = 16  # that come with one

# -- what things take
_NUMBER = 1.84  # bytes of a dimension: two, of which compression saves some
_ROW = 55  # bytes of the rest of a row, compressed; EXIF and captions come on top
_PAGE, _HEADER = 8192, 24  # of the catalog, see `clipsearch.catalog.connection`
_LINKS = 32  # M of HNSW, see `clipsearch.stores.milvus`
_HNSW_FROM = 200_000  # see there, `FLAT_ROWS`
_LOCAL_UP_TO = 10**7  # photos; measured: 0.7 s exact, 0.04 s after `clipsearch optimize`
_SERVER = 1.3  # memory of a server beside its index: segments being merged, what is growing


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars; of a cloud's list, for the order of magnitude."""

    core_hour: float = 0.04
    gpu_hour: float = 4.0  # with its cores and their memory
    stored_gb_month: float = 0.023
    memory_gb_month: float = 4.0


@dataclass(frozen=True, slots=True)
class Plan:
    """For so many photos. Bytes, seconds, dollars.

    Attributes:
        photos: How many.
        read: Bytes of photos.
        parquet: Bytes of the job's files.
        library: Bytes of a library in a folder.
        core_hours: Of a job without GPUs.
        cores: That end it in the time wanted.
        gpu_hours: Of a job with GPUs.
        gpus: That end it in the time wanted.
        index: What serves it.
        memory: Bytes that the index is held in.
        once: Dollars of the job, the cheaper way.
        monthly: Dollars of keeping the files and serving.
    """

    photos: int
    read: float
    parquet: float
    library: float
    core_hours: float
    cores: int
    gpu_hours: float
    gpus: int
    index: str
    memory: float
    once: float
    monthly: float


def core_rate(megapixels: float) -> float:
    """Photos a second of one core that decodes and embeds."""
    return _LOCAL * JOB / (_DECODE_S + _DECODE_MP_S * megapixels + _FORWARD_S)


def gpu_rate(megapixels: float) -> float:
    """Photos a second of one GPU and its cores: the slower of both."""
    decoding = _GPU_CORES / (_DECODE_S + _DECODE_MP_S * megapixels)
    return _LOCAL * JOB * min(decoding, 1000 * _GPU_TFLOPS / _GFLOP)


def job_seconds(photos: int, rate: float, workers: int, start: float) -> float:
    """Wall clock of a job: its start, and the photos at the rate of all workers, of which each has `rate`.

    Workers on one machine share its cores: each has its part of what the machine does with all of them.
    """
    return start + photos / (workers * rate)


def parquet_bytes(photos: int, dim: int) -> float:
    """The job's files, compressed."""
    return photos * (_NUMBER * dim + _ROW)


def library_bytes(photos: int, dim: int, path: int = 50) -> float:
    """A library in a folder: catalog and vector files, as `benchmarks.endurance.computed_size` counts them.

    For each photo a vector in a page of the catalog, which holds whole ones only, and one with an id in a
    vector file; its path twice; its hash twice, the second time in an index that is full to ln 2; and some
    100 bytes of other columns.
    """
    vector = 2 * dim
    in_page = _PAGE / max(1, (_PAGE - 8) // (vector + _HEADER))
    return photos * (in_page + 2 * path + 32 + 42 / math.log(2) + 76 + vector + 8)


def hnsw_bytes(photos: int, dim: int, number_bytes: int) -> float:
    """An HNSW index (Malkov and Yashunin 2016).

    For each photo its vector, 2 M links of 4 bytes, and M on each level above, which it is on with a chance
    of M^-n for the n-th.
    """
    links = 4 * (2 * _LINKS + _LINKS / (_LINKS - 1))
    return photos * (number_bytes * dim + links + 8 + 4)


def plan(
    photos: int, *, dim: int, megapixels: float, size: float, hours: float, prices: Prices | None = None
) -> Plan:
    """What so many photos take.

    Args:
        photos: How many.
        dim: Of an embedding.
        megapixels: Of a photo.
        size: Bytes of a photo.
        hours: That the job may take.
        prices: Of what it runs on.
    """
    prices = prices or Prices()
    read, parquet = photos * size, parquet_bytes(photos, dim)
    core_hours, gpu_hours = (photos / rate(megapixels) / 3600 for rate in (core_rate, gpu_rate))
    is_local = photos <= _LOCAL_UP_TO
    memory = 2.0 * dim * photos if is_local else _SERVER * hnsw_bytes(photos, dim, 2)
    return Plan(
        photos=photos,
        read=read,
        parquet=parquet,
        library=library_bytes(photos, dim),
        core_hours=core_hours,
        cores=math.ceil(core_hours / hours),
        gpu_hours=gpu_hours,
        gpus=math.ceil(gpu_hours / hours),
        index="folder" if is_local else "Milvus, HNSW",
        memory=memory,
        once=min(core_hours * prices.core_hour, gpu_hours * prices.gpu_hour),
        monthly=parquet / 1e9 * prices.stored_gb_month
        + (0 if is_local else memory / 1e9 * prices.memory_gb_month),
    )


def show(plans: Iterable[Plan]) -> Table:
    """The plans as a table."""
    rows = list(plans)
    table = Table()
    table.add_column("")
    for one in rows:
        table.add_column(f"{one.photos:,}", justify="right")
    for name, cells in {
        "photos to read": [_size(one.read) for one in rows],
        "Parquet files": [_size(one.parquet) for one in rows],
        "without GPUs: core hours": [f"{one.core_hours:,.0f}" for one in rows],
        "   cores to be done in time": [f"{one.cores:,}" for one in rows],
        "with GPUs: GPU hours": [f"{one.gpu_hours:,.1f}" for one in rows],
        "   GPUs to be done in time": [f"{one.gpus:,}" for one in rows],
        "the job, once": [_dollars(one.once) for one in rows],
        "served from": [one.index for one in rows],
        "   as a library in a folder": [_size(one.library) for one in rows],
        "   memory for searching": [_size(one.memory) for one in rows],
        "a month": [_dollars(one.monthly) for one in rows],
    }.items():
        table.add_row(name, *cells)
    return table


def main() -> int:
    """Print; returns the exit code: 1 when a formula is off by more than a tenth."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--photos", type=_number, nargs="+", metavar="N", help="such as 250k, 100M, 1G")
    options.add_argument("--dim", type=int, default=512, metavar="N", help="of an embedding (%(default)s)")
    options.add_argument("--megapixels", type=float, default=12.0, metavar="X", help="(%(default)s)")
    options.add_argument("--bytes", type=_number, default=3_500_000, metavar="N", help="of a photo (3.5M)")
    options.add_argument("--hours", type=float, default=24.0, metavar="X", help="for the job (%(default)s)")
    options.add_argument(
        "--check", type=_number, nargs="+", metavar="N", help="hold the formulas against what is made here"
    )
    for name, price in Prices.__dataclass_fields__.items():
        options.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=price.default,
            metavar="$",
            help="(%(default)s)",
        )
    chosen = options.parse_args()
    console = Console(width=120)
    if chosen.check:
        return _check(console, chosen.check)
    prices = Prices(**{name: getattr(chosen, name) for name in Prices.__dataclass_fields__})
    shape = {"dim": chosen.dim, "megapixels": chosen.megapixels, "size": chosen.bytes, "hours": chosen.hours}
    console.print(show(plan(count, **shape, prices=prices) for count in chosen.photos or _SIZES))
    console.print(
        f"{chosen.megapixels:g} megapixels, {_size(chosen.bytes)} a photo, {chosen.dim} dimensions;"
        f" {core_rate(chosen.megapixels):.1f} photos/s a core,"
        f" {gpu_rate(chosen.megapixels):,.0f} a GPU with {_GPU_CORES} cores (not measured).",
        highlight=False,
    )
    return 0


# -- the formulas, held against what is made here ------------------------------------------------------


def _check(console: Console, sizes: Sequence[int]) -> int:
    from benchmarks.optimize import Structured
    from benchmarks.population import DIM

    world = Structured()
    table = Table()
    for name in ("", "computed", "as it is", "off by"):
        table.add_column(name, justify="right" if name else "left")
    worst = 0.0
    for count in sizes:
        rows = world.photos(count, 0)
        with tempfile.TemporaryDirectory() as folder:
            parquet, library, seconds = _made(Path(folder), rows)
        index, recall = _hnsw(rows, world.texts(200, 0))
        for name, computed, found in (
            ("Parquet files", parquet_bytes(count, DIM), parquet),
            ("library", library_bytes(count, DIM, _PATH), library),
            ("HNSW", hnsw_bytes(count, DIM, 4), index),
        ):
            off = computed / found - 1
            worst = max(worst, abs(off))
            table.add_row(f"{count:,} photos: {name}", _size(computed), _size(found), f"{100 * off:+.1f} %")
        table.add_row(
            "   imported, photos a second; recall@10 of HNSW", "", f"{count / seconds:,.0f}; {recall:.3f}"
        )
    console.print(table)
    return int(worst > 0.1)  # noqa: PLR2004 - a tenth


_PATH = 17  # bytes, below the root, of `population.path_of`


def _made(folder: Path, vectors: NDArray[np.float32]) -> tuple[int, int, float]:
    """Bytes of Parquet files and of a library with these embeddings, and the seconds of its import."""
    import hashlib

    from benchmarks.population import path_of
    from clipsearch import Library
    from clipsearch.cluster.plan import MOST
    from clipsearch.rows import Row, to_arrow
    from clipsearch.shards import Shards
    from clipsearch.types import Model, ModelSource, Preprocessing

    dim = vectors.shape[1]
    shards = Shards(str(folder / "shards"))
    shape = Preprocessing((1, 1), (0, 0, 0), (1, 1, 1))
    shards.set_model(Model(ModelSource("structured"), "0", dim, 1.0, None, shape))
    shards.add_source("/media/archive/photos")
    for start in range(0, len(vectors), MOST):
        part = vectors[start : start + MOST]
        paths = [f"/media/archive/photos/{path_of(start + number)}" for number in range(len(part))]
        rows = [Row(path, hashlib.sha256(path.encode()).digest(), 4000, 3000, 3_500_000) for path in paths]
        shards.write(f"{start:09}", to_arrow(rows, part, dim), [])
    began = time.perf_counter()
    with Library(folder / "library") as library:
        library.import_photos(shards.place)
    seconds = time.perf_counter() - began
    return *(
        sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
        for name in ("shards", "library")
    ), seconds  # type: ignore[return-value]


def _hnsw(vectors: NDArray[np.float32], questions: NDArray[np.float32]) -> tuple[int, float]:
    """Bytes of FAISS's HNSW with the parameters that Milvus gets, and its recall of the ten best."""
    import faiss
    import numpy as np

    index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 256, 128
    index.add(vectors)
    _, found = index.search(questions, 10)
    wanted = np.argsort(-(questions @ vectors.T), axis=1, kind="stable")[:, :10]
    same = [len(np.intersect1d(one, other)) for one, other in zip(found, wanted, strict=True)]
    return len(faiss.serialize_index(index)), float(np.mean(same)) / 10


def _number(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 250k, 100M, 1G")
    return round(float(found[1]) * _SCALE[found[2]])


def _size(number: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number:,.0f} B"


def _dollars(number: float) -> str:
    return f"$ {number:,.0f}" if number >= 1 else "< $ 1"


if __name__ == "__main__":
    sys.exit(main())
