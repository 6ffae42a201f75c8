"""The errors clipsearch raises on purpose.

::

    ClipsearchError            base: a message (what happened, to what) and a hint (what to do next)
    ├── UsageError             the request itself makes no sense: empty query, limit 0, doubled labels
    ├── PhotoError             one picture cannot be read; carries the reason shown in `status --skipped`
    ├── FetchError             an image URL is dead, too big or not an image
    ├── OutputError            a file or folder that the user named cannot be written
    ├── ClusterError           a cluster cannot be reached or used
    ├── LibraryError           the library cannot be used as asked
    │   ├── NoLibraryError     nothing has been indexed there yet
    │   ├── LibraryBusyError   another process holds the writer's lock
    │   ├── LibraryTooNewError written by a newer clipsearch
    │   ├── LibraryDamagedError  what is on disk is not what was written; `clipsearch doctor` says more
    │   ├── LibraryWriteError  the disk is full, read-only, or not ours to write
    │   └── LibraryUnreachableError  the server that holds it does not answer in time
    └── ModelError             a model cannot be had or used
        ├── UnknownModelError  no model of that name; carries near names
        ├── ModelUnavailableError  known, but neither cached nor downloadable now
        ├── ModelMismatchError     the library was made with another model
        └── BadCheckpointError     the weights do not fit the architecture, or are damaged

Every one of them ends in one clear line on the terminal and exit code 2; see `clipsearch.cli`.
"""

from __future__ import annotations


class ClipsearchError(Exception):
    """Base of every expected failure.

    Args:
        message: What happened and to which file, folder or model; one line, no full stop needed.
        hint: What the user can do about it; empty when there is nothing to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ClipsearchError):
    """The request itself makes no sense, whatever the state of the library."""


class PhotoError(ClipsearchError):
    """One picture cannot be read. `message` is the reason, without the path."""


class FetchError(ClipsearchError):
    """An image URL is dead, too big, or not an image."""


class OutputError(ClipsearchError):
    """A file or folder that the user named cannot be written: full disk, read-only medium, no permission."""


class ClusterError(ClipsearchError):
    """A cluster cannot be reached, or fails."""


class LibraryError(ClipsearchError):
    """The library cannot be used as asked."""


class NoLibraryError(LibraryError):
    """Nothing has been indexed in this library yet."""


class LibraryBusyError(LibraryError):
    """Another process is writing to this library."""


class LibraryTooNewError(LibraryError):
    """The library was written by a newer version of clipsearch."""


class LibraryDamagedError(LibraryError):
    """The library's files are not what clipsearch wrote."""

    def __init__(
        self,
        message: str,
        hint: str = "photos are never touched; see what is wrong and what can be saved: clipsearch doctor",
    ) -> None:
        super().__init__(message, hint)


class LibraryWriteError(LibraryError):
    """The library cannot be written: full disk, read-only medium, missing permission."""


class LibraryUnreachableError(LibraryError):
    """The server that holds the library does not answer within the time limit."""


class ModelError(ClipsearchError):
    """A model cannot be had or used."""


class UnknownModelError(ModelError):
    """No model of that name exists; the hint lists near names."""


class ModelUnavailableError(ModelError):
    """The model is known, but is neither cached nor can it be downloaded now."""


class ModelMismatchError(ModelError):
    """The library holds vectors of another model."""


class BadCheckpointError(ModelError):
    """The weights are damaged or do not fit the architecture."""
