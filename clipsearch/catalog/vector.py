"""A vector as it lies in the catalog: float16, little-endian, unit length, with a checksum beside it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Rounding to float16 moves the length of a unit vector by at most this.
LENGTH_ERROR = 1e-3


def pack(vector: NDArray[np.float32], content: int) -> tuple[bytes, int]:
    """The columns `vector` and `checksum` of one `(dim,)` unit vector."""
    blob = vector.astype("<f2").tobytes()
    return blob, checksum_of(blob, content)


def checksum_of(blob: bytes, content: int) -> int:
    """CRC-32 of a stored vector, begun with its content's id: neither is taken for another's."""
    return zlib.crc32(blob, content & 0xFFFFFFFF)


def unpack(
    blobs: Sequence[Any], contents: Sequence[Any], checksums: Sequence[Any], dim: int
) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    """Which of some rows are as they were written, and their vectors.

    A flipped bit anywhere is noticed by the checksum, 1 us a vector of 512 dimensions. Rows of older
    versions have none (None): there only a length other than 1 is.

    Returns:
        `(n,)` whether a row is sound, and `(m, dim)` float16 of those that are.
    """
    size = 2 * dim
    sound = np.fromiter(
        (
            type(blob) is bytes
            and len(blob) == size
            and type(content) is int
            and (checksum is None or checksum_of(blob, content) == checksum)
            for blob, content, checksum in zip(blobs, contents, checksums, strict=True)
        ),
        np.bool_,
        len(blobs),
    )
    if not sound.all():
        blobs = [blob for blob, is_sound in zip(blobs, sound.tolist(), strict=True) if is_sound]
    rows = np.frombuffer(b"".join(blobs), "<f2").reshape(-1, dim)
    if None in checksums:
        units = are_units(rows)
        sound[np.flatnonzero(sound)[~units]] = False
        rows = rows[units]
    return sound, rows


def are_units(rows: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of `(n, dim)` stored rows have unit length; not those with an infinity or NaN."""
    wide = rows.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", wide, wide)
        units: NDArray[np.bool_] = np.abs(squares - 1) <= 2 * LENGTH_ERROR
    return units
