"""A vector as it lies in the catalog: float16, little-endian, unit length, with a checksum beside it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.half_units import are_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
