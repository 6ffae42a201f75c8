"""Formats that take a package which not everybody wants to install: RAW, JPEG XL, video."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from clipsearch.errors import PhotoError


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional package and the files that it reads.

    Attributes:
        name: As in `pip install 'clipsearch[NAME]'`.
        module: What it installs.
        files: What they are called, before the word "file".
        suffixes: By which they are known, in lower case.
    """

    name: str
    module: str
    files: str
    suffixes: frozenset[bytes]

    @property
    def is_there(self) -> bool:
        """Whether the package is installed."""
        return find_spec(self.module) is not None

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install 'clipsearch[{self.name}]'"

    def missing(self) -> PhotoError:
        """Why such a file is not read."""
        return PhotoError(f"{self.files} files are read with an extra: {self.command}")


RAW = Extra(
    "raw",
    "rawpy",
    "RAW",
    frozenset(
        b"dng nef nrw cr2 cr3 crw arw srf sr2 orf rw2 raf pef srw x3f 3fr fff iiq mrw erf kdc dcr mef mos "
        b"rwl".split()
    ),
)
JXL = Extra("jxl", "pillow_jxl", "JPEG XL", frozenset((b"jxl",)))
# Not .ts, which is TypeScript more often.
VIDEO = Extra(
    "video",
    "av",
    "video",
    frozenset(b"mp4 m4v mov qt avi mkv webm mpg mpeg m2ts mts 3gp 3g2 wmv asf flv ogv".split()),
)
EXTRAS = (RAW, JXL, VIDEO)
_BY_SUFFIX = {suffix: extra for extra in EXTRAS for suffix in extra.suffixes}


def suffix_of(path: bytes) -> bytes:
    """What stands behind the last dot of a file's name, in lower case; empty where nothing is before it."""
    stem, _, suffix = path.rpartition(b"/")[2].rpartition(b".")
    return suffix.lower() if stem else b""


def extra_of(path: bytes) -> Extra | None:
    """The extra that a file takes, by its name; None for one that takes none."""
    return _BY_SUFFIX.get(suffix_of(path))


def is_video(path: bytes) -> bool:
    """Whether a file is one, by its name."""
    return suffix_of(path) in VIDEO.suffixes
