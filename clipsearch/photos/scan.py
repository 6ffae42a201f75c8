"""Finding picture files below one folder: quickly, to an end, never mistaking "cannot look" for "gone"."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

from clipsearch.globs import composed, translate
from clipsearch.photos.extras import EXTRAS, RAW, VIDEO, Extra, extra_of, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    Excluded = Callable[[bytes, bytes], bool]

# What `clipsearch.photos.formats` can read, by the names cameras, phones and programs give it. A file's
# content decides how it is decoded; its suffix only decides whether it is opened at all, and as what.
PICTURE_SUFFIXES = frozenset().union(
    b"jpg jpeg jpe jfif mpo png apng webp avif avifs gif tif tiff bmp dib jp2 j2k j2c jpc jpf jpx "
    b"ppm pgm pbm pnm pfm tga icb vda vst qoi dds pcx dcx sgi rgb rgba bw pcd psd "
    b"heic heics heif heifs hif".split(),
    *(extra.suffixes for extra in EXTRAS),
)

STILL_SUFFIXES = PICTURE_SUFFIXES - VIDEO.suffixes
"""Those of pictures: of all that has one embedding."""

# A camera that writes RAW and JPEG gives both one name, and so does a phone whose photos move. The movie of
# a Live Photo lasts three seconds and is always .mov, or .mp4 where a service has renamed it; those of an
# iPhone have 2 to 8 MB. A larger one beside a picture of the same name is a film with its poster.
_STILLS = frozenset((b"jpg", b"jpeg", b"heic", b"heif", b"hif"))
_APPLE_STILLS = frozenset((b"heic", b"heif"))
_LIVE_BYTES = 25_000_000

# Folders that hold copies, caches or rubbish, lower-cased: thumbnails of Synology, bins and snapshots of NAS
# systems, Windows and macOS leftovers, packages of web projects. Names with a leading dot are skipped before
# this is asked.
_JUNK_FOLDERS = frozenset(
    (
        b"node_modules",
        b"@eadir",
        b"#recycle",
        b"#snapshot",
        b"$recycle.bin",
        b"system volume information",
        b"lost+found",
        b"__macosx",
    )
)
_JUNK_FOLDER_SUFFIXES = (b".lrdata",)  # Lightroom's previews

# Inside a macOS Photos (or older iPhoto) library only these hold the user's pictures; the rest is derived
# from them.
_PHOTO_LIBRARY_SUFFIX = b".photoslibrary"
_PHOTO_LIBRARY_ORIGINALS = frozenset((b"originals", b"masters"))

# A name that was listed and is gone a moment later, or a link to nothing: not an error, just not there.
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))


class FoundFile(NamedTuple):
    """A regular file with a picture's suffix.

    Attributes:
        path: Relative to the root, as the file system spells it, separated by `/` on every system.
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds since 1970.
    """

    path: bytes
    size: int
    mtime_ns: int


class UnreadableFolder(NamedTuple):
    """A folder of which not everything could be seen: photos known to lie below it must be kept.

    Attributes:
        path: Relative to the root, as in `FoundFile`; empty for the root itself.
        reason: From the operating system, for people.
    """

    path: bytes
    reason: str


class AbsentFolder(NamedTuple):
    """Where a drive may have been: an empty folder, or a link to nothing. Photos known there may come back.

    Attributes:
        path: Relative to the root, as in `FoundFile`; a link may also have led to a picture.
    """

    path: bytes


class LeftOut(NamedTuple):
    """A file that is no photo of its own, or takes an extra that is not installed.

    Attributes:
        path: Relative to the root, as in `FoundFile`.
        missing: The extra; None for the RAW file or the movie that belongs to the picture beside it.
    """

    path: bytes
    missing: Extra | None


Found = FoundFile | UnreadableFolder | AbsentFolder | LeftOut


def scan(
    root: Path, *, exclude: Sequence[str] = (), within: Collection[bytes] | None = None
) -> Iterator[Found]:
    """Walk `root` and yield its picture files, folder by folder, names sorted within a folder.

    Skipped: names with a leading dot, junk folders (`node_modules`, `@eaDir`, recycle bins, ...), everything
    that is no regular file (sockets, FIFOs and devices are never opened), and what vanishes during the walk.
    The root itself is walked whatever its name. Links are followed, after everything that lies in the root by
    itself; no folder is walked twice, so loops end and a picture shows up under its real path where it has
    one. A RAW file beside a JPEG or HEIC of the same name, and the movie of a Live Photo beside its picture,
    belong to that picture.

    Nothing is raised: an `UnreadableFolder(b"", ...)` says that the root is missing or went away.

    Args:
        root: The folder to walk.
        exclude: Shell patterns (`*`, `?`, `[...]`; `*` also matches `/`), upper and lower case alike. Each is
            held against the name and against the path relative to the root, of files and folders: `*.png`
            drops such files anywhere, `trips` every file or folder of that name, `private/*` all below the
            root's folder `private`. What lies in an excluded folder is not looked at.
        within: Only these files and folders, relative to the root, and what lies below them. The rest of the
            root is not looked at; one that is not there, or that a walk of the root would pass by, yields
            nothing.
    """
    return _Walk(os.fsencode(root), _matcher(exclude), within).run()


class _Walk:
    def __init__(self, root: bytes, excluded: Excluded | None, within: Collection[bytes] | None) -> None:
        self.root = root
        self.excluded = excluded
        self.only = None if within is None else self._by_folder(within)
        # A stack: depth first, in order.
        self.folders = [b""] if self.only is None else sorted(self.only, reverse=True)
        self.links: deque[bytes] = deque()
        self.walked: set[tuple[int, int]] = set()
        self.missing = frozenset(extra for extra in EXTRAS if not extra.is_there)

    def _by_folder(self, within: Collection[bytes]) -> dict[bytes, set[bytes]]:
        """Names to look at in each folder that has any, so that no folder is listed twice."""
        names: dict[bytes, set[bytes]] = {}
        for path in within:
            folder, _, name = path.rpartition(b"/")
            if not self._passed_by(folder):
                names.setdefault(folder, set()).add(name)
        return names

    def _passed_by(self, folder: bytes) -> bool:
        """Whether a walk of the root would not come to a folder."""
        parts = folder.split(b"/") if folder else []
        above = [b"/".join(parts[: depth + 1]) for depth in range(len(parts))]
        return any(
            name.startswith(b".")
            or not _worth_entering(name, path[: -len(name) - 1].lower().endswith(_PHOTO_LIBRARY_SUFFIX))
            or (self.excluded is not None and self.excluded(name, path))
            for name, path in zip(parts, above, strict=True)
        )

    def run(self) -> Iterator[Found]:
        try:
            identity = _identity(self.root)
        except OSError as error:
            yield UnreadableFolder(b"", _reason(error))
            return
        while self.folders or self.links:
            folder = self.folders.pop() if self.folders else self.links.popleft()
            try:
                yield from self._folder(folder)
            except OSError as error:
                # The root was there a moment ago: if it cannot be listed, all below it is kept.
                is_gone = folder and error.errno in _GONE
                yield AbsentFolder(folder) if is_gone else UnreadableFolder(folder, _reason(error))
        # A drive pulled out during the walk makes its folders look deleted one by one.
        try:
            gone = _identity(self.root) != identity
        except OSError:
            gone = True
        if gone:
            yield UnreadableFolder(b"", "the folder went away during the walk")

    def _folder(self, folder: bytes) -> Iterator[Found]:
        only = None if self.only is None else self.only.pop(folder, None)
        entries = self._entries(folder, again=only is not None)
        if entries is None:
            return
        yield from () if entries else (AbsentFolder(folder),)
        prefix = folder + b"/" if folder else b""
        originals_only = folder.lower().endswith(_PHOTO_LIBRARY_SUFFIX)
        siblings = _Siblings(entries, prefix, self.excluded)
        subfolders: list[bytes] = []
        trouble: OSError | None = None
        for entry in entries:
            name = entry.name
            if name.startswith(b".") or (only is not None and name not in only):
                continue
            path = prefix + name
            try:
                found = _look_at(entry, path)
            except OSError as error:
                if error.errno not in _GONE:
                    trouble = error
                continue
            if found is None or (self.excluded is not None and self.excluded(name, path)):
                continue
            if isinstance(found, FoundFile | AbsentFolder):
                yield self._judged(found, siblings) if isinstance(found, FoundFile) else found
            elif _worth_entering(name, originals_only):
                (subfolders if found == "folder" else self.links).append(path)
        if trouble is not None:
            yield UnreadableFolder(folder, _reason(trouble))
        self.folders.extend(reversed(subfolders))

    def _judged(self, file: FoundFile, siblings: _Siblings) -> FoundFile | LeftOut:
        extra = extra_of(file.path)
        if extra is None:
            return file
        if siblings.own(file, extra):
            return LeftOut(file.path, None)
        return LeftOut(file.path, extra) if extra in self.missing else file

    def _entries(self, folder: bytes, *, again: bool) -> list[os.DirEntry[bytes]] | None:
        """What is in a folder, by name; None where it has been walked, unless it may be walked `again`."""
        here = self.root + b"/" + folder if folder else self.root
        if not again:
            identity = _identity(here)
            if identity in self.walked:
                return None
            self.walked.add(identity)
        with os.scandir(here) as listing:
            return sorted(listing, key=_name)


def _look_at(
    entry: os.DirEntry[bytes], path: bytes
) -> FoundFile | AbsentFolder | Literal["folder", "link to folder"] | None:
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    is_picture = suffix_of(entry.name) in PICTURE_SUFFIXES
    if not is_picture and not entry.is_symlink():
        return None
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno in _GONE and entry.is_symlink():
            return AbsentFolder(path)
        raise
    if stat.S_ISDIR(status.st_mode):
        return "link to folder"
    if is_picture and stat.S_ISREG(status.st_mode):
        return FoundFile(path, status.st_size, status.st_mtime_ns)
    return None


class _Siblings:
    """The files of one folder, asked whether a RAW file or a movie belongs to a picture among them."""

    def __init__(
        self, entries: Sequence[os.DirEntry[bytes]] | None, prefix: bytes, excluded: Excluded | None
    ) -> None:
        self._entries, self._prefix, self._excluded = entries or (), prefix, excluded
        self._stills: set[tuple[bytes, bytes]] | None = None

    def own(self, file: FoundFile, extra: Extra) -> bool:
        """Whether there is such a picture."""
        suffix = suffix_of(file.path)
        if extra is RAW:
            owners = _STILLS
        elif extra is VIDEO and file.size <= _LIVE_BYTES and suffix in {b"mov", b"mp4"}:
            owners = _STILLS if suffix == b"mov" else _APPLE_STILLS
        else:
            return False
        if self._stills is None:
            self._stills = set(self._named())
        stem = _stem(file.path)
        return any((stem, owner) in self._stills for owner in owners)

    def _named(self) -> Iterator[tuple[bytes, bytes]]:
        """Stem and suffix of each picture that the walk does not pass by."""
        for entry in self._entries:
            name, suffix = entry.name, suffix_of(entry.name)
            if suffix in _STILLS and not name.startswith(b"."):  # noqa: SIM102 - the costly question last
                if self._excluded is None or not self._excluded(name, self._prefix + name):
                    yield _stem(name), suffix


def _stem(path: bytes) -> bytes:
    return path.rpartition(b"/")[2].rpartition(b".")[0].lower()


def _name(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name


def _identity(folder: bytes) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - pathlib has no paths of bytes
    return status.st_dev, status.st_ino


def _worth_entering(name: bytes, originals_only: bool) -> bool:
    lower = name.lower()
    if originals_only and lower not in _PHOTO_LIBRARY_ORIGINALS:
        return False
    return lower not in _JUNK_FOLDERS and not lower.endswith(_JUNK_FOLDER_SUFFIXES)


def _matcher(patterns: Sequence[str]) -> Excluded | None:
    """One regular expression for all patterns, or None without any: decoding every name costs time."""
    if not patterns:
        return None
    translated = "|".join(translate(pattern) for pattern in patterns)
    match = re.compile(translated, re.IGNORECASE).match

    def excluded(name: bytes, path: bytes) -> bool:
        return bool(match(composed(os.fsdecode(name))) or match(composed(os.fsdecode(path))))

    return excluded


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
