"""Photos and their embeddings, sent elsewhere in batches, any of which may be sent twice."""

from __future__ import annotations

import os
from contextlib import closing
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.errors import ModelMismatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.rows import Row
    from clipsearch.stores.milvus import MilvusStore
    from clipsearch.types import Model

    Batches = Iterable[tuple[Sequence[Row], NDArray[np.float16]]]

_BATCH = 8_000  # rows that are asked for at once, whether they are there; a Parquet file has as many


class Sent(NamedTuple):
    """How many photos were sent, and how many were there already as they are."""

    new: int
    unchanged: int


def to_milvus(
    address: Address,
    model: Model,
    batches: Batches,
    *,
    tell: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Write photos into a collection, which is made when missing, over those of the same paths.

    Stopped anywhere, it goes on when it is called again: what is there already, as it is, is not sent.

    Args:
        address: The collection.
        model: Of the embeddings.
        batches: Photos and their `(n, dim)` unit embeddings.
        tell: Told what takes long.
        progress: Told of photos done.

    Raises:
        ModelMismatchError: The collection is of another model.
        LibraryError: The server says no, or nothing.
    """
    from clipsearch.milvus.fields import fields_of

    store = _collection(address, model)
    new = done = 0
    try:
        for rows, vectors in _parts(batches):
            # Strong: what a run has written that was stopped just now counts as well.
            known = store.get([row.id for row in rows], ["hash", "extra"], consistency="Strong")
            places = [
                place
                for place, row in enumerate(rows)
                if row.id not in known
                or known[row.id]["hash"] != row.hash.hex()
                or known[row.id]["extra"] != dict(row.extra)
            ]
            if places:
                store.upsert([fields_of(rows[place]) for place in places], vectors[places])
            new, done = new + len(places), done + len(rows)
            progress(done)
        store.settle(written=new, tell=tell)
    finally:
        store.close()
    return Sent(new, done - new)


def check_collection(address: Address, model: Model | None) -> None:
    """See that a collection, there or not, can be reached and may take embeddings of a model.

    Raises:
        ModelMismatchError: It is of another model.
        LibraryError: The server says no, or nothing.
    """
    from clipsearch.milvus.holdings import described
    from clipsearch.milvus.settings import server_of
    from clipsearch.stores.milvus import MilvusStore

    with closing(MilvusStore(server_of(address), address.collection)) as store:
        about = store.about()
        if about is not None and model is not None:
            _check_same(address, described(address, about), model)


def to_shards(
    place: str, model: Model, batches: Batches, *, progress: Callable[[int], None] = lambda _: None
) -> Sent:
    """Write photos into a folder of Parquet files, beside those that are there.

    Args:
        place: A folder or its URL.
        model: Of the embeddings.
        batches: Photos and their `(n, dim)` unit embeddings.
        progress: Told of photos done.

    Raises:
        ModelMismatchError: The folder has embeddings of another model.
        UsageError: What is there is not of clipsearch.
        OutputError: It cannot be written.
    """
    from clipsearch.rows import to_arrow
    from clipsearch.shards import Shards

    shards = Shards(place)
    known = shards.ids(skipped=False)
    new = done = 0
    for rows, vectors in _parts(batches):
        if not done:
            shards.set_model(model)
        ids = np.array([row.id for row in rows], np.int64)
        places = np.flatnonzero(~np.isin(ids, known))
        if len(places):
            name = blake2b(ids[places].astype("<i8").tobytes(), digest_size=8).hexdigest()
            chosen = [rows[one] for one in places.tolist()]
            shards.write(name, to_arrow(chosen, vectors[places], model.dim), [])
        new, done = new + len(places), done + len(rows)
        progress(done)
    return Sent(new, done - new)


def _parts(batches: Batches) -> Iterator[tuple[Sequence[Row], NDArray[np.float16]]]:
    for rows, vectors in batches:
        for start in range(0, len(rows), _BATCH):
            yield rows[start : start + _BATCH], vectors[start : start + _BATCH]


def _collection(address: Address, model: Model) -> MilvusStore:
    """The collection, ready to be written to."""
    from clipsearch.milvus.fields import COLUMNS
    from clipsearch.milvus.holdings import describe, described
    from clipsearch.milvus.settings import server_of
    from clipsearch.stores.milvus import MilvusStore

    server = server_of(address)
    if server.is_lite and not os.path.isdir(folder := os.path.dirname(server.uri)):  # noqa: PTH112, PTH120
        raise UsageError(f"no such folder: {folder}", "make it, or name another")
    store = MilvusStore(server, address.collection)
    try:
        about = store.about()
        if about is None:
            store.create(model.dim, COLUMNS, describe(model))
        else:
            _check_same(address, described(address, about), model)
        store.prepare(COLUMNS)
    except BaseException:
        store.close()
        raise
    return store


def _check_same(address: Address, there: Model, model: Model) -> None:
    if there.fingerprint != model.fingerprint:
        raise ModelMismatchError(
            f"{address} was made with {there.source}, not with {model.source}", "export to another collection"
        )
