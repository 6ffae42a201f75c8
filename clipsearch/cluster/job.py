"""The job: photos of a source, embedded by the workers of a Ray cluster, shard by shard into Parquet files.

The driver lists, leaves out what is finished, and hands shards to a pool of workers. A worker embeds a shard
and writes it itself, so that a shard is finished or not there, whoever dies; Ray gives a dead worker's shard to
another. Its name follows from its photos: done twice, it is the same file.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch import __version__, errors, index_run
from clipsearch.cluster.nodes import cluster, share
from clipsearch.cluster.plan import Tally, counted, cut, items_of, name_of, table_of
from clipsearch.encoders.cache import model_from_json, model_to_json
from clipsearch.encoders.opening import check_same
from clipsearch.errors import ClipsearchError, ClusterError, ModelMismatchError
from clipsearch.rows import to_arrow
from clipsearch.shards import INSTALL, Shards
from clipsearch.types import Listeners, Model, ModelSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from clipsearch.cluster.nodes import Share
    from clipsearch.cluster.source import Item, Source

    Progress = Callable[[str, str, int, int], None]

# Of a dry run: enough for a rate to settle, a few seconds of work.
SAMPLE = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """How to embed.

    Attributes:
        model: None for the default model; see `index_run.open_encoder`.
        device: `auto`, `cuda`, `mps` or `cpu`.
        batch_size: Pictures in one forward pass; what suits the device when None.
        shard: Photos of a shard; what suits their number and that of the workers when None.
        workers: How many; as many as the cluster has room for when None.
        cores: Of each worker; what its share of a node has when None.
        retry_skipped: Try photos again that could not be read before.
    """

    model: ModelSource | None = None
    device: str = "auto"
    batch_size: int | None = None
    shard: int | None = None
    workers: int | None = None
    cores: int | None = None
    retry_skipped: bool = False


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a job did.

    Attributes:
        photos: Embedded now.
        encoded: Pictures that went through the model for that; exact copies of a shard go once.
        skipped: Could not be read.
        finished: Of the source, were there before.
        shards: Written.
        bytes: Read.
        workers: That worked on it.
        seconds: Wall clock of the whole.
        steady: Of these, from the first worker's start on its first shard to the end of the last shard.
        interrupted: Stopped before the end.
    """

    photos: int = 0
    encoded: int = 0
    skipped: int = 0
    finished: int = 0
    shards: int = 0
    bytes: int = 0
    workers: int = 0
    seconds: float = 0.0
    steady: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would do.

    Attributes:
        photos: To embed; None for tars, which are not looked into.
        tars: To read.
        bytes: To read; None where the listing does not tell.
        finished: Of the source, are there already.
        workers: There is room for.
        rate: Photos a second of all of them, from a sample of `sample` photos on one.
        sample: Photos of it.
        seconds: The whole takes; None where the number of photos is not known.
        written: Bytes of the Parquet files; likewise.
    """

    photos: int | None
    tars: int
    bytes: int | None
    finished: int
    workers: int
    rate: float
    sample: int
    seconds: float | None
    written: int | None


@dataclass(frozen=True, slots=True)
class _Task:
    """What every worker is told."""

    target: str
    is_tars: bool
    is_remote: bool
    model: Model
    device: str
    batch_size: int | None
    photos: int


def run(
    source: Source,
    target: Shards,
    settings: Settings,
    *,
    address: str,
    listeners: Listeners,
    progress: Progress,
) -> JobReport:
    """Embed what is not finished. Ctrl-C keeps every shard that is.

    Args:
        source: The photos.
        target: Where the shards go; every node must be able to write there.
        settings: How.
        address: Of the cluster; see `nodes.cluster`.
        listeners: For notices.
        progress: Told what is being done, to what, how many so far, and of how many.

    Raises:
        UsageError: The source or the target cannot be read.
        ClusterError: The cluster cannot be reached, or fails.
        ModelError: The model cannot be had, or is not the target's.
        OutputError: The target cannot be written.
    """
    began = time.time()
    stored = _stored(target, settings)
    known = target.ids(skipped=not settings.retry_skipped)
    with cluster(address, cores=settings.cores and settings.cores * (settings.workers or 1)) as ray:
        room = share(ray.nodes(), workers=settings.workers, cores=settings.cores)
        tally = Tally()
        tables = _tables(source, target, known, room, settings, tally, listeners, progress)
        # Ray keeps them, on disk if need be; each is one block, and stays one.
        blocks = [(ray.put(table), len(table)) for table in tables]
        report = JobReport(finished=tally.finished, workers=min(room.workers, len(blocks)))
        if not blocks:
            return replace(report, seconds=time.time() - began)
        progress("starting workers", "", 0, 0)
        model = stored or _describe(ray, source, settings, room, tally.photos, listeners)
        target.set_model(model)
        is_tars = source.kind == "tars"
        task = _Task(
            target.place, is_tars, source.is_remote, model, settings.device, settings.batch_size, tally.photos
        )
        unit = "tars" if is_tars else "photos"
        done, first, last = 0, 0.0, 0.0
        try:
            for found in _results(ray, [block for block, _ in blocks], task, room, report.workers):
                _raise(found)
                done += found["items"]
                first, last = min(first or found["began"], found["began"]), max(last, found["ended"])
                report = replace(
                    report,
                    **{name: getattr(report, name) + found[name] for name in ("photos", "encoded", "skipped", "bytes")},
                    shards=report.shards + 1,
                    steady=last - first,
                )
                progress("embedding", unit, done, tally.photos)
        except KeyboardInterrupt:
            report = replace(report, interrupted=True)
        return replace(report, seconds=time.time() - began)


def estimate(
    source: Source,
    target: Shards | None,
    settings: Settings,
    *,
    address: str,
    listeners: Listeners,
    progress: Progress,
) -> Estimate:
    """Count what `run` would do, and embed a sample on one worker to tell how long; nothing is written.

    Raises:
        ClipsearchError: As `run`.
    """
    stored = None if target is None else _stored(target, settings)
    known = np.empty(0, np.int64) if target is None else target.ids(skipped=not settings.retry_skipped)
    with cluster(address, cores=settings.cores and settings.cores * (settings.workers or 1)) as ray:
        room = share(ray.nodes(), workers=settings.workers, cores=settings.cores)
        tally = Tally()
        tables = _tables(source, target, known, room, settings, tally, listeners, progress)
        # Spread over the whole source: the first folder may hold other photos than the rest.
        heads = [table.slice(0, SAMPLE) for table in tables]
        if not heads:
            return Estimate(0, 0, 0, tally.finished, room.workers, 0.0, 0, 0.0, 0)
        items = [item for head in heads for item in items_of(head)[: max(1, SAMPLE // len(heads))]][:SAMPLE]
        progress("embedding a sample", "", 0, 0)
        wanted = replace(settings, model=stored.source) if stored else settings
        found = _ask(ray, source, wanted, room, tally.photos, items[:1] if source.kind == "tars" else items)
        _tell(listeners, found)
    rate = found["photos"] / found["seconds"] * room.workers if found["photos"] else 0.0
    is_tars = source.kind == "tars"
    photos = None if is_tars else tally.photos
    row = found["row_bytes"]
    return Estimate(
        photos=photos,
        tars=tally.photos if is_tars else 0,
        bytes=tally.bytes if tally.sized == tally.photos else None,
        finished=tally.finished,
        workers=room.workers,
        rate=rate,
        sample=found["photos"],
        seconds=photos / rate if photos is not None and rate else None,
        written=round(photos * row) if photos is not None else None,
    )


def _stored(target: Shards, settings: Settings) -> Model | None:
    """The target's model.

    Raises:
        ModelMismatchError: Another one was named.
    """
    stored = target.model
    if stored and settings.model and settings.model != stored.source:
        raise ModelMismatchError(
            f"{target.place} was made with {stored.source}, not with {settings.model}",
            "leave the model away, or name another folder: --to DIR",
        )
    return stored


def _tables(
    source: Source,
    target: Shards | None,
    known: Any,
    room: Share,
    settings: Settings,
    tally: Tally,
    listeners: Listeners,
    progress: Progress,
) -> Iterator[pa.Table]:
    """Shards that are not finished."""
    found = counted(source.items(listeners.tell), lambda count: progress("listing", "found", count, 0))
    if source.kind != "tars":
        yield from cut(found, known=known, workers=room.workers, size=settings.shard, tally=tally)
        return
    finished = target.finished() if target else set()
    for table in cut(found, known=known[:0], workers=room.workers, size=1, tally=tally):
        if name_of(items_of(table)) in finished:
            tally.photos -= 1
            tally.finished += 1
        else:
            yield table


# -- on the workers ----------------------------------------------------------------------------------


class Worker:
    """Embeds and writes shards; Ray makes one for each place in its pool, and makes it again where it dies."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._encoder: Any = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """Returns one row about the shard; an expected error is a row, too, so that it comes with its hint."""
        import pyarrow as pa

        began = time.time()
        items = items_of(table)
        about: dict[str, Any] = dict.fromkeys(("photos", "encoded", "skipped", "bytes"), 0)
        about |= {"items": len(items), "began": began, "error": None, "message": None, "hint": None}
        try:
            about |= self._embed(items)
        except ClipsearchError as error:
            about |= {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        about["ended"] = time.time()
        return pa.Table.from_pylist([about], schema=_reports())

    def _embed(self, items: Sequence[Item]) -> dict[str, int]:
        task = self._task
        encoder = self._encoder = self._encoder or self._open()
        done = encoder.tar(items[0].path) if task.is_tars else encoder.photos(items)
        batch = to_arrow(done.rows, done.vectors, task.model.dim)
        Shards(task.target).write(name_of(items), batch, done.skipped)
        return {
            "photos": len(done.rows),
            "encoded": done.encoded,
            "skipped": len(done.skipped),
            "bytes": done.bytes,
        }

    def _open(self) -> Any:
        from clipsearch.cluster.embedding import ShardEncoder

        task = self._task
        encoder = index_run.open_encoder(
            task.model.source, task.device, task.batch_size, task.photos, Listeners()
        )
        check_same(encoder.model, task.model)
        return ShardEncoder(encoder, remote=task.is_remote)


def _reports() -> pa.Schema:
    import pyarrow as pa

    numbers = ("items", "photos", "encoded", "skipped", "bytes")
    texts = ("error", "message", "hint")
    return pa.schema(
        [pa.field(name, pa.int64()) for name in numbers]
        + [pa.field(name, pa.float64()) for name in ("began", "ended")]
        + [pa.field(name, pa.string()) for name in texts]
    )


def _try_out(
    source: Source, settings: Settings, version: str, photos: int, sample: pa.Table
) -> Mapping[str, Any]:
    """On a worker: what the model is; and how fast it embeds a sample, where there is one."""
    notices: list[str] = []
    try:
        if version != __version__:
            raise ClusterError(
                f"the cluster has clipsearch {__version__}, this machine {version}",
                "install the same on every node",
            )
        encoder = index_run.open_encoder(
            settings.model, settings.device, settings.batch_size, photos, Listeners(notice=notices.append)
        )
        found: dict[str, Any] = {"model": model_to_json(encoder.model), "notices": notices}
        return found | _measured(encoder, source, items_of(sample))
    except ClipsearchError as error:
        return {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "notices": notices,
        }


def _measured(encoder: Any, source: Source, sample: Sequence[Item]) -> dict[str, Any]:
    from clipsearch.cluster.embedding import ShardEncoder

    if not sample:
        return {}
    shards = ShardEncoder(encoder, remote=source.is_remote)
    try:
        embed = partial(shards.tar, sample[0].path) if source.kind == "tars" else partial(shards.photos, sample)
        if source.kind != "tars":
            shards.photos(sample[:8])  # what is done once
        began = time.perf_counter()
        done = embed()
        seconds = time.perf_counter() - began
    finally:
        shards.close()
    size = to_arrow(done.rows, done.vectors, encoder.model.dim).nbytes
    photos = len(done.rows) + len(done.skipped)
    return {"photos": photos, "seconds": seconds, "row_bytes": size / max(1, len(done.rows))}


# -- through Ray -------------------------------------------------------------------------------------


def _describe(
    ray: Any, source: Source, settings: Settings, room: Share, photos: int, listeners: Listeners
) -> Model:
    """What the model is, by loading it on a worker."""
    found = _ask(ray, source, settings, room, photos, [])
    _tell(listeners, found)
    return model_from_json(found["model"])


def _ask(
    ray: Any, source: Source, settings: Settings, room: Share, photos: int, sample: Sequence[Item]
) -> Mapping[str, Any]:
    remote = ray.remote(num_cpus=room.cores, num_gpus=room.gpus)(_try_out)
    with _spoken():
        return ray.get(remote.remote(source, settings, __version__, photos, table_of(sample)))


def _results(
    ray: Any, blocks: Sequence[Any], task: _Task, room: Share, workers: int
) -> Iterator[dict[str, Any]]:
    """What the workers say of each shard, as they finish."""
    from ray.data import ActorPoolStrategy

    done = ray.data.from_arrow_refs(blocks).map_batches(
        Worker,
        fn_constructor_args=(task,),
        batch_size=None,  # a block, which is a shard, at a time
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
        num_cpus=room.cores,
        num_gpus=room.gpus or None,
    )
    with _spoken():
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch.to_pylist()


@contextmanager
def _spoken() -> Iterator[None]:
    """Ray's errors in words."""
    try:
        yield
    except ClipsearchError:
        raise
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        if "No module named 'clipsearch" in str(error):
            raise ClusterError("the cluster's nodes do not have clipsearch", INSTALL + " on every node") from error
        said = (str(cause) or type(cause).__name__).strip().splitlines()[-1]
        raise ClusterError(
            f"the job failed ({type(cause).__name__}: {said})",
            "every finished shard is kept; run the same command again",
        ) from error


def _tell(listeners: Listeners, found: Mapping[str, Any]) -> None:
    for sentence in found["notices"]:
        listeners.tell(sentence)
    _raise(found)


def _raise(found: Mapping[str, Any]) -> None:
    """Raise the error that a worker has met, if any."""
    if name := found.get("error"):
        raise getattr(errors, name)(found["message"], found["hint"])
