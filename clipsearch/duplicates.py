"""Finding duplicates: exact copies, pictures that are the same but for size or quality, and bursts.

Embeddings say which pictures may be the same, a perceptual hash says which are. In a group of similar
pictures every one was held against the best of the group, so none is there only because it resembles one
that resembles another.
"""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from clipsearch.catalog.frames import videos
from clipsearch.catalog.likenesses import copied, shots
from clipsearch.errors import LibraryWriteError
from clipsearch.likenesses import likenesses
from clipsearch.photos.likeness import MAX_DISTANCE, distances, is_uniform
from clipsearch.stores.pairs import near_pairs
from clipsearch.types import Duplicate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope
    from clipsearch.session import Session
    from clipsearch.types import Filters, Likeness, Listeners, Photo

    Progress = Callable[[str, str, int, int], None]
    Group = tuple[Duplicate, ...]

# How near embeddings of one picture are differs from model to model. So it is measured in the distance
# (1 - cosine) of two photos of the library drawn at random, which is 0.65 with the built-in model: then
# what may be a copy has a cosine of 0.90, and what may be of one burst, of 0.84.
SIMILAR_PART = 0.15
BURST_PART = 0.25
# A library may hold nothing but one wedding: two of its photos are never taken for nearer than this.
_MOST_TYPICAL = 0.6
_DRAWN = 10_000
# Sharpness counts in steps of a quarter: coarse JPEG adds as much of its own.
_SHARPER = math.log(1.25)
_CHUNK = 1 << 18  # pairs whose hashes are compared at once


def find(
    session: Session,
    filters: Filters,
    listeners: Listeners,
    progress: Progress,
    *,
    exact: bool,
    similar: bool,
    bursts: bool,
    gap: float,
) -> list[Group]:
    """Groups of duplicates; see `Library.duplicates`."""
    catalog, scope = session.catalog, session.scope(filters)
    copies = copied(catalog, scope) if exact else []
    if not (similar or bursts):
        held = _files(catalog.photos(copies, scope))
        return _ordered(_exact_group(photos) for photos in held.values() if len(photos) > 1)
    with _vectors(session, scope) as vectors:
        typical = vectors.typical()
        floor = _floor(typical, SIMILAR_PART)
        near, chain = _NONE, _NONE
        if similar:
            near = vectors.near(floor, lambda done, total: progress("comparing", "photos", done, total))
        if bursts:
            chain = vectors.near_among(_successive(catalog, scope, gap), _floor(typical, BURST_PART))
        looks = likenesses(
            catalog,
            np.unique(np.concatenate([near, chain])).tolist(),
            scope,
            listeners,
            lambda done, total: progress("looking closely", "photos", done, total),
        )
        looks = {content: look for content, look in looks.items() if not is_uniform(look)}
        near, chain = _alike(near, looks, MAX_DISTANCE), _alike(chain, looks, None)
        contents = np.unique(np.concatenate([near.ravel(), chain.ravel(), np.array(copies, np.int64)]))
        held = _files(catalog.photos(contents.tolist(), scope))
        for photos in held.values():
            photos.sort(key=lambda photo: _merit(photo, looks))
            if not exact:
                del photos[1:]
        judge = _Judge(vectors, looks, held, floor)
        together = _Together()
        for component in _components(near[_both(near, held)]):
            for best, *others in judge.led(component):
                together.join(best, others)
        for one, other in chain[_both(chain, held)].tolist():
            together.join(one, [other])
        groups = [[content] for content in held if content not in together] + together.groups()
        return _ordered(
            judge.group(group) for group in groups if sum(len(held[content]) for content in group) > 1
        )


_NONE = np.empty((0, 2), np.int64)


