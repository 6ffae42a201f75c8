"""What runs on a worker of the cluster: one model, shard after shard. Imports no Ray.

What goes wrong as expected is told in words, as part of the answer: an exception would come back wrapped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from clipsearch import __version__, index_run
from clipsearch.cluster.embedding import ShardEncoder
from clipsearch.cluster.plan import items_of, name_of
from clipsearch.encoders.cache import model_to_json
from clipsearch.encoders.opening import check_same
from clipsearch.errors import ClipsearchError, ClusterError
from clipsearch.rows import to_arrow
from clipsearch.shards import Shards
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from clipsearch.cluster.source import Item
    from clipsearch.types import Model, ModelSource

_WARM_UP = 8  # photos, for what is done once


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker is told."""

    target: str
    is_tars: bool
    is_remote: bool
    model: Model
    device: str
    batch_size: int | None
    photos: int


class Worker:
    """Embeds and writes shards; Ray makes one for each place in its pool, and again where one dies."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._encoder: ShardEncoder | None = None

    def close(self) -> None:
        """End the threads and processes that decode; Ray just ends the process."""
        if self._encoder is not None:
            self._encoder.close()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Returns one row about the shard."""
        import pyarrow as pa

        began = time.time()
        items = items_of(table)
        about: dict[str, Any] = dict.fromkeys(("photos", "encoded", "skipped", "bytes"), 0)
        about |= {"items": len(items), "began": began, "error": None, "message": None, "hint": None}
        try:
            about |= self._embed(items)
        except ClipsearchError as error:
            about |= _words(error)
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

    def _open(self) -> ShardEncoder:
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


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker is asked before the job begins.

    Attributes:
        model: None for the default model; see `index_run.open_encoder`.
        device: See there, and so is `batch_size`.
        batch_size: See there.
        photos: How many there are to embed.
        version: Of the clipsearch that asks.
        sample: Photos, or a tar, to embed now; as `plan.table_of` makes it.
        is_tars: Whether it is a tar.
        is_remote: Whether photos come over a network.
    """

    model: ModelSource | None
    device: str
    batch_size: int | None
    photos: int
    version: str
    sample: pa.Table
    is_tars: bool
    is_remote: bool


def answer(question: Question) -> dict[str, Any]:
    """What the model is; and how fast it embeds the sample, if there is one."""
    notices: list[str] = []
    try:
        if question.version != __version__:
            raise ClusterError(
                f"the cluster has clipsearch {__version__}, this machine {question.version}",
                "install the same on every node",
            )
        encoder = index_run.open_encoder(
            question.model,
            question.device,
            question.batch_size,
            question.photos,
            Listeners(notice=notices.append),
        )
        found: dict[str, Any] = {"model": model_to_json(encoder.model), "notices": notices}
        if question.sample.num_rows:
            shards = ShardEncoder(encoder, remote=question.is_remote)
            try:
                found |= _measured(shards, items_of(question.sample), is_tars=question.is_tars)
            finally:
                shards.close()
    except ClipsearchError as error:
        return {"notices": notices, **_words(error)}
    return found


def _measured(shards: ShardEncoder, sample: Sequence[Item], *, is_tars: bool) -> dict[str, Any]:
    """Photos of a sample, the seconds they took, and the bytes of one as a row."""
    if is_tars:
        embed = partial(shards.tar, sample[0].path)
    else:
        embed = partial(shards.photos, sample)
        shards.photos(sample[:_WARM_UP])
    began = time.perf_counter()
    done = embed()
    seconds = time.perf_counter() - began
    size = to_arrow(done.rows, done.vectors, done.vectors.shape[1]).nbytes
    photos = len(done.rows) + len(done.skipped)
    return {"photos": photos, "seconds": seconds, "row_bytes": size / max(1, len(done.rows))}


def _words(error: ClipsearchError) -> dict[str, str]:
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
