"""Files wherever they lie: on disks, in object storage through fsspec, on the web."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from clipsearch.errors import FetchError, PhotoError, UsageError
from clipsearch.photos.files import MAX_BYTES, read_bytes

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# RFC 3986, 3.1; a single letter is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_WEB = ("http", "https")
_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}


def scheme_of(place: str) -> str:
    """The scheme of a URL, in lower case; `file` for a path."""
    found = _SCHEME.match(place)
    return found[1].lower() if found else "file"


def is_local(place: str) -> bool:
    """Whether it is a path on this machine's disks, or a `file://` URL."""
    return scheme_of(place) == "file"


def canonical(place: str) -> str:
    """A path made absolute, `file://` taken off; other URLs as they are."""
    if not is_local(place):
        return place
    path = place[len("file://") :] if _SCHEME.match(place) else place
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - Path.absolute keeps `..`


def file_system(place: str) -> tuple[AbstractFileSystem, str]:
    """What opens the files of a place, and how the place is called there.

    Raises:
        UsageError: There is nothing that opens such places.
    """
    import fsspec

    if is_local(place):  # fsspec would take a path with `::` in it for a chain
        return fsspec.filesystem("file"), canonical(place)
    scheme = scheme_of(place)
    try:
        # A listing of before must not hide what another machine has written since.
        found: tuple[Any, str] = fsspec.url_to_fs(place, use_listings_cache=False)
    except ImportError:
        package = _PACKAGES.get(scheme, "the package that fsspec asks for")
        raise UsageError(f"{scheme}:// cannot be opened here: {place}", f"pip install {package}") from None
    except ValueError:
        raise UsageError(
            f"no such kind of place: {place}", "a folder, or an address such as s3://bucket/photos"
        ) from None
    return found


def read_photo(place: str) -> bytes:
    """The bytes of a photo on disk, in object storage or on the web, bounded.

    Raises:
        PhotoError: It is empty, too large, no regular file, or an address that leads to no picture.
        OSError: It cannot be read.
    """
    if is_local(place):
        return read_bytes(os.fsencode(canonical(place)))[0]
    if scheme_of(place) in _WEB:
        from clipsearch.photos.fetch import fetch_image

        try:
            return fetch_image(place)
        except FetchError as error:
            raise PhotoError(error.message.removeprefix(f"{place}: ")) from error
    files, path = file_system(place)
    with files.open(path, "rb") as stream:
        if stream.size is not None and stream.size > MAX_BYTES:
            raise PhotoError(f"file of {stream.size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB")
        data: bytes = stream.read(MAX_BYTES)
    if not data:
        raise PhotoError("empty file")
    return data
