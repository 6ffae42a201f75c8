"""Photos that were embedded elsewhere, taken into a library: no photo is read, and no model runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch import vector_files
from clipsearch.catalog.catalog import Arrival, Catalog, Refusal
from clipsearch.catalog.imports import UNSEEN_NS, Held, held
from clipsearch.encoders.opening import check_same
from clipsearch.errors import ModelMismatchError, UsageError
from clipsearch.lock import writer_lock
from clipsearch.photos.places import is_local
from clipsearch.roots import absolute, holder
from clipsearch.rows import from_arrow, read_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from clipsearch.shards import Shards
    from clipsearch.types import Model

_BLOCK = 8192  # photos of a transaction
# A library's folder is walked as a whole by `index`: that must never be a whole disk.
_LEAST_DEPTH = 2


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        roots: The folders that the photos are below, here or not.
        new: Photos that came.
        changed: Photos whose content is another now.
        unchanged: Photos that the library had.
        kept: Photos that the library has read from disk itself and knows otherwise: they stay as they are.
        skipped: Photos that could not be read where they were embedded.
        seconds: Wall clock.
    """

    roots: tuple[Path, ...]
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    kept: int = 0
    skipped: int = 0
    seconds: float = 0.0


class Places:
    """Where photos lie on this machine, or would lie.

    Args:
        mapped: Folders or URLs as the files have them, and the folders that stand for them here.
    """

    def __init__(self, mapped: Mapping[str, str]) -> None:
        # The longest first: a folder inside another one may lie elsewhere.
        self._pairs = sorted(
            ((old.rstrip("/"), str(absolute(new))) for old, new in mapped.items()),
            key=lambda pair: -len(pair[0]),
        )

    def here(self, path: str) -> str:
        """A path on this machine.

        Raises:
            UsageError: It is a URL, and no folder stands for it.
        """
        for old, new in self._pairs:
            if path == old or path.startswith(f"{old}/"):
                return os.path.join(new, path[len(old) + 1 :])  # noqa: PTH118 - a million strings
        if not is_local(path):
            start = "/".join(path.split("/")[:3])
            raise UsageError(
                f"not a path on a disk: {path}",
                f"say which folder stands for it, there or not: --root {start}=/mnt/photos",
            )
        return path


def bring_in(
    folder: Path, shards: Shards, mapped: Mapping[str, str], *, progress: Callable[[int, int], None]
) -> ImportReport:
    """Take photos in, a transaction a block; then write the vector files. Run again, it changes nothing.

    Args:
        folder: The library's; is made when missing.
        shards: Where the photos are.
        mapped: As for `Places`.
        progress: Told of photos done, and of how many.

    Raises:
        UsageError: There is nothing to import, or it is damaged.
        ModelMismatchError: The library has another model.
        LibraryBusyError: Another process is writing to it.
        LibraryWriteError: The disk is full or read-only.
    """
    began = time.monotonic()
    model, places, total = shards.needed_model(), Places(mapped), shards.count()
    bases = _bases(shards, places)
    counts = dict.fromkeys(("new", "changed", "unchanged", "kept", "skipped"), 0)
    with writer_lock(folder), Catalog(folder, write=True) as catalog:
        key = _choose(catalog, model)
        roots = _Roots(catalog, bases)
        done = 0
        for batch in shards.batches(rows=_BLOCK):
            rows, vectors = from_arrow(batch)
            arrivals = [
                Arrival(
                    *roots.of(places.here(row.path)),
                    size=row.size,
                    mtime_ns=UNSEEN_NS,
                    hash=row.hash,
                    facts=(row.width, row.height, row.metadata),
                    vector=vector,
                )
                for row, vector in zip(rows, vectors.astype("f4"), strict=True)
            ]
            catalog.record(list(_to_record(catalog, arrivals, key, counts)), (), key)
            done += len(rows)
            progress(done, total)
        refused = shards.skipped()
        while block := list(islice(refused, _BLOCK)):
            refusals = [Refusal(*roots.of(places.here(path)), 0, 0, reason) for path, reason in block]
            known = _held(catalog, refusals, key)
            fresh = [one for one in refusals if (one.root, one.path) not in known]
            catalog.record((), fresh, key)
            counts["skipped"] += len(fresh)
        vector_files.refresh(catalog, folder, key, model, lost=bool(counts["changed"]))
    return ImportReport(tuple(bases), **counts, seconds=round(time.monotonic() - began, 3))


