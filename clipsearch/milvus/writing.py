"""Bringing photos into a collection: in batches, any of which may be written twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.errors import ModelMismatchError, UsageError
from clipsearch.milvus.fields import COLUMNS, fields_of
from clipsearch.milvus.holdings import describe, described
from clipsearch.milvus.settings import server_of
from clipsearch.stores.milvus import MilvusStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.rows import Row
    from clipsearch.types import Model

_BATCH = 8_000  # rows that are asked for at once, whether they are there


class Written(NamedTuple):
    """How many photos were written, and how many were there already as they are."""

    new: int
    unchanged: int


def write(
    address: Address,
    model: Model,
    batches: Iterable[tuple[Sequence[Row], NDArray[np.float16]]],
    *,
    tell: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Written:
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
    store = _opened(address, model)
    new = done = 0
    try:
        for rows, vectors in batches:
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                # Strong: what a run has written that was stopped just now counts as well.
                known = store.get([row.id for row in part], ["hash", "extra"], consistency="Strong")
                places = [
                    place
                    for place, row in enumerate(part)
                    if known.get(row.id, {}).get("hash") != row.hash.hex()
                    or known[row.id]["extra"] != dict(row.extra)
                ]
                if places:
                    store.upsert(
                        [fields_of(part[place]) for place in places],
                        vectors[start : start + _BATCH][places],
                    )
                new, done = new + len(places), done + len(part)
                progress(done)
        if new:
            store.settle(written=new, tell=tell)
    finally:
        store.close()
    return Written(new, done - new)


def _opened(address: Address, model: Model) -> MilvusStore:
    """The collection, ready to be written to."""
    server = server_of(address)
    if server.is_lite and not os.path.isdir(os.path.dirname(server.uri)):  # noqa: PTH112, PTH120 - strings
        raise UsageError(f"no such folder: {os.path.dirname(server.uri)}", "make it, or name another")  # noqa: PTH120
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
