"""What is to be embedded, cut into shards: the units that are done, or done again, as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.cluster.source import Item
from clipsearch.rows import read_path, row_id, spell_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

# A killed worker loses a shard's work: three minutes where a core embeds 20 photos a second, two seconds on a
# GPU. Larger ones would be fewer files, and lose more.
MOST = 4096
# The reading and the model wait for each other at both ends of a shard.
LEAST = 256
# So that all workers end at about the same time.
_SHARDS_A_WORKER = 4
# Items whose ids are held against those that are there, at a time.
_BLOCK = 65_536


@dataclass(slots=True)
class Tally:
    """What a plan has come upon, complete once the plan is.

    Attributes:
        items: To embed: photos, or tars.
        bytes: Of those whose size the listing told.
        sized: How many those are.
        finished: Left out because they are there already.
        doubled: Left out because the source has them twice.
    """

    items: int = 0
    bytes: int = 0
    sized: int = 0
    finished: int = 0
    doubled: int = 0


def cut(
    items: Iterable[Item], *, known: NDArray[np.int64], workers: int, size: int | None, tally: Tally
) -> Iterator[pa.Table]:
    """Shards of the items that are not finished, as tables of their paths and what the source says of them.

    Args:
        items: From a source.
        known: Ids of what is finished, ascending.
        workers: How many will work on them.
        size: Photos of a shard; what suits the number of photos and workers when None.
        tally: Counts them.
    """
    fresh = _unknown(items, known, tally)
    if size is None:
        first = list(islice(fresh, MOST * _SHARDS_A_WORKER * workers))
        size = min(MOST, max(LEAST, -(-len(first) // (_SHARDS_A_WORKER * workers))))
        fresh = chain(first, fresh)
    while part := list(islice(fresh, size)):
        yield table_of(part)


def _unknown(items: Iterable[Item], known: NDArray[np.int64], tally: Tally) -> Iterator[Item]:
    """Items that are not finished, each once."""
    source = iter(items)
    seen = np.empty(0, np.int64)
    while block := list(islice(source, _BLOCK)):
        ids = np.array([row_id(item.path) for item in block], np.int64)
        _, first = np.unique(ids, return_index=True)
        is_first = np.zeros(len(ids), np.bool_)
        is_first[first] = True
        is_first &= ~_among(ids, seen)
        is_known = _among(ids, known)
        tally.doubled += int((~is_first).sum())
        tally.finished += int((is_first & is_known).sum())
        seen = np.union1d(seen, ids)
        for place in np.flatnonzero(is_first & ~is_known).tolist():
            item = block[place]
            tally.items += 1
            if item.size is not None:
                tally.bytes += item.size
                tally.sized += 1
            yield item


def _among(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which ids are among known ones, ascending."""
    if not len(known):
        return np.zeros(len(ids), np.bool_)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == ids
    return found


def table_of(items: Sequence[Item]) -> pa.Table:
    """A shard on its way to a worker."""
    import pyarrow as pa

    return pa.table(
        {
            "path": pa.array([spell_path(item.path) for item in items], pa.string()),
            "extra": pa.array([json.dumps(item.extra) for item in items], pa.string()),
        }
    )


def items_of(table: pa.Table) -> list[Item]:
    """The inverse of `table_of`, without the sizes."""
    columns = (table.column(name).to_pylist() for name in ("path", "extra"))
    return [Item(read_path(path), None, json.loads(extra)) for path, extra in zip(*columns, strict=True)]


def name_of(items: Iterable[Item]) -> str:
    """The name of a shard: always the same for the same photos, in 128 bits."""
    digest = blake2b(digest_size=16)
    for item in items:
        digest.update(spell_path(item.path).encode() + b"\0")
    return digest.hexdigest()


def counted(found: Iterator[Item], told: Callable[[int], None]) -> Iterator[Item]:
    """The same items, telling of their number now and then."""
    count = 0
    for count, item in enumerate(found, 1):
        if not count % 1000:
            told(count)
        yield item
    told(count)