def _choose(catalog: Catalog, model: Model) -> int:
    """Id of the model, which a new library takes as its own."""
    known = catalog.current_model()
    if known is None or not catalog.last_embedding(known[0]):
        return catalog.choose_model(model)
    if known[1].fingerprint != model.fingerprint:
        raise ModelMismatchError(
            f"this library was made with {known[1].source}, these photos were embedded with {model.source}",
            "import them into another library: --library DIR",
        )
    check_same(model, known[1])
    return known[0]


def _to_record(
    catalog: Catalog, arrivals: Sequence[Arrival], key: int, counts: dict[str, int]
) -> Iterator[Arrival]:
    """Those that say something new."""
    known = _held(catalog, arrivals, key)
    for one in arrivals:
        there = known.get((one.root, one.path))
        if there is None:
            counts["new"] += 1
            yield one
        elif there.hash == one.hash:
            counts["unchanged"] += 1
            if not there.embedded:
                yield one
        elif there.seen:
            counts["kept"] += 1
        else:
            counts["changed"] += 1
            yield one


def _held(catalog: Catalog, items: Sequence[Arrival | Refusal], key: int) -> dict[tuple[int, bytes], Held]:
    return {
        (root, path): one
        for root in {item.root for item in items}
        for path, one in held(catalog, root, [item.path for item in items if item.root == root], key).items()
    }


# -- roots -------------------------------------------------------------------------------------------


class _Roots:
    """The roots that photos belong to: those that the library has around the folders, else the folders."""

    def __init__(self, catalog: Catalog, bases: Sequence[Path]) -> None:
        for base in bases:
            if holder(catalog.roots(), base) is None:
                catalog.add_root(base, ())
        # The longest first: of two folders, the inner one.
        found = {str(base): holder(catalog.roots(), base) for base in bases}
        ids = {root.path: root.id for root in catalog.roots()}
        self._places = sorted(
            ((base, ids[at[0]], at[1]) for base, at in found.items() if at is not None),
            key=lambda place: -len(place[0]),
        )

    def of(self, path: str) -> tuple[int, bytes]:
        """Id of the root of a photo, and its path in it."""
        for base, root, inside in self._places:
            if path.startswith(f"{base}/") or path == base:
                relative = path[len(base) + 1 :] or "."
                return root, os.fsencode(relative if inside is None else f"{inside.as_posix()}/{relative}")
        raise AssertionError("no folder is around a photo that decided about the folders")


def _bases(shards: Shards, places: Places) -> list[Path]:
    """The folders that were embedded as a whole; and the one around all other photos.

    Raises:
        UsageError: There are no photos, or those lie all over the disk.
    """
    known = [places.here(source) for source in shards.sources()]
    bases: dict[str, None] = {}
    rest: str | None = None
    for path in _paths(shards, places):
        base = next((base for base in known if path.startswith(f"{base}/")), None)
        if base is not None:
            bases[base] = None
        elif rest is None:
            rest = os.path.dirname(path)  # noqa: PTH120 - a million strings
        elif not path.startswith(f"{rest}/"):
            rest = os.path.commonpath([rest, os.path.dirname(path)])  # noqa: PTH120
    if rest is not None:
        if len(Path(rest).parts) <= _LEAST_DEPTH:
            raise UsageError(
                f"these photos have no folder in common but {rest}",
                "bring them below one, there or not: --root OLD=NEW, once for each folder",
            )
        bases[rest] = None
    if not bases:
        raise UsageError(
            f"no photos in {shards.place}", "what the job could not read is in its folder `skipped`"
        )
    return [Path(base) for base in bases]


def _paths(shards: Shards, places: Places) -> Iterator[str]:
    for batch in shards.batches(["path"], rows=1 << 16):
        for text in batch.column("path").to_pylist():
            yield places.here(read_path(text))
    for one in shards.skipped():
        yield places.here(one.path)
