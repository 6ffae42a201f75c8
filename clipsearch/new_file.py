"""Files written where the user says: whole or not at all, and never over another."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from clipsearch.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What network and FUSE file systems say that cannot flush a folder.
_NOT_FLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def check_new(file: Path) -> None:
    """Make sure that a file can be new, before the work that fills it.

    Raises:
        UsageError: Something of that name is there already, or its folder is not.
    """
    if os.path.lexists(file):
        raise taken(file)
    if not file.parent.is_dir():
        raise UsageError(f"no such folder: {file.parent}", "make it, or name another")


def taken(file: Path) -> UsageError:
    """The name is another file's, which stays as it is."""
    return UsageError(f"there is a file already: {file}", "name another, or move it away first")


def write_new(file: Path, data: bytes | Iterable[bytes], *, modified_ns: int | None = None) -> None:
    """Write a file that appears once it is complete and flushed to disk.

    Args:
        file: Where.
        data: All of it, or in blocks.
        modified_ns: Its time of modification; now, when None.

    Raises:
        FileExistsError: Something of that name is there already; it is left as it is.
        OSError: It cannot be written; nothing is left behind.
    """
    with flushed_draft(file, data) as draft:
        if modified_ns is not None:
            os.utime(draft, ns=(modified_ns, modified_ns))
        publish(draft, file)


@contextmanager
def flushed_draft(file: Path, data: bytes | Iterable[bytes]) -> Iterator[Path]:
    """Data in a draft beside the file that it is for, complete on disk; removed after, if it is still there.

    Raises:
        OSError: It cannot be written.
    """
    draft = _draft_of(file)
    try:
        with draft.open("xb") as stream:
            stream.writelines((data,) if isinstance(data, bytes) else data)
            stream.flush()
            os.fsync(stream.fileno())
        yield draft
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def drafted(file: Path) -> Iterator[Path]:
    """Where to write a file that the user has asked for; it gets its name once the body has succeeded.

    Raises:
        UsageError: Something of that name is there already, or its folder is not.
        OutputError: It cannot be written.
    """
    check_new(file)
    draft = _draft_of(file)
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        publish(draft, file)
    except FileExistsError:
        raise taken(file) from None
    except OSError as error:
        raise _unwritable(file, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _draft_of(file: Path) -> Path:
    return file.with_name(f".clipsearch-{secrets.token_hex(8)}.part")


def publish(draft: Path, file: Path) -> None:
    """Give a complete file another name on the same disk, never over what has it; durable on return.

    Killed or interrupted anywhere, the file has one of the two names, or both.

    Raises:
        FileExistsError: Something of that name is there already.
        OSError: The disk does not do it, or is another (`errno.EXDEV`); the draft is where it was.
    """
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError as error:  # a disk without hard links: the name is taken first, then given to the draft
        if error.errno == errno.EXDEV:
            raise
        with file.open("xb"):
            pass
        try:
            draft.replace(file)
        except OSError:
            file.unlink()
            raise
        flush_folder(file.parent)
    else:
        hand_over(draft, file)


def hand_over(old: Path, new: Path) -> None:
    """Remove a file that is whole in another place, too, once that place is durable.

    Raises:
        OSError: It cannot be removed; the other is taken back.
    """
    try:
        flush_folder(new.parent)
        old.unlink()
    except OSError:  # nothing broader: an interrupt may come when the old one has just gone
        if os.path.lexists(old):
            new.unlink()
        raise


def flush_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where the system can (not on Windows).

    Raises:
        OSError: The disk fails.
    """
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NOT_FLUSHED:
                raise
        finally:
            os.close(handle)


def write_output(file: Path, data: bytes) -> None:
    """`write_new`, for a file that the user has asked for.

    Raises:
        UsageError: Something of that name is there by now.
        OutputError: It cannot be written.
    """
    try:
        write_new(file, data)
    except FileExistsError:
        raise taken(file) from None
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written: {file} ({(error.strerror or str(error)).lower()})",
        "name a file in a folder that can be written, on a disk with room",
    )
