"""The doctor: looks at all that a library is made of, and repairs what follows from the rest.

The catalog is the truth; files of vectors and the model cache are made from it and from the model. What is
damaged in the catalog itself is dropped in such a way that the next `index` reads those photos again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import thumbnails, vector_files
from clipsearch.catalog import checks, texts
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.connection import PRIVATE
from clipsearch.catalog.models import count_missing
from clipsearch.catalog.salvage import keep, salvage
from clipsearch.catalog.vector import checksum_of
from clipsearch.encoders import cache
from clipsearch.errors import LibraryDamagedError
from clipsearch.roots import is_offline
from clipsearch.several import option_of
from clipsearch.types import Checked, Examination, Finding, Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clipsearch.catalog.catalog import Segment
    from clipsearch.catalog.checks import Held
    from clipsearch.types import Model

    # What is being done, of what, how many so far, of how many.
    Progress = Callable[[str, str, int, int], None]

REPAIR = "clipsearch doctor --repair"
RESTORE = "clipsearch doctor --restore FILE"
_INDEX = "clipsearch index"
_PRIVATE_FOLDER = 0o700
_OTHERS = 0o077


def examine(folder: Path, progress: Progress) -> Examination:
    """Look at everything; change nothing. The caller sees to it that nobody writes meanwhile.

    Raises:
        NoLibraryError: There is no library.
        LibraryTooNewError: A newer clipsearch wrote it.
        LibraryError: It is no library of clipsearch.
    """
    chart = _Chart(folder)
    progress("checking the catalog", "", 0, 0)
    try:
        with Catalog(folder) as catalog:
            if _examine_pages(catalog, chart):
                _examine_rows(catalog, chart)
                for key, model in catalog.models():
                    _examine_vectors(catalog, key, model, chart, progress)
                _examine_roots(catalog, chart)
                _examine_files(catalog, chart)
    except LibraryDamagedError as error:
        empty = not (folder / FILE_NAME).exists() or not (folder / FILE_NAME).stat().st_size
        remedy = f"{RESTORE} brings a backup back" if empty else f"{REPAIR} saves what can be read"
        chart.find("catalog", error.message, folder / FILE_NAME, remedy)
    _examine_thumbnails(folder, chart)
    _examine_permissions(folder, chart)
    return chart.examination()


@dataclass(slots=True)
class _Chart:
    """What was looked at so far, and found."""

    folder: Path
    checked: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def check(self, part: str, count: int, thing: str) -> None:
        self.checked.append(Checked(part, count, thing))

    def find(self, part: str, what: str, where: Path, remedy: str) -> None:
        self.findings.append(Finding(part, what, where, remedy))

    def note(self, part: str, what: str, where: Path, remedy: str) -> None:
        self.findings.append(Finding(part, what, where, remedy, harmless=True))

    def examination(self) -> Examination:
        sound = all(finding.harmless for finding in self.findings)
        return Examination(self.folder, sound, tuple(self.checked), tuple(self.findings))


def _examine_pages(catalog: Catalog, chart: _Chart) -> bool:
    """SQLite's own opinion; returns whether the rest of the catalog can be read."""
    (pages,) = catalog.connection.execute("PRAGMA page_count").fetchone()
    chart.check("catalog", pages, "page")
    problems = checks.page_problems(catalog)
    if not problems:
        return True
    more = f" and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    if checks.only_indexes(problems):
        remedy = f"{REPAIR} makes the indexes anew"
    else:
        remedy = f"{REPAIR} saves what can be read"
    chart.find("catalog", f"{problems[0]}{more}", catalog.path, remedy)
    return False


def _examine_rows(catalog: Catalog, chart: _Chart) -> None:
    photos = catalog.count_photos()
    chart.check("photos", photos, "photo")
    for table, count in checks.unsound_rows(catalog).items():
        chart.find(
            "photos",
            f"{count:,} damaged rows of {table}",
            catalog.path,
            f"{REPAIR} drops them; then {_INDEX}",
        )
    if texts.index_differs(catalog):
        chart.find(
            "photos", "the index of captions and words is damaged", catalog.path, f"{REPAIR} makes it anew"
        )
    dead = catalog.count_contents(living=False)
    if dead:
        chart.note(
            "photos",
            f"{dead:,} contents without a photo",
            catalog.path,
            "nothing; they go when files are written",
        )


