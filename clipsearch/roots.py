"""Which folders a run walks: roots the user names, parts of known roots, or all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.errors import UsageError
from clipsearch.url_path import url_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.catalog.catalog import Catalog, Root


class Walk(NamedTuple):
    """One walk to make: of a root, or only of some files and folders in it.

    Attributes:
        root: Whose files.
        within: Relative paths; None for all of the root.
        quiet: Seconds; files that were changed more recently are left as they are: they may still be written.
    """

    root: Root
    within: tuple[bytes, ...] | None = None
    quiet: float = 0.0


def absolute(path: Path | str) -> Path:
    """The path as an absolute one, `~` expanded and `..` taken out, symlinks kept as the user wrote them.

    A URL stays what it is.
    """
    # Not those of pathlib: `absolute` keeps `..`, and `expanduser` fails on `~nobody`.
    return url_path(os.fspath(path)) or Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


def library_folder(path: Path | str | None = None) -> Path:
    """The library's folder: the one named, `$CLIPSEARCH_LIBRARY`, or that for a user's application data."""
    if path is not None:
        return absolute(path)
    if chosen := os.environ.get("CLIPSEARCH_LIBRARY"):
        return absolute(chosen)
    from platformdirs import user_data_path

    return user_data_path("clipsearch", appauthor=False)


def reachable(root: Path) -> bool:
    """Whether a root is there and holds anything: an unplugged drive leaves an empty folder."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def root_at(catalog: Catalog, path: Path) -> int:
    """Id of the root at a path.

    Raises:
        UsageError: There is none.
    """
    roots = catalog.roots()
    for root in roots:
        if root.path == path:
            return root.id
    names = ", ".join(str(root.path) for root in roots) or "none"
    raise UsageError(f"not an indexed folder: {path}", f"indexed folders: {names}")


def is_bare(catalog: Catalog, root: Root) -> bool:
    """Whether the catalog has nothing of a root, not even a skipped file."""
    return not catalog.count_photos(root.id) and not catalog.count_skipped(root.id)


def is_offline(catalog: Catalog, root: Root) -> bool:
    """Whether a root that should hold photos cannot be reached.

    One that was never walked here is not expected to be: imported photos are answers all the same.
    """
    return root.indexed is not None and not reachable(root.path) and not is_bare(catalog, root)


def plan(catalog: Catalog, requested: Sequence[Path | str], excludes: Sequence[str]) -> list[Walk]:
    """The walks for an index run; folders that are new become roots.

    Nothing requested means every known root. A folder inside a known root is walked as part of it;
    a folder around known roots takes them in. `excludes` are remembered with each whole root named.

    Raises:
        UsageError: Nothing to walk, no such folder, or a file.
    """
    check_folders(requested, catalog.roots())
    if not requested:
        return [Walk(root) for root in catalog.roots()]
    walks = []
    for path in map(absolute, requested):
        found = holder(catalog.roots(), path)
        if found is None:
            catalog.add_root(path, excludes)
            found = (path, None)
        base, folder = found
        root = next(root for root in catalog.roots() if root.path == base)
        if excludes and folder is None and root.excludes != tuple(excludes):
            catalog.set_excludes(root.id, excludes)
            root = next(root for root in catalog.roots() if root.path == base)
        walks.append(Walk(root, None if folder is None else (os.fsencode(folder.as_posix()),)))
    # A later, wider folder may have taken an earlier one in.
    living = {root.id for root in catalog.roots()}
    return [walk for walk in walks if walk.root.id in living]


def check_folders(requested: Sequence[Path | str], known: Sequence[Root]) -> None:
    """See that there is something to walk: every path a folder, or a known root that is merely offline.

    Raises:
        UsageError: Nothing to walk, no such folder, or a file.
    """
    if not requested and not known:
        raise UsageError(
            "no folder to index: the library has none yet", "name one: clipsearch index ~/Photos"
        )
    for path in map(absolute, requested):
        if path.is_dir() or any(path == root.path for root in known):
            continue
        if path.exists():
            raise UsageError(f"not a folder: {path}", "name the folder around it")
        raise UsageError(f"no such folder: {path}", "check the spelling, or whether a drive is unplugged")


def holder(roots: Sequence[Root], path: Path) -> tuple[Path, Path | None] | None:
    """Path of the root that holds `path`, and where in it; None when no root does."""
    for root in roots:
        if path == root.path or _same(path, root.path):
            return root.path, None
    for root in roots:
        if path.is_relative_to(root.path):
            return root.path, path.relative_to(root.path)
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
