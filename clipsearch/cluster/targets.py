"""Where embedded photos go: Parquet files first, in any case, and from them into a Milvus collection."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from clipsearch.address import parse_address
from clipsearch.encoders.cache import cache_root
from clipsearch.errors import UsageError
from clipsearch.rows import from_arrow
from clipsearch.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clipsearch.address import Address
    from clipsearch.cluster.source import Source
    from clipsearch.sending import Sent


@dataclass(frozen=True, slots=True)
class Targets:
    """What the user has named.

    Attributes:
        shards: The Parquet files.
        collection: Loaded from them, if any.
    """

    shards: Shards
    collection: Address | None

    def check(self) -> None:
        """See that the collection can be written to: an error now, not after hours.

        Raises:
            ModelMismatchError: It is of another model.
            LibraryError: The server says no, or nothing.
        """
        if self.collection is not None:
            from clipsearch.sending import check_collection

            check_collection(self.collection, self.shards.model)

    def load(self, *, tell: Callable[[str], None], progress: Callable[[int, int], None]) -> Sent | None:
        """Bring all that is in the Parquet files into the collection; what is there already is not sent.

        Args:
            tell: Told what takes long.
            progress: Told of photos done, and of how many.

        Raises:
            ModelMismatchError: The collection is of another model.
            LibraryError: The server says no, or nothing.
        """
        if self.collection is None or self.shards.model is None:
            return None
        from clipsearch.sending import to_milvus

        total = self.shards.count()
        return to_milvus(
            self.collection,
            self.shards.model,
            map(from_arrow, self.shards.batches()),
            tell=tell,
            progress=lambda done: progress(done, total),
        )


def targets_of(words: Sequence[str], source: Source, *, staging: str | None, alone: bool) -> Targets:
    """What `--to` and `--staging` mean.

    Args:
        words: One folder or its URL, one collection, or both.
        source: Of the photos.
        staging: The folder of the Parquet files where no other is named.
        alone: Whether only this machine works on it, which then may keep them in its cache.

    Raises:
        UsageError: Too many of them, or other nodes need a folder that they can reach.
    """
    addresses = {word: parse_address(word) for word in words}
    collections = [address for address in addresses.values() if address is not None]
    folders = [word for word, address in addresses.items() if address is None]
    if len(folders) > 1 or len(collections) > 1:
        raise UsageError(
            f"too many targets: {', '.join(words)}", "name one folder, one Milvus collection, or both"
        )
    if folders and staging:
        raise UsageError(
            f"two folders for the same files: {folders[0]} and {staging}", "leave --staging away"
        )
    if not folders and not staging and not alone:
        raise UsageError(
            "the nodes need a folder that all of them can write to, for files on their way to Milvus",
            "name one: --staging DIR, or --to DIR beside the collection",
        )
    folder = folders[0] if folders else staging or _kept(source, collections[0])
    return Targets(Shards(folder), collections[0] if collections else None)


def _kept(source: Source, collection: Address) -> str:
    """A folder in the cache, the same for the next run."""
    name = blake2b(f"{source.place}\0{collection}".encode("utf-8", "surrogateescape"), digest_size=8)
    return str(cache_root() / "cluster" / name.hexdigest())