def _examine_vectors(catalog: Catalog, key: int, model: Model, chart: _Chart, progress: Progress) -> None:
    total = catalog.count_embeddings(key)
    found = checks.held(
        catalog, key, model, lambda done: progress("checking vectors", "vectors", done, total)
    )
    chart.check("vectors", total, "vector")
    if found.damaged:
        chart.find(
            "vectors", f"{len(found.damaged):,} vectors are damaged", catalog.path, f"{REPAIR}; then {_INDEX}"
        )
    segments = catalog.segments(key)
    if segments:
        chart.check("index", sum(segment.rows for segment in segments), "row")
    for segment, wrong, _ in _disagreements(catalog, key, model, found, progress):
        chart.find("index", wrong, catalog.path.parent / segment.file, f"{REPAIR} writes it anew")
    if between := checks.uncovered(catalog, key):
        chart.find(
            "index",
            f"{between:,} vectors that no file and no search covers",
            catalog.path,
            f"{REPAIR} mends it",
        )
    current = catalog.current_model()
    if current is not None and current[0] == key:
        _examine_missing(catalog, key, chart)
    elif total and (missing := count_missing(catalog, key)):
        chart.note(
            "vectors",
            f"{missing:,} photos without a vector of {model.source}",
            catalog.path,
            f"{_INDEX}{option_of(model.source)}",
        )
    _examine_cache(catalog, model, chart)


def _disagreements(
    catalog: Catalog, key: int, model: Model, found: Held, progress: Progress
) -> Iterator[tuple[Segment, str, dict[int, bytes]]]:
    """The vector files that do not say what the catalog says, and why.

    With each, by embedding id, the vectors that are damaged in the catalog and whole in the file.
    """
    segments = catalog.segments(key)
    total, done = sum(segment.rows for segment in segments), 0
    damaged = {content: (number, checksum) for number, (content, checksum) in found.damaged.items()}
    for segment in segments:
        store = vector_files.open_store(catalog.path.parent, segment, model.dim)
        if store is None:
            yield segment, "the vector index is missing or damaged", {}
            continue
        first, last = np.searchsorted(found.ids, [segment.first, segment.last], "right")
        order = np.argsort(found.contents[first:last], kind="stable")
        contents, sums = found.contents[first:last][order], found.sums[first:last][order]
        seen = np.zeros(len(contents) + 1, np.int64)
        contents, sums = np.append(contents, -1), np.append(sums, 0)
        elsewhere = np.concatenate([found.contents[:first], found.contents[last:]])
        wrong, whole = 0, {}
        for ids, rows in store.blocks():
            places = np.searchsorted(contents[:-1], ids)
            known = contents[places] == ids
            blobs = [row.tobytes() for row in rows]
            differ = known & (sums[places] != checks.checksums_of(blobs, ids))
            np.add.at(seen, places[known], 1)
            wrong += int(differ.sum()) + int(np.isin(ids[~known], elsewhere).sum())
            for place in np.flatnonzero(~known).tolist() if damaged else ():
                number, checksum = damaged.get(int(ids[place]), (0, None))
                if checksum is not None and checksum_of(blobs[place], int(ids[place])) == checksum:
                    whole[number] = blobs[place]
            done += len(ids)
            progress("checking the vector index", "vectors", done, total)
        wrong += int((seen[:-1] != 1).sum())
        if wrong:
            yield segment, f"{wrong:,} of its rows are not what the catalog has", whole
        elif whole:
            yield segment, "", whole


def _examine_missing(catalog: Catalog, key: int, chart: _Chart) -> None:
    if marked := checks.to_be_read_again(catalog):
        chart.note("photos", f"{marked:,} photos wait to be read again", catalog.path, _INDEX)
    if missing := checks.without_embedding(catalog, key):
        chart.find("photos", f"{missing:,} photos without a vector", catalog.path, f"{REPAIR}; then {_INDEX}")


def _examine_cache(catalog: Catalog, model: Model, chart: _Chart) -> None:
    folder = cache.folder_of(model.fingerprint)
    if _misremembered(model):
        chart.find("catalog", "what it says of the model is not so", catalog.path, f"{REPAIR} corrects it")
    if not folder.exists():
        chart.note("model", "the model is not in the cache", folder, "nothing; it is made again when needed")
        return
    files, damaged = cache.damaged_files(model.fingerprint)
    chart.check("model", files, "file")
    if cache.read(model.fingerprint) is None:
        damaged = damaged or [folder / cache.MODEL_NAME]
    for path in damaged:
        chart.find("model", "the model cache is damaged", path, f"{REPAIR} discards it, to be made again")
    if not files and not damaged:
        chart.note("model", "exported without hashes, by an older version", folder, "nothing")


