"""Addresses of libraries that are collections of Milvus, the vector database, instead of folders."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipsearch.errors import UsageError
from clipsearch.roots import absolute, library_folder

DEFAULT_COLLECTION = "clipsearch"
_PORT = 19530
_FORMS = "milvus://HOST:PORT/COLLECTION, milvuss:// for TLS, milvus-lite:FILE"
# One slash is enough: a `Path` leaves the second out.
_SERVER = re.compile(r"(?P<scheme>milvuss?):/{1,2}(?P<rest>.*)", re.DOTALL)
_REST = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(?::(?P<port>\d{1,5}))?/(?P<collection>\w{1,255})/?"
)
_FILE = "milvus-lite:"


@dataclass(frozen=True, slots=True)
class Address:
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
    if match := _SERVER.fullmatch(text):
        if "@" in match["rest"]:  # not repeated: there is a password in it
            raise UsageError(
                "an address with a name or password in it: others can read command lines",
                "set CLIPSEARCH_MILVUS_TOKEN, or CLIPSEARCH_MILVUS_USER and CLIPSEARCH_MILVUS_PASSWORD",
            )
        rest = _REST.fullmatch(match["rest"])
        if rest is None or not rest["collection"].isascii() or rest["collection"][0].isdigit():
            raise UsageError(f"not an address: {text}", f"write {_FORMS}")
        kind: Literal["tls", "plain"] = "tls" if match["scheme"] == "milvuss" else "plain"
        return Address(f"{rest['host']}:{rest['port'] or _PORT}", rest["collection"], kind)
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
        "a collection answers search, similar, classify, export, status and forget",
    )
