"""What the job on a cluster does, without one: shard after shard in this process, by the workers' code."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from clipsearch import index_run
from clipsearch.cluster.plan import Tally, cut
from clipsearch.cluster.source import source_of
from clipsearch.cluster.worker import Task, Worker
from clipsearch.encoders.registry import resolve
from clipsearch.shards import Shards
from clipsearch.types import Listeners, ModelSource

if TYPE_CHECKING:
    from pathlib import Path


def embed(place: Path | str, target: Path | str, *, size: int = 3, model: str = "") -> list[dict[str, Any]]:
    """Embed photos into shards of `size`; returns what the worker says of each.

    Args:
        place: A source.
        target: Of the Parquet files.
        model: The tiny encoder of `program` when empty.
    """
    source, shards = source_of(str(place)), Shards(str(target))
    wanted = resolve(model) if model else ModelSource("mean-color")
    encoder = index_run.open_encoder(wanted, "cpu", None, 1, Listeners())
    shards.set_model(encoder.model)
    if source.folder is not None:
        shards.add_source(source.folder)
    is_tars = source.kind == "tars"
    tables = cut(
        source.items(lambda _: None),
        known=shards.ids(),
        workers=1,
        size=1 if is_tars else size,
        tally=Tally(),
    )
    task = Task(shards.place, is_tars, source.is_remote, encoder.model, "cpu", None, 1)
    with closing(Worker(task)) as worker:
        return [row for table in tables for row in worker(table).to_pylist()]
