"""Backups of a library: its catalog, from which all else is made again, as one file."""

from __future__ import annotations

import os
import secrets
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from clipsearch import vector_files
from clipsearch.catalog import checks
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.connection import connect, make_private, spoken_errors
from clipsearch.catalog.salvage import copy_database, keep, replace, workshop
from clipsearch.errors import LibraryDamagedError, LibraryError, LibraryWriteError, UsageError
from clipsearch.new_file import check_new, publish, taken
from clipsearch.types import Backup

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.doctor import Progress

_PAGES = 2048  # copied at a time: 16 MB


def back_up(folder: Path, file: Path, progress: Progress) -> Backup:
    """Write the library's catalog, as of now, to a file; other processes may index and search meanwhile.

    The file appears once it is complete, checked and flushed to disk.

    Raises:
        NoLibraryError: There is no library.
        UsageError: The file is there already, or its folder is not.
        LibraryDamagedError: The catalog is damaged: no backup is better than a bad one.
        LibraryWriteError: The disk is full or fails.
    """
    check_new(file)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}.tmp")
    with Catalog(folder) as source:
        try:
            make_private(draft)
            with spoken_errors(draft), closing(connect(draft, write=True)) as target:
                _copy(source, target, progress)
                target.execute("PRAGMA journal_mode = DELETE")  # one file
            try:
                made = _checked(draft, file, progress)
            except LibraryDamagedError as error:
                raise LibraryDamagedError(
                    f"not backed up: the library itself is damaged: {source.path}"
                ) from error
            with draft.open("rb+") as written:
                os.fsync(written.fileno())
            publish(draft, file)
        except FileExistsError:
            raise taken(file) from None
        except OSError as error:
            raise LibraryWriteError(
                f"the backup cannot be written: {file} ({(error.strerror or str(error)).lower()})",
                "name a file in a folder that can be written, on a disk with room",
            ) from error
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                with suppress(OSError):
                    draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    return made


def _copy(source: Catalog, target: object, progress: Progress) -> None:
    with spoken_errors(source.path):
        # One state, however long it takes: a read transaction does not see what is committed meanwhile.
        source.connection.execute("BEGIN")
        source.connection.execute("SELECT count(*) FROM model").fetchone()
        source.connection.backup(
            target,  # type: ignore[arg-type]
            pages=_PAGES,
            progress=lambda _, left, total: progress("copying the catalog", "pages", total - left, total),
        )
        source.connection.execute("ROLLBACK")


def _checked(database: Path, file: Path, progress: Progress) -> Backup:
    """What a copy of a catalog holds.

    Raises:
        LibraryDamagedError: Not what clipsearch wrote.
    """
    progress("checking the copy", "", 0, 0)
    with Catalog(database.parent, name=database.name) as catalog:
        if problems := checks.page_problems(catalog) or list(checks.unsound_rows(catalog)):
            raise LibraryDamagedError(f"damaged: {file} ({problems[0]})")
        vectors = 0
        for key, model in catalog.models():
            found = checks.held(catalog, key, model)
            if found.damaged:
                raise LibraryDamagedError(f"damaged: {file} ({len(found.damaged):,} vectors)")
            vectors += len(found.ids)
        return Backup(file, catalog.count_photos(), vectors, database.stat().st_size)


def _prepared(draft: Path, file: Path, progress: Progress) -> Backup:
    """Check a copy of a backup, bring it up to date, and let it name no file of vectors.

    Raises:
        LibraryError: It is no backup, damaged, or of a newer clipsearch.
    """
    if not draft.stat().st_size:
        raise LibraryDamagedError("it is empty")
    try:
        with Catalog(draft.parent, write=True) as catalog:
            for key, _ in catalog.models():
                catalog.set_segments(key, [])
    except (LibraryDamagedError, LibraryWriteError):
        raise
    except LibraryError as error:
        raise type(error)(f"{file}: {error.message}", error.hint) from error
    return _checked(draft, file, progress)


def restore(folder: Path, file: Path, progress: Progress) -> Backup:
    """Put a backup in the place of the library's catalog, which is kept beside it under another name.

    The backup is checked first, and is not touched. The caller holds the writer's lock. Killed anywhere,
    the library is as it was, or restored.

    Raises:
        UsageError: There is no such file.
        LibraryTooNewError: A newer clipsearch wrote it.
        LibraryError: It is no backup of a library, or damaged.
        LibraryWriteError: The disk is full or fails.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {file}", "name a file that `clipsearch doctor --backup` wrote")
    current = folder / FILE_NAME
    if current.exists() and current.samefile(file):
        raise UsageError(f"this is the library's own database: {file}", "name a backup of it")
    with workshop(folder) as bench:
        draft = copy_database(file, bench / FILE_NAME)
        try:
            made = _prepared(draft, file, progress)
        except LibraryDamagedError as error:
            raise LibraryDamagedError(
                f"the backup is damaged: {file} ({error.message})",
                "restore another; the library is as it was",
            ) from error
        kept = keep(folder, "replaced") if current.exists() else None
        progress("putting the catalog in place", "", 0, 0)
        replace(draft, current)
    progress("writing the vector index", "", 0, 0)
    with Catalog(folder, write=True) as catalog:
        for key, model in catalog.models():
            vector_files.repack(catalog, folder, key, model)
    return Backup(made.file, made.photos, made.vectors, made.bytes, kept)
