"""Addresses of libraries that are collections of Milvus, the vector database, instead of folders."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from clipsearch.errors import UsageError
from clipsearch.roots import absolute, library_folder

DEFAULT_COLLECTION = "clipsearch"
_PORT = 19530
_FORMS = "milvus://HOST:PORT/COLLECTION, milvuss:// for TLS, milvus-lite:FILE"
_KINDS: dict[str, Literal["tls", "plain"]] = {"milvus": "plain", "milvuss": "tls"}
_SERVER = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(?::(?P<port>\d{1,5}))?/(?P<collection>\w{1,255})/?"
_FILE = "milvus-lite:"


class Address(NamedTuple):
    """Where a collection is.

    Attributes:
        server: `HOST:PORT`, or the absolute path of a file of Milvus Lite.
        collection: Its name there.
        kind: How it is spoken to: over TLS, in plain, or in this process.
    """

    server: str
    collection: str
    kind: Literal["tls", "plain", "file"]

    def __str__(self) -> str:
        if self.kind == "file":
            return _FILE + self.server
        return f"milvus{'s' if self.kind == 'tls' else ''}://{self.server}/{self.collection}"


def parse_address(text: str) -> Address | None:
    """The collection that a text names, or None where it names a folder.

    Raises:
        UsageError: It is meant to be an address, but is none.
    """
    scheme, is_address, rest = text.partition(":/")  # one slash is enough: a `Path` leaves the second out
    if is_address and scheme in _KINDS:
        if "@" in rest:  # not repeated: there is a password in it
            raise UsageError(
                "an address with a name or password in it: others can read command lines",
                "set CLIPSEARCH_MILVUS_TOKEN, or CLIPSEARCH_MILVUS_USER and CLIPSEARCH_MILVUS_PASSWORD",
            )
        named = re.fullmatch(_SERVER, rest.removeprefix("/"))
        if named is None or not named["collection"].isascii() or named["collection"][0].isdigit():
            raise UsageError(f"not an address: {text}", f"write {_FORMS}")
        return Address(f"{named['host']}:{named['port'] or _PORT}", named["collection"], _KINDS[scheme])
    if text.startswith(_FILE):
        return _file(text.removeprefix(_FILE))
    if text.endswith(".db"):
        return _file(text)
    return None


def _file(path: str) -> Address:
    if not path.endswith(".db"):
        raise UsageError(f"not a file of Milvus Lite: {path}", "its name ends in .db")
    return Address(os.fspath(absolute(path)), DEFAULT_COLLECTION, "file")


def place_of(where: Path | str | None = None) -> Path | Address:
    """The library that is named, that of `$CLIPSEARCH_LIBRARY`, or the user's own: its folder or collection.

    Raises:
        UsageError: It is meant to be an address, but is none.
    """
    named = where or os.environ.get("CLIPSEARCH_LIBRARY", "")
    return parse_address(os.fspath(named)) or library_folder(where)


def folder_of(place: Path | Address) -> Path:
    """The folder of a library that is one.

    Raises:
        UsageError: It is a collection.
    """
    if isinstance(place, Path):
        return place
    raise UsageError(
        f"{place} is a Milvus collection: this can only be done in a library in a folder",
        "a collection answers search, similar, classify, score, eval, export, status and forget",
    )