def _misremembered(model: Model) -> bool:
    """Whether the cache says something else of a model than the catalog; its source may be another."""
    known = cache.read(model.fingerprint)
    return known is not None and replace(known.model, source=model.source) != model


def _examine_roots(catalog: Catalog, chart: _Chart) -> None:
    roots = catalog.roots()
    chart.check("folders", len(roots), "folder")
    for root in roots:
        if is_offline(catalog, root):
            chart.note(
                "folders", "cannot be reached now; its photos are kept", root.path, "plug its drive in"
            )


def _examine_files(catalog: Catalog, chart: _Chart) -> None:
    folder = catalog.path.parent
    for path in _nameless(catalog):
        chart.find("files", "left behind by a run that was killed", path, f"{REPAIR} removes it")
    for path in sorted(folder.glob("catalog-*.sqlite")):
        chart.note("files", "kept by an earlier repair or restore", path, "delete it when you do not need it")


def _nameless(catalog: Catalog) -> list[Path]:
    """Files in the library's folder that are ours, but that nothing names."""
    folder = catalog.path.parent
    named = {segment.file for key, _ in catalog.models() for segment in catalog.segments(key)}
    ours = {*folder.glob("vectors-*.faiss"), *folder.glob("vectors-*.tmp"), *folder.glob("catalog-*.tmp")}
    return sorted(path for path in ours if path.name not in named)


def _examine_thumbnails(folder: Path, chart: _Chart) -> None:
    if kept := thumbnails.count(folder):
        chart.check("thumbnails", kept, "thumbnail")
    if damaged := thumbnails.damaged(folder):
        what = f"{len(damaged):,} damaged or half written, which are never shown"
        chart.find("thumbnails", what, folder / thumbnails.FOLDER, f"{REPAIR} removes them")


def _examine_permissions(folder: Path, chart: _Chart) -> None:
    opened = _open_to_others(folder)
    chart.check("privacy", len(_private_paths(folder)), "file")
    for path, mode in opened:
        chart.find(
            "privacy", f"others can look at it (mode {mode:03o})", path, f"{REPAIR} makes it private to you"
        )


def _private_paths(folder: Path) -> list[Path]:
    ours = [*folder.glob("catalog*"), *folder.glob("vectors-*"), *folder.glob(thumbnails.FOLDER)]
    return [folder, *sorted(ours)]


def _open_to_others(folder: Path) -> list[tuple[Path, int]]:
    """What others than the user can look at, and how; nothing on Windows, whose modes say nothing."""
    if os.name != "posix":
        return []
    modes = [(path, path.stat().st_mode & 0o777) for path in _private_paths(folder)]
    return [(path, mode) for path, mode in modes if mode & _OTHERS]


def repair(folder: Path, progress: Progress) -> Repair:
    """Repair what can be repaired. The caller holds the writer's lock; killed anywhere, nothing is lost.

    Raises:
        NoLibraryError: There is no library.
        LibraryTooNewError: A newer clipsearch wrote it.
        LibraryDamagedError: Nothing of it can be saved.
        LibraryWriteError: The disk is full or fails.
    """
    done: list[str] = []
    for path, mode in _open_to_others(folder):
        path.chmod(_PRIVATE_FOLDER if path.is_dir() else PRIVATE)
        done.append(f"made private, was open to others (mode {mode:03o}): {path}")
    if damaged := thumbnails.damaged(folder):
        for path in damaged:
            path.unlink(missing_ok=True)
        done.append(f"removed {len(damaged):,} damaged thumbnails")
    progress("checking the catalog", "", 0, 0)
    done += _repair_pages(folder)
    with Catalog(folder, write=True) as catalog:
        done += _repair_model(catalog)
        if rows := checks.unsound_rows(catalog):
            checks.drop_unsound_rows(catalog)
            done += [f"dropped {count:,} damaged rows of {table}" for table, count in rows.items()]
        if texts.mend_index(catalog):
            done.append("made the index of captions and words anew")
        for key, model in catalog.models():
            done += _repair_vectors(catalog, key, model, progress)
        for path in _nameless(catalog):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            done.append(f"removed what a killed run had left behind: {path}")
        models = catalog.models()
    for _, model in models:
        done += _repair_cache(model)
    return Repair(tuple(done), examine(folder, progress))


