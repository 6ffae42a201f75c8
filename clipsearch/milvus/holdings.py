"""What a Milvus collection holds; see `clipsearch.holdings`."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.encoders.cache import model_from_json, model_to_json
from clipsearch.errors import LibraryDamagedError, LibraryTooNewError, NoLibraryError, UsageError
from clipsearch.holdings import Nearest
from clipsearch.milvus.conditions import Condition, below, between, both, condition_of
from clipsearch.milvus.fields import NO_MOMENT, PHOTO, content_id, path_of, photo_of, seconds
from clipsearch.milvus.settings import server_of
from clipsearch.rows import read_path, row_id
from clipsearch.stores.milvus import ID, MOST, VECTOR, MilvusStore
from clipsearch.types import Filters, FolderCount, LibraryStatus, MonthCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.types import Model, Photo, SkippedFile

FORMAT = 1
_FEW = 2_000  # photos whose dates are fetched instead of asked for
_MONTHS = 12
_END = 9_999 * _MONTHS  # no later month is counted, since the year 0


def open_store(address: Address) -> MilvusStore:
    """The collection at an address; a file of Milvus Lite is not made.

    Raises:
        NoLibraryError: There is no such file.
    """
    server = server_of(address)
    if server.is_lite and not os.path.exists(server.uri):  # noqa: PTH110 - a string
        raise nothing_there(address)
    return MilvusStore(server, address.collection)


def describe(model: Model) -> str:
    """What a collection says about itself."""
    return json.dumps({"format": FORMAT, "model": model_to_json(model)})


def described(address: Address, about: str) -> Model:
    """The model of a collection, from what it says about itself.

    Raises:
        LibraryTooNewError: A newer clipsearch made it.
        LibraryDamagedError: It says something else.
    """
    try:
        said = json.loads(about)
        if said["format"] > FORMAT:
            raise LibraryTooNewError(
                f"{address} was made by a newer clipsearch", "update: pip install --upgrade clipsearch"
            )
        return model_from_json(said["model"])
    except (ValueError, KeyError, TypeError):
        raise LibraryDamagedError(
            f"{address} does not say which model it is of", "export to it anew"
        ) from None


def nothing_there(address: Address) -> NoLibraryError:
    """There is no such collection."""
    return NoLibraryError(
        f"there is no library at {address}", f"bring one there: clipsearch export --to {address}"
    )


class MilvusHoldings:
    """See `Holdings`.

    Args:
        address: Where the collection is.

    Raises:
        NoLibraryError: There is none.
        LibraryError: The server says no, or nothing.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.store = open_store(address)
        about = self.store.about()
        if about is None:
            self.store.close()
            raise nothing_there(address)
        self._model = described(address, about)

    def close(self) -> None:
        """See `Holdings.close`."""
        self.store.close()

    def tell_again(self) -> None:
        """See `Holdings.tell_again`; nothing is told of a collection."""

    def renew(self) -> None:
        """See `Holdings.renew`; there is no other model."""

    def model(self) -> tuple[int, Model]:
        """See `Holdings.model`; a collection has one."""
        return 1, self._model

    def within(self, filters: Filters) -> MilvusSelection:
        """See `Holdings.within`."""
        return MilvusSelection(self.store, condition_of(filters))

    def photo(self, key: int) -> Photo:
        """See `Holdings.photo`."""
        found = self.store.get([key], PHOTO)
        if key not in found:
            raise UsageError(f"no photo has the id {key}", "it may have left the library; search again")
        return photo_of(found[key])

    def content_of(self, digest: bytes) -> int | None:
        """See `Holdings.content_of`."""
        content = content_id(digest)
        rows = self._first(f"content == {content}", ["hash"])
        return content if rows and rows[0]["hash"] == digest.hex() else None

    def photo_at(self, path: Path) -> Photo | None:
        """See `Holdings.photo_at`."""
        key = row_id(str(path))
        found = self.store.get([key], PHOTO)
        return photo_of(found[key]) if key in found else None

    def parts_of(self, content: int) -> list[int]:
        """See `Holdings.parts_of`; a collection has no videos."""
        return [content]

    def vector(self, content: int) -> NDArray[np.float16] | None:
        """See `Holdings.vector`."""
        rows = self._first(f"content == {content}", [VECTOR])
        return rows[0][VECTOR] if rows else None

    def _first(self, where: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        return next(self.store.rows(where, fields, size=1), [])

    def vectors_of(self, photos: Sequence[Photo]) -> dict[int, NDArray[np.float16]]:
        """See `Holdings.vectors_of`."""
        found = self.store.get([photo.id for photo in photos], [VECTOR])
        return {photo.content: found[photo.id][VECTOR] for photo in photos if photo.id in found}

    def digests(self, photos: Sequence[Photo]) -> dict[int, bytes]:
        """See `Holdings.digests`."""
        found = self.store.get([photo.id for photo in photos], ["hash"])
        return {
            photo.content: bytes.fromhex(found[photo.id]["hash"]) for photo in photos if photo.id in found
        }

    def folders(self, inside: Path | None) -> list[FolderCount]:
        """See `Holdings.folders`; the uppermost is the one around all photos."""
        folders: Counter[Path] = Counter()
        for rows in self.within(Filters(inside=inside)).rows(["path"]):
            folders.update(path_of(row).parent for row in rows)
        if inside is None:
            return [FolderCount(Path(os.path.commonpath(folders)), folders.total())] if folders else []
        names: Counter[str] = Counter()
        for folder, photos in folders.items():
            if folder != inside:
                names[folder.relative_to(inside).parts[0]] += photos
        return [FolderCount(inside / name, names[name]) for name in sorted(names, key=os.fsencode)]

    def skipped(self) -> list[SkippedFile]:
        """See `Holdings.skipped`; a collection has photos only."""
        return []

    def status(self) -> LibraryStatus:
        """See `Holdings.status`."""
        photos = self.store.count()
        return LibraryStatus(
            path=str(self._address),
            version=FORMAT,
            roots=(),
            photos=photos,
            contents=photos,
            embeddings=photos,
            skipped=0,
            model=self._model,
            catalog_bytes=0,
            store_bytes=0,
            store_rows=photos,
            grouped_rows=0 if self.store.is_exact else photos,
            last_run=None,
        )

    def forget(self, folder: Path) -> int:
        """See `Holdings.forget`; any folder will do."""
        # Strong: what has just been written must go as well.
        ids = [row[ID] for rows in self.store.rows(below(folder), [], consistency="Strong") for row in rows]
        if not ids:
            raise UsageError(
                f"no photo of {folder} is in {self._address}", "name a folder as results show it"
            )
        self.store.delete(ids)
        return len(ids)


class MilvusSelection:
    """See `Selection`."""

    def __init__(self, store: MilvusStore, condition: Condition) -> None:
        self._store = store
        self._condition = condition

    def rows(self, fields: Sequence[str], *, where: str = "") -> Iterator[list[dict[str, Any]]]:
        """The rows of these photos, in pages, those only that pass one more expression."""
        condition = self._condition
        for page in self._store.rows(both(condition.where, where), [*{*fields, *condition.fields}]):
            if rows := [row for row in page if condition.passes(row)]:
                yield rows

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearest:
        """See `Selection.nearest`."""
        condition = self._condition
        fields = [*{*PHOTO, *condition.fields}]
        if k > MOST and condition.checks:
            # The server cannot ask all that is to be asked, and its best are not enough: it is told who may.
            ids = np.array([row[ID] for rows in self.rows([]) for row in rows], np.int64)
            best = self._store.search(vector, MOST, np.sort(ids))
            rows = self._store.get(best.ids.tolist(), fields)
            pairs = zip(best.ids.tolist(), best.scores.tolist(), strict=True)
            return Nearest(
                [(score, photo_of(rows[key])) for key, score in pairs if key in rows], -np.inf, True
            )
        found = self._store.nearest(vector, k, condition.where, fields)
        return Nearest(
            [(score, photo_of(row)) for score, row in found if condition.passes(row)],
            found[-1][0] if found else -np.inf,
            len(found) < k,
        )

    def newest(self, limit: int, offset: int) -> list[Photo]:
        """See `Selection.newest`."""
        wanted = offset + limit
        count, where = self._counting(), ""
        first, end = _start(_MONTHS), _start(_END)
        if count(first, end) >= wanted:
            # A server does not sort. The latest moment since when enough were taken:
            low, high = first, end
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if count(middle, end) >= wanted else (low, middle)
            where = between(low, None)
        found = [row for rows in self.rows(["path", "moment"], where=where) for row in rows]
        found.sort(key=lambda row: (-row["moment"], os.fsencode(read_path(row["path"]))))
        page = [row[ID] for row in found[offset:wanted]]
        rows = self._store.get(page, PHOTO)
        return [photo_of(rows[key]) for key in page if key in rows]

    def months(self) -> list[MonthCount]:
        """See `Selection.months`."""
        count = self._counting()

        def split(first: int, end: int) -> Iterator[MonthCount]:
            # Years without photos take one question.
            photos = count(_start(first), _start(end))
            if photos and end - first == 1:
                yield MonthCount(f"{first // _MONTHS:04}-{first % _MONTHS + 1:02}", photos)
            elif photos:
                middle = (first + end) // 2
                yield from split(first, middle)
                yield from split(middle, end)

        months = list(split(_MONTHS, _END))
        undated = count(NO_MOMENT, NO_MOMENT + 1)
        return [*months, MonthCount(None, undated)] if undated else months

    def _counting(self) -> Callable[[int, int], int]:
        """How many of these photos were taken from one moment on and before another."""
        store, condition = self._store, self._condition
        if not condition.checks and store.count(condition.where) > _FEW:
            return lambda first, end: store.count(both(condition.where, between(first, end)))
        moments = sorted(row["moment"] for rows in self.rows(["moment"]) for row in rows)
        return lambda first, end: bisect_left(moments, end) - bisect_left(moments, first)

    def embeddings(self) -> Iterator[tuple[list[int], list[str], NDArray[np.float32]]]:
        """See `Selection.embeddings`."""
        for rows in self.rows(["path", VECTOR]):
            yield [row[ID] for row in rows], [read_path(row["path"]) for row in rows], _matrix(rows)

    def photos(self) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """See `Selection.photos`."""
        for rows in self.rows([*PHOTO, VECTOR]):
            yield [photo_of(row) for row in rows], _matrix(rows)


def _start(month: int) -> int:
    """The first second of a month, counted from the year 0."""
    return seconds(datetime(month // _MONTHS, month % _MONTHS + 1, 1))  # noqa: DTZ001 - a camera's clock


def _matrix(rows: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    return np.stack([row[VECTOR] for row in rows]).astype(np.float32)
