"""The job: photos of a source, embedded by the workers of a Ray cluster, shard by shard into Parquet files.

The driver lists, leaves out what is finished, and hands shards to a pool of workers. A worker embeds a shard
and writes it itself, so that a shard is finished or not there, whoever dies; Ray gives a dead worker's shard
to another. Its name follows from its photos: done twice, it is the same file.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clipsearch import __version__, errors
from clipsearch.cluster.nodes import cluster, share
from clipsearch.cluster.plan import Tally, counted, cut, items_of, name_of, table_of
from clipsearch.cluster.worker import Question, Task, Worker, answer
from clipsearch.encoders.cache import model_from_json
from clipsearch.errors import ClipsearchError, ClusterError, ModelMismatchError
from clipsearch.shards import INSTALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from clipsearch.cluster.nodes import Share
    from clipsearch.cluster.source import Item, Source
    from clipsearch.shards import Shards
    from clipsearch.types import Listeners, Model, ModelSource

    Progress = Callable[[str, str, int, int], None]

# Of a dry run: enough for a rate to settle, a few seconds of work.
_SAMPLE = 256
_COUNTS = ("photos", "encoded", "skipped", "bytes")


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


class Driver:
    """Runs jobs.

    Args:
        address: Of the cluster; see `nodes.cluster`.
        settings: How to embed.
        listeners: For notices.
        progress: Told what is being done, to what, how many so far, and of how many.
    """

    def __init__(self, address: str, settings: Settings, listeners: Listeners, progress: Progress) -> None:
        self._address = address
        self._settings = settings
        self._listeners = listeners
        self._progress = progress

    def run(self, source: Source, target: Shards) -> JobReport:
        """Embed what is not finished. Ctrl-C keeps every shard that is.

        Args:
            source: The photos.
            target: Where the shards go; every node must be able to write there.

        Raises:
            UsageError: The source or the target cannot be read.
            ClusterError: The cluster cannot be reached, or fails.
            ModelError: The model cannot be had, or is not the target's.
            OutputError: The target cannot be written.
        """
        began = time.time()
        stored = self._stored(target)
        with self._cluster() as (ray, room):
            tally = Tally()
            # Ray keeps them, on disk if need be; each is one block, and stays one.
            blocks = [ray.put(table) for table in self._tables(source, target, room, tally)]
            report = JobReport(finished=tally.finished, workers=min(room.workers, len(blocks)))
            if blocks:
                self._progress("starting workers", "", 0, 0)
                model = stored or self._model(ray, room, source, tally.items)
                target.set_model(model)
                if source.folder is not None:
                    target.add_source(source.folder)
                task = Task(
                    target=target.place,
                    is_tars=source.kind == "tars",
                    is_remote=source.is_remote,
                    model=model,
                    device=self._settings.device,
                    batch_size=self._settings.batch_size,
                    photos=tally.items,
                )
                report = self._embed(report, _results(ray, blocks, task, room, report.workers), tally, source)
        return replace(report, seconds=round(time.time() - began, 3))

    def _embed(
        self, report: JobReport, results: Iterator[Mapping[str, Any]], tally: Tally, source: Source
    ) -> JobReport:
        unit = "tars" if source.kind == "tars" else "photos"
        self._progress("embedding", unit, 0, tally.items)
        done, first, last = 0, math.inf, 0.0
        try:
            for found in results:
                _raise(found)
                first, last = min(first, found["began"]), max(last, found["ended"])
                done += found["items"]
                report = replace(
                    report,
                    **{name: getattr(report, name) + found[name] for name in _COUNTS},
                    shards=report.shards + 1,
                    steady=round(last - first, 3),
                )
                self._progress("embedding", unit, done, tally.items)
        except KeyboardInterrupt:
            return replace(report, interrupted=True)
        return report

    def estimate(self, source: Source, target: Shards) -> Estimate:
        """Count what `run` would do, and embed a sample on one worker to tell how long; nothing is written.

        Raises:
            ClipsearchError: As `run`.
        """
        stored = self._stored(target)
        is_tars = source.kind == "tars"
        with self._cluster() as (ray, room):
            tally = Tally()
            heads = [items_of(table.slice(0, _SAMPLE)) for table in self._tables(source, target, room, tally)]
            if not heads:
                return Estimate(0, 0, 0, tally.finished, room.workers, 0.0, 0, 0.0, 0)
            # Spread over the whole source: its first folder may hold other photos than the rest.
            each = -(-_SAMPLE // len(heads))
            sample = heads[0] if is_tars else [item for head in heads for item in head[:each]][:_SAMPLE]
            self._progress("embedding a sample", "", 0, 0)
            model = stored.source if stored else self._settings.model
            found = self._ask(ray, room, self._question(source, model, tally.items, sample))
        rate = found["photos"] / found["seconds"] * room.workers
        photos = None if is_tars else tally.items
        return Estimate(
            photos=photos,
            tars=tally.items if is_tars else 0,
            bytes=tally.bytes if tally.sized == tally.items else None,
            finished=tally.finished,
            workers=room.workers,
            rate=rate,
            sample=found["photos"],
            seconds=photos and photos / rate,
            written=photos and round(photos * found["row_bytes"]),
        )

    @contextmanager
    def _cluster(self) -> Iterator[tuple[Any, Share]]:
        settings = self._settings
        with cluster(self._address, cores=settings.cores and settings.cores * (settings.workers or 1)) as ray:
            yield ray, share(ray.nodes(), workers=settings.workers, cores=settings.cores)

    def _stored(self, target: Shards) -> Model | None:
        """The target's model.

        Raises:
            ModelMismatchError: Another one was named.
        """
        stored, wanted = target.model, self._settings.model
        if stored and wanted and wanted != stored.source:
            raise ModelMismatchError(
                f"{target.place} was made with {stored.source}, not with {wanted}",
                "leave the model away, or name another folder: --to DIR",
            )
        return stored

    def _tables(self, source: Source, target: Shards, room: Share, tally: Tally) -> Iterator[pa.Table]:
        """Shards that are not finished."""
        found = counted(
            source.items(self._listeners.tell), lambda count: self._progress("listing", "found", count, 0)
        )
        known = target.ids(skipped=not self._settings.retry_skipped)
        if source.kind != "tars":
            yield from cut(found, known=known, workers=room.workers, size=self._settings.shard, tally=tally)
            return
        finished = target.finished()
        for table in cut(found, known=known[:0], workers=room.workers, size=1, tally=tally):
            if name_of(items_of(table)) in finished:
                tally.items -= 1
                tally.finished += 1
            else:
                yield table

    def _model(self, ray: Any, room: Share, source: Source, photos: int) -> Model:
        """What the model is, by loading it on a worker."""
        question = self._question(source, self._settings.model, photos, [])
        return model_from_json(self._ask(ray, room, question)["model"])

    def _question(
        self, source: Source, model: ModelSource | None, photos: int, sample: Sequence[Item]
    ) -> Question:
        return Question(
            model=model,
            device=self._settings.device,
            batch_size=self._settings.batch_size,
            photos=photos,
            version=__version__,
            sample=table_of(sample),
            is_tars=source.kind == "tars",
            is_remote=source.is_remote,
        )

    def _ask(self, ray: Any, room: Share, question: Question) -> Mapping[str, Any]:
        remote = ray.remote(num_cpus=room.cores, num_gpus=room.gpus)(answer)
        with _spoken():
            found: Mapping[str, Any] = ray.get(remote.remote(question))
        for sentence in found["notices"]:
            self._listeners.tell(sentence)
        _raise(found)
        return found


def _results(
    ray: Any, blocks: Sequence[Any], task: Task, room: Share, workers: int
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
            raise ClusterError(
                "the cluster's nodes do not have clipsearch", INSTALL + " on every node"
            ) from error
        said = (str(cause) or type(cause).__name__).strip().splitlines()[-1]
        raise ClusterError(
            f"the job failed ({type(cause).__name__}: {said})",
            "every finished shard is kept; run the same command again",
        ) from error


def _raise(found: Mapping[str, Any]) -> None:
    """Raise the error that a worker has met, if any."""
    if name := found.get("error"):
        raise getattr(errors, name)(found["message"], found["hint"])
