"""One shard on one worker: read, hash, decode, embed, by the functions of the local pipeline."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.cluster.source import Item, extra_of
from clipsearch.errors import PhotoError, UsageError
from clipsearch.indexing import PARTS, part_size
from clipsearch.machine import usable_cores
from clipsearch.photos.files import MAX_BYTES
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.places import file_system, read_photo
from clipsearch.photos.scan import STILL_SUFFIXES
from clipsearch.reading import in_order
from clipsearch.rows import Row
from clipsearch.shards import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Any

    from numpy.typing import NDArray

    from clipsearch.encoders import ImageEncoder
    from clipsearch.photos.decode import Decoded

# Far away, a photo takes tens of milliseconds to come, in which no core works: many are asked for at once.
_REMOTE_THREADS = 32
# Of a shard, this share may fail to be read before it is the place that is away, and not the photos.
_LOST = 0.5
_MOST_TEXT = 1 << 20  # bytes of what lies beside a picture in a tar
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)  # a shard's would take gigabytes


class Embedded(NamedTuple):
    """A shard, embedded.

    Attributes:
        rows: Its photos.
        vectors: `(n, dim)` float32 unit rows.
        skipped: Those that could not be read.
        encoded: Pictures that went through the model: of exact copies one.
        bytes: Read.
    """

    rows: list[Row]
    vectors: NDArray[np.float32]
    skipped: list[Skipped]
    encoded: int
    bytes: int


class _Entry(NamedTuple):
    """A photo that is still to be read."""

    path: str
    extra: Mapping[str, Any]
    read: Callable[[], bytes]


class _Photo(NamedTuple):
    """A photo that was read."""

    entry: _Entry
    digest: bytes
    size: int
    decoded: Decoded


class _Lost(NamedTuple):
    """A photo that could not be; `away` where it may be the disk or the network that failed."""

    skipped: Skipped
    away: bool


class ShardEncoder:
    """Embeds shards, one after the other, with one model. Call `close` at the end.

    Args:
        encoder: The model.
        remote: Whether photos come over a network.
    """

    def __init__(self, encoder: ImageEncoder, *, remote: bool) -> None:
        self._encoder = encoder
        self._decoder = Decoder()
        cores = usable_cores()
        self._cores = threading.BoundedSemaphore(cores)
        self._threads = cores + _REMOTE_THREADS if remote else cores
        self._reading = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._embedding = ThreadPoolExecutor(PARTS, thread_name_prefix="batch")

    def close(self) -> None:
        """End the threads and processes that decode."""
        self._decoder.close()
        self._reading.shutdown(cancel_futures=True)
        self._embedding.shutdown()

    def photos(self, items: Sequence[Item]) -> Embedded:
        """Embed photos.

        Raises:
            UsageError: Most of them cannot be reached.
            ModelError: The model fails.
        """
        return self._embed(_Entry(item.path, item.extra, partial(read_photo, item.path)) for item in items)

    def tar(self, path: str) -> Embedded:
        """Embed the photos of a WebDataset tar.

        Raises:
            UsageError: It cannot be read.
            ModelError: The model fails.
        """
        broken: list[Skipped] = []
        done = self._embed(_members(path, broken))
        return done._replace(skipped=done.skipped + broken)

    def _embed(self, entries: Iterator[_Entry]) -> Embedded:
        photos: list[_Photo] = []
        lost: list[_Lost] = []
        places: dict[bytes, int] = {}  # of each content among the vectors
        vectors: list[NDArray[np.float32]] = []
        under_way: deque[Future[NDArray[np.float32]]] = deque()
        batch: list[NDArray[np.uint8]] = []

        def dispatch() -> None:
            under_way.append(self._embedding.submit(self._encoder.encode, np.stack(batch)))
            batch.clear()
            while len(under_way) > PARTS:
                vectors.append(under_way.popleft().result())

        ahead = 2 * self._encoder.batch_size + self._threads
        for one in in_order(self._reading, self._read, entries, lambda: ahead):
            if isinstance(one, _Lost):
                lost.append(one)
                continue
            photos.append(one._replace(decoded=replace(one.decoded, pixels=_NO_PIXELS)))
            if one.digest not in places:
                places[one.digest] = len(places)
                batch.append(one.decoded.pixels)
                if len(batch) >= part_size(self._encoder.batch_size):
                    dispatch()
        if batch:
            dispatch()
        vectors += [future.result() for future in under_way]
        _check_reachable(lost, len(photos) + len(lost))
        dim = self._encoder.model.dim
        found = np.concatenate(vectors) if vectors else np.empty((0, dim), np.float32)
        return Embedded(
            [_row(photo) for photo in photos],
            found[[places[photo.digest] for photo in photos]].reshape(-1, dim),
            [one.skipped for one in lost],
            len(places),
            sum(photo.size for photo in photos),
        )

    def _read(self, entry: _Entry) -> _Photo | _Lost:
        try:
            data = entry.read()
            digest = hashlib.sha256(data).digest()
            with self._cores:
                decoded = self._decoder.decode(data, self._encoder.model.preprocessing)
        except PhotoError as error:
            return _Lost(Skipped(entry.path, error.message), away=False)
        except Exception as error:  # noqa: BLE001 - object stores' own errors are of any kind
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return _Lost(Skipped(entry.path, reason.splitlines()[0].lower()), away=True)
        return _Photo(entry, digest, len(data), decoded)


def _check_reachable(lost: Sequence[_Lost], total: int) -> None:
    """See that it is photos that cannot be read, and not the place where they lie.

    Raises:
        UsageError: It is.
    """
    away = [one.skipped for one in lost if one.away]
    if len(away) > _LOST * total:
        from socket import gethostname

        raise UsageError(
            f"{len(away):,} of {total:,} photos cannot be reached from {gethostname()}:"
            f" {away[0].path} ({away[0].reason})",
            "every node must see them under the same path or address, with the same credentials",
        )


def _row(photo: _Photo) -> Row:
    decoded = photo.decoded
    return Row(
        photo.entry.path,
        photo.digest,
        decoded.width,
        decoded.height,
        photo.size,
        decoded.metadata,
        photo.entry.extra,
    )


# -- WebDataset tars -----------------------------------------------------------------------------------


def _members(path: str, broken: list[Skipped]) -> Iterator[_Entry]:
    """Photos of a tar, as https://github.com/webdataset/webdataset lays them out.

    Files that follow each other and share their name up to its first dot belong together: what `.json` and
    `.txt` say, is said of the pictures beside them. A photo's path is the tar's, a slash, and its name in it.

    Args:
        path: Of the tar, or its URL.
        broken: The tar itself is added where it ends too early; what came before counts.
    """
    files, inner = file_system(path)
    key: str | None = None
    pictures: list[tuple[str, Callable[[], bytes]]] = []
    extra: dict[str, Any] = {}
    try:
        with files.open(inner, "rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                stem, suffix = _split(member.name)
                if stem != key:
                    yield from _entries(path, pictures, extra)
                    key, pictures, extra = stem, [], {}
                kind = suffix.rpartition(".")[2]
                if kind.encode("utf-8", "replace") in STILL_SUFFIXES:
                    pictures.append((member.name, _content(tar, member)))
                elif kind in ("json", "txt") and member.size <= _MOST_TEXT:
                    text = _content(tar, member)()
                    extra |= (
                        extra_of(text)
                        if kind == "json"
                        else {"caption": text.decode(errors="replace").strip()}
                    )
    except (tarfile.TarError, EOFError, ValueError) as error:
        broken.append(Skipped(path, f"damaged tar ({str(error) or type(error).__name__})"))
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise UsageError(
            f"cannot be read: {path} ({reason})", "every node must see it under the same path or address"
        ) from error
    yield from _entries(path, pictures, extra)


def _entries(
    path: str, pictures: Sequence[tuple[str, Callable[[], bytes]]], extra: Mapping[str, Any]
) -> Iterator[_Entry]:
    for name, read in pictures:
        yield _Entry(f"{path}/{name}", extra, read)


def _split(name: str) -> tuple[str, str]:
    """A member's name up to the first dot of its last part, and what comes after, in lower case."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    """What is in a member, read now: a stream cannot go back."""
    if member.size > MAX_BYTES:
        reason = f"file of {member.size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB"
    elif not member.size:
        reason = "empty file"
    else:
        stream = tar.extractfile(member)
        data = b"" if stream is None else stream.read()
        return lambda: data

    def refuse() -> bytes:
        raise PhotoError(reason)

    return refuse
