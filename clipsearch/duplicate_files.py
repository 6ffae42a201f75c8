"""Doing something with duplicates: a folder of links for each group, or all but the best moved away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.likenesses import digests, drop_photos
from clipsearch.collection import Collection, Placement
from clipsearch.errors import PhotoError, UsageError
from clipsearch.lock import writer_lock
from clipsearch.photos.files import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clipsearch.catalog.catalog import Root
    from clipsearch.types import Duplicate, Photo

    Groups = Sequence[Sequence[Duplicate]]

# Moves that the catalog hears of at once; what a killed run has not told, the next `index` sees.
_BATCH = 100


def link(roots: Sequence[Root], groups: Groups, folder: Path, *, dry_run: bool) -> Iterator[Placement]:
    """Link to the photos of each group: `0001/1 IMG_1.jpg` is the best of the first.

    Raises:
        UsageError: The folder overlaps one that is indexed.
    """
    _check_apart(roots, folder)
    collection = Collection(folder, "link", dry_run=dry_run)
    digits = max(4, len(str(len(groups))))
    return (
        collection.add(one.photo.path, Path(f"{number:0{digits}}", f"{rank} {one.photo.path.name}"))
        for number, group in enumerate(groups, 1)
        for rank, one in enumerate(group, 1)
    )


def move(catalog: Catalog, groups: Groups, folder: Path, *, dry_run: bool) -> Iterator[Placement]:
    """Move all but the best of each group: `2023/1.jpg` of `~/Photos` to `Photos/2023/1.jpg`.

    Each is moved only while it and the best of its group are what was compared.

    Args:
        catalog: The library's, open for reading.
        groups: What was found in it.
        folder: Where to.
        dry_run: Only say where to.

    Raises:
        UsageError: The folder overlaps one that is indexed.
    """
    roots = catalog.roots()
    _check_apart(roots, folder)
    collection = Collection(folder, "move", dry_run=dry_run)
    if not dry_run:
        return _move(catalog.path.parent, roots, groups, collection)
    return (
        collection.add(one.photo.path, _with_root(roots, one.photo.path))
        for group in groups
        for one in group[1:]
    )


def _move(
    library: Path, roots: Sequence[Root], groups: Groups, collection: Collection
) -> Iterator[Placement]:
    with writer_lock(library), Catalog(library, write=True) as writer:
        gone: list[int] = []
        try:
            for best, *others in groups:
                sums = digests(writer, [best.photo.content, *(one.photo.content for one in others)])
                kept = _failure(best.photo, sums)
                for one in others:
                    path = one.photo.path
                    failure = (
                        f"the best of its group, {best.photo.path}: {kept}"
                        if kept
                        else _failure(one.photo, sums) or _is_the_same(best.photo, one.photo)
                    )
                    if failure:
                        yield Placement(path, None, failure=failure)
                        continue
                    placed = collection.add(path, _with_root(roots, path))
                    if placed.failure is None:
                        gone.append(one.photo.id)
                    yield placed
                if len(gone) >= _BATCH:
                    drop_photos(writer, gone)
                    gone = []
        finally:
            drop_photos(writer, gone)


def _failure(photo: Photo, sums: dict[int, bytes]) -> str | None:
    """Why a photo is not what was compared, None if it is."""
    try:
        digest, _, _ = digest_of(photo.path)
    except PhotoError as error:
        return error.message
    except OSError as error:
        return _reason(error)
    return None if digest == sums.get(photo.content) else "it has changed"


def _is_the_same(best: Photo, one: Photo) -> str | None:
    try:
        return "it is the best of its group by another name" if best.path.samefile(one.path) else None
    except OSError as error:
        return _reason(error)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _with_root(roots: Sequence[Root], path: Path) -> Path:
    root = next((root.path for root in roots if path.is_relative_to(root.path)), path.parent)
    return Path(root.name) / path.relative_to(root)


def _check_apart(roots: Sequence[Root], folder: Path) -> None:
    """See that what is put there is no part of the library.

    Raises:
        UsageError: It would be found as duplicates the next time.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"not a folder: {folder}", "name another")
    real = Path(os.path.realpath(folder))
    for root in roots:
        known = Path(os.path.realpath(root.path))
        if real.is_relative_to(known) or known.is_relative_to(real):
            raise UsageError(
                f"{folder} overlaps {root.path}, which is indexed",
                "name a folder outside: what lies there would be found again the next time",
            )