def _repair_pages(folder: Path) -> list[str]:
    try:
        with Catalog(folder) as catalog:
            problems = checks.page_problems(catalog)
    except LibraryDamagedError as error:
        problems = [error.message]
    if not problems:
        return []
    if checks.only_indexes(problems):
        kept = keep(folder, "damaged")
        with suppress(LibraryDamagedError), Catalog(folder, write=True) as catalog:
            roots = checks.indexed_roots(catalog.connection)
            with catalog.atomic():
                catalog.connection.execute("REINDEX")
            checks.name_roots(catalog, roots)
            if not checks.page_problems(catalog):
                checks.read_disagreeing_again(catalog, problems)
                return [f"made the catalog's indexes anew; as it was, it is kept in {kept}"]
    saved = salvage(folder)
    lost = "" if saved.lost is None else f"; {saved.lost:,} photos were lost"
    return [
        f"saved {saved.photos:,} photos and {saved.vectors:,} vectors of the damaged catalog{lost}",
        f"the next `{_INDEX}` reads every photo again, and embeds only those that were lost",
        f"the damaged catalog is kept in {saved.kept}",
    ]


def _repair_model(catalog: Catalog) -> list[str]:
    """What the catalog says of the models, from the model cache; and that one of them answers."""
    fingerprints = catalog.model_fingerprints()
    if not fingerprints:
        return []
    done: list[str] = []
    for key, fingerprint in fingerprints:
        known = cache.read(fingerprint)
        if known is not None and _is_misremembered(catalog, key):
            catalog.correct_model(key, known.model)
            done.append("corrected what the catalog says of the model, from the model cache")
    with suppress(LibraryDamagedError):
        catalog.current_model()
        return done
    catalog.use_model(fingerprints[-1][0])
    return [*done, "the catalog did not say which model answers; now it is the one that came last"]


def _is_misremembered(catalog: Catalog, key: int) -> bool:
    try:
        return any(_misremembered(model) for other, model in catalog.models() if other == key)
    except LibraryDamagedError:
        return True


def _repair_vectors(catalog: Catalog, key: int, model: Model, progress: Progress) -> list[str]:
    done: list[str] = []
    segments = catalog.segments(key)
    found = checks.held(catalog, key, model)
    bad: set[Segment] = set()
    whole: dict[int, bytes] = {}
    for segment, wrong, vectors in _disagreements(catalog, key, model, found, progress):
        whole |= vectors
        if wrong:
            bad.add(segment)
    if whole:
        checks.mend_vectors(catalog, key, whole)
        done.append(f"brought {len(whole):,} damaged vectors back from the vector index")
    if lost := sorted(found.damaged.keys() - whole):
        checks.drop_vectors(catalog, lost)
        # Made again they are newer than these files, which must not answer with them as well.
        spans = [(one, np.searchsorted(lost, [one.first, one.last], "right")) for one in segments]
        bad |= {one for one, (start, end) in spans if start < end}
        done.append(f"dropped {len(lost):,} damaged vectors")
    current = catalog.current_model()
    if current is not None and current[0] == key and (photos := checks.read_again(catalog, key)):
        done.append(f"{photos:,} photos have no vector now; embed them again: {_INDEX}")
    if bad or checks.uncovered(catalog, key):
        kept = [] if checks.uncovered(catalog, key) else [one for one in segments if one not in bad]
        for segment in bad:
            (catalog.path.parent / segment.file).unlink(missing_ok=True)
        if not kept:
            catalog.set_segments(key, [])
        progress("writing the vector index", "", 0, 0)
        vector_files.repack(catalog, catalog.path.parent, key, model)
        done.append(f"wrote {len(segments) - len(kept):,} vector files anew from the catalog")
    return done


def _repair_cache(model: Model) -> list[str]:
    folder = cache.folder_of(model.fingerprint)
    _, damaged = cache.damaged_files(model.fingerprint)
    if not folder.exists() or (not damaged and cache.read(model.fingerprint) is not None):
        return []
    cache.discard(model.fingerprint)
    return [f"discarded the damaged model cache, to be made again when needed: {folder}"]
