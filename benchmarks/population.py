"""Photos that were never taken: rows for a library of any size, the same for both sides."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DIM = 512
_BLOCK = 10_000
_FOLDER_SIZE = 1_000
_SIZE = 2_500_000
_MTIME_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """What an index keeps of one photo.

    Attributes:
        path: Relative to its root.
        size: Bytes.
        mtime_ns: Modification time.
        digest: Of its bytes; here, of its path.
        vector: `(512,)` float32, unit length, exactly as float16 keeps it.
    """

    path: str
    size: int
    mtime_ns: int
    digest: bytes
    vector: NDArray[np.float32]


def imagined(count: int) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of photos that are on no disk."""
    for number in range(count):
        yield path_of(number), _SIZE + number, _MTIME_NS + number * 1_000_000_000


def path_of(number: int) -> str:
    """Path of the n-th photo below its root: a thousand a folder."""
    return f"{number // _FOLDER_SIZE:04}/IMG_{number:07}.jpg"


def blocks(files: Iterable[tuple[str, int, int]]) -> Iterator[list[PhotoRow]]:
    """Give each file a random unit vector; the same files get the same ones."""
    random = np.random.default_rng(0)
    waiting = iter(files)
    while block := list(islice(waiting, _BLOCK)):
        vectors = random.standard_normal((len(block), DIM), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        # Both sides get what clipsearch stores, so that their answers can be held against each other.
        stored = vectors.astype(np.float16).astype(np.float32)
        yield [
            PhotoRow(path, size, mtime_ns, hashlib.sha256(path.encode()).digest(), vector)
            for (path, size, mtime_ns), vector in zip(block, stored, strict=True)
        ]


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` once the body has succeeded: there means whole."""
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    draft.rename(target)