class _Vectors(NamedTuple):
    """The embeddings of contents: `(n,)` ids and `(n, dim)` float16 rows, mapped into memory."""

    contents: NDArray[np.int64]
    rows: NDArray[np.float16]
    places: NDArray[np.int64]  # of the contents, ascending by id

    def typical(self) -> float:
        """Median cosine similarity of two of them drawn at random."""
        count = len(self.contents)
        if count < 2:  # noqa: PLR2004 - a pair
            return _MOST_TYPICAL
        random = np.random.default_rng(count)
        one = random.integers(count, size=_DRAWN)
        other = (one + random.integers(1, count, size=_DRAWN)) % count
        return float(np.median(self._cosines(one, other)))

    def near(self, floor: float, advance: Callable[[int, int], None]) -> NDArray[np.int64]:
        """Pairs of contents with at least this cosine similarity."""
        pairs = self.contents[near_pairs(self.rows, floor, advance)]
        # A file and the catalog may both have one.
        different: NDArray[np.int64] = pairs[pairs[:, 0] != pairs[:, 1]]
        return different

    def near_among(self, pairs: NDArray[np.int64], floor: float) -> NDArray[np.int64]:
        """Those of some pairs of contents that have at least this cosine similarity."""
        pairs = pairs[np.isin(pairs, self.contents).all(axis=1)]
        one, other = self.place(pairs[:, 0]), self.place(pairs[:, 1])
        return pairs[self._cosines(one, other) >= floor]

    def place(self, contents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of contents, all of which have one."""
        return self.places[np.searchsorted(self.contents, contents, sorter=self.places)]

    def _cosines(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(one), _CHUNK):
            first = self.rows[one[start : start + _CHUNK]].astype(np.float32)
            parts.append(np.einsum("ij,ij->i", first, self.rows[other[start : start + _CHUNK]]))
        return np.concatenate(parts)


@contextmanager
def _vectors(session: Session, scope: Scope) -> Iterator[_Vectors]:
    """The embeddings of the photos within `scope`, in a file without a name: a million are a gigabyte.

    Raises:
        LibraryWriteError: There is no room for it.
    """
    with _scratch(session.catalog.path.parent) as file:
        yield _written(session, scope, file)


def _written(session: Session, scope: Scope, file: IO[bytes]) -> _Vectors:
    # Videos have copies, and nothing that is merely similar: one frame says too little of them.
    wanted = np.setdiff1d(session.catalog.contents(scope), videos(session.catalog))
    _, model = session.model()
    ids = [np.empty(0, np.int64)]
    try:
        for contents, rows in session.vectors().blocks():
            here = np.isin(contents, wanted)
            ids.append(contents[here])
            rows[here].astype("<f2").tofile(file)
    except OSError as error:
        raise LibraryWriteError(
            f"no room for the vectors that are compared ({(error.strerror or str(error)).lower()})",
            "free some space and run the command again; nothing was changed",
        ) from error
    found = np.concatenate(ids)
    shape = (len(found), model.dim)
    matrix = np.memmap(file, "<f2", "r", shape=shape) if len(found) else np.empty(shape, "<f2")
    return _Vectors(found, matrix, np.argsort(found, kind="stable"))


def _scratch(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:  # a library that is only read
        return tempfile.TemporaryFile()


def _floor(typical: float, part: float) -> float:
    return 1 - part * (1 - min(typical, _MOST_TYPICAL))


def _successive(catalog: Catalog, scope: Scope, gap: float) -> NDArray[np.int64]:
    """Pairs of contents that one camera took one after the other, at most `gap` seconds apart."""
    pairs = [
        (one.content, other.content)
        for one, other in pairwise(shots(catalog, scope))
        if one.camera == other.camera and (other.taken - one.taken).total_seconds() <= gap
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _alike(pairs: NDArray[np.int64], looks: Mapping[int, Likeness], most: int | None) -> NDArray[np.int64]:
    """Those pairs of contents both of which can be compared, and whose hashes are not further apart."""
    known = np.array(sorted(looks), np.int64)
    pairs = pairs[np.isin(pairs, known).all(axis=1)]
    if most is None or not len(pairs):
        return pairs
    hashes = np.frombuffer(b"".join(looks[content].hash for content in known.tolist()), np.uint8)
    hashes = hashes.reshape(len(known), -1)
    near = [
        distances(hashes[np.searchsorted(known, part[:, 0])], hashes[np.searchsorted(known, part[:, 1])])
        <= most
        for part in (pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK))
    ]
    return pairs[np.concatenate(near)]


def _files(photos: Mapping[int, Sequence[Photo]]) -> dict[int, list[Photo]]:
    """The photos of each content that are there, a file once, however many names it has.

    A link to a photo is no copy of it: who moved the one away would lose the other.
    """
    found: dict[int, list[Photo]] = {}
    for content, held in photos.items():
        files: dict[object, Photo] = {}
        for photo in sorted(held, key=lambda photo: os.path.realpath(photo.path) != str(photo.path)):
            with suppress(OSError):
                facts = photo.path.stat()
                name = (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(photo.path)
                files.setdefault(name, photo)
        if files:
            found[content] = list(files.values())
    return found


def _both(pairs: NDArray[np.int64], held: Mapping[int, object]) -> NDArray[np.bool_]:
    return np.asarray(np.isin(pairs, np.array(list(held), np.int64)).all(axis=1))


def _merit(photo: Photo, looks: Mapping[int, Likeness]) -> tuple[object, ...]:
    """Sorts the best first: more pixels, then sharper, then more bytes, then the shorter path."""
    look = looks.get(photo.content)
    path = os.fsencode(photo.path)
    sharpness = 0 if look is None else round(math.log(max(look.sharpness, 1e-9)) / _SHARPER)
    return -photo.width * photo.height, -sharpness, -photo.size, len(path), path


class _Judge(NamedTuple):
    """Says which contents go together, and how."""

    vectors: _Vectors
    looks: Mapping[int, Likeness]
    held: Mapping[int, Sequence[Photo]]  # best first
    floor: float

    def led(self, component: Sequence[int]) -> Iterator[list[int]]:
        """Groups of contents, each similar to the first of its group, which is the best of it."""
        left = np.array(sorted(component, key=lambda content: _merit(self.held[content][0], self.looks)))
        while len(left) > 1:
            scores, apart = self.compared(left[0], left[1:])
            near = np.concatenate([[True], (scores >= self.floor) & (apart <= MAX_DISTANCE)])
            yield left[near].tolist()
            left = left[~near]

    def compared(self, one: int, others: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosine similarity of one content and others, and how many bits of their hashes differ."""
        rows = self.vectors.rows[self.vectors.place(np.append(others, one))].astype(np.float32)
        hashes = [np.frombuffer(self.looks[content].hash, np.uint8) for content in [*others.tolist(), one]]
        return rows[:-1] @ rows[-1], distances(np.array(hashes[:-1]), hashes[-1])

    def group(self, contents: Sequence[int]) -> Group:
        """The photos of contents that go together, best first."""
        first, *others = sorted(contents, key=lambda content: _merit(self.held[content][0], self.looks))
        group = list(_exact_group(self.held[first]))
        if others:
            scores, apart = self.compared(first, np.array(others))
            for content, score, bits in zip(others, scores.tolist(), apart.tolist(), strict=True):
                is_similar = score >= self.floor and bits <= MAX_DISTANCE
                kind: Literal["similar", "burst"] = "similar" if is_similar else "burst"
                group += [Duplicate(photo, kind, score, bits) for photo in self.held[content]]
        return tuple(group)


def _exact_group(photos: Sequence[Photo]) -> Group:
    """Photos with the same bytes, best first."""
    best, *copies = sorted(photos, key=lambda photo: _merit(photo, {}))
    return Duplicate(best, "best", 1.0, 0), *(Duplicate(photo, "exact", 1.0, 0) for photo in copies)


def _ordered(groups: Iterable[Group]) -> list[Group]:
    """Those groups first that take most room beside their best."""

    def room(group: Group) -> int:
        return sum(one.photo.size for one in group[1:])

    return sorted(groups, key=lambda group: (-room(group), os.fsencode(group[0].photo.path)))


class _Together:
    """Contents that go together, directly or through others (union-find)."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def __contains__(self, content: int) -> bool:
        return content in self._above

    def join(self, one: int, others: Iterable[int]) -> None:
        top = self._top(one)
        for other in others:
            self._above[self._top(other)] = top

    def groups(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for content in list(self._above):
            groups.setdefault(self._top(content), []).append(content)
        return list(groups.values())

    def _top(self, content: int) -> int:
        above = self._above
        above.setdefault(content, content)
        while above[content] != content:
            above[content] = content = above[above[content]]
        return content


def _components(pairs: NDArray[np.int64]) -> list[list[int]]:
    together = _Together()
    for one, other in pairs.tolist():
        together.join(one, [other])
    return together.groups()
