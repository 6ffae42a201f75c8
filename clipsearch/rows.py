"""A photo as a row of a table: what passes between libraries, Parquet files and vector databases.

Arrow is imported by the functions that need it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.types import Metadata, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from clipsearch.types import Photo

HASH_BYTES = 32

# U+FFFD, which stands for bytes that are no characters, wherever such are shown.
_MARK = "\N{REPLACEMENT CHARACTER}"
_ODD = re.compile(f"[\udc80-\udcff{_MARK}]")
_MARKED = re.compile(_MARK.encode() + rb"([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Row:
    """A photo, wherever its file lies.

    Attributes:
        path: Absolute path or URL; bytes that are not UTF-8 as Python carries them in file names.
        hash: SHA-256 of its bytes.
        width: Pixels, upright.
        height: Pixels, upright.
        size: Bytes.
        metadata: What the picture says about itself.
        extra: What its source says about it, such as a caption: plain values of JSON by name.
    """

    path: str
    hash: bytes
    width: int
    height: int
    size: int
    metadata: Metadata = field(default_factory=Metadata)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> int:
        """The same for this path in every table: see `row_id`."""
        return row_id(self.path)


def row_of(photo: Photo, digest: bytes) -> Row:
    """A photo of a library, with the SHA-256 of its bytes."""
    return Row(str(photo.path), digest, photo.width, photo.height, photo.size, photo.metadata)


def row_id(path: str) -> int:
    """The first 63 bits of the 8-byte BLAKE2b (RFC 7693) of a path's bytes.

    Among n paths, two share an id with a chance of n^2 / 2^64: 5e-8 for a million, 5 % for a billion.
    """
    return int.from_bytes(blake2b(os.fsencode(path), digest_size=8).digest(), "big") >> 1


def spell_path(path: str) -> str:
    r"""A path as Unicode text that every table can hold; `read_path` gives it back exactly.

    It is itself unless it has bytes that are not UTF-8: each of them is spelled as U+FFFD and two hexadecimal
    digits, and so are the three bytes of a U+FFFD. Folders' spellings stay prefixes of those of their files.

    >>> spell_path("/photos/caf\udce9.jpg") == "/photos/caf\N{REPLACEMENT CHARACTER}E9.jpg"
    True
    """
    return _ODD.sub(_spelled, os.fsencode(path).decode("utf-8", "surrogateescape"))


def _spelled(match: re.Match[str]) -> str:
    return "".join(f"{_MARK}{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def read_path(text: str) -> str:
    """The path that `spell_path` has spelled."""
    return os.fsdecode(_MARKED.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode()))


def schema(dim: int) -> pa.Schema:
    """Columns and types of the table, for embeddings of `dim` dimensions."""
    import pyarrow as pa

    def column(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Field:
        return pa.field(name, kind, nullable=nullable)

    return pa.schema(
        [
            column("id", pa.int64()),
            column("path", pa.string()),
            column("hash", pa.binary(HASH_BYTES)),
            column("width", pa.int32()),
            column("height", pa.int32()),
            column("size", pa.int64()),
            column("taken", pa.string(), nullable=True),  # ISO 8601, with offset where the camera wrote one
            column("camera", pa.string(), nullable=True),
            column("lens", pa.string(), nullable=True),
            column("latitude", pa.float64(), nullable=True),
            column("longitude", pa.float64(), nullable=True),
            column("extra", pa.string()),  # a JSON object
            column("vector", pa.list_(pa.field("item", pa.float16(), nullable=False), dim)),
        ]
    )


def to_arrow(
    rows: Sequence[Row], vectors: NDArray[np.float32] | NDArray[np.float16], dim: int
) -> pa.RecordBatch:
    """Rows and their `(n, dim)` unit embeddings, rounded to float16, as a batch of `schema(dim)`."""
    import pyarrow as pa

    form = schema(dim)
    items = pa.array(np.ascontiguousarray(vectors, "<f2").reshape(-1))
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "path": [spell_path(row.path) for row in rows],
        "hash": [row.hash for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "size": [row.size for row in rows],
        "taken": [row.metadata.taken and row.metadata.taken.isoformat() for row in rows],
        "camera": [row.metadata.camera for row in rows],
        "lens": [row.metadata.lens for row in rows],
        "latitude": [row.metadata.place and row.metadata.place.latitude for row in rows],
        "longitude": [row.metadata.place and row.metadata.place.longitude for row in rows],
        "extra": [json.dumps(row.extra) for row in rows],
        "vector": pa.FixedSizeListArray.from_arrays(items, type=form.field("vector").type),
    }
    return pa.RecordBatch.from_arrays(
        [
            values if isinstance(values, pa.Array) else pa.array(values, form.field(name).type)
            for name, values in columns.items()
        ],
        schema=form,
    )


def from_arrow(batch: pa.RecordBatch) -> tuple[list[Row], NDArray[np.float16]]:
    """Rows and their `(n, dim)` embeddings; the inverse of `to_arrow`.

    Raises:
        KeyError, TypeError, ValueError: Columns are missing, or hold something else.
    """
    names = [name for name in schema(1).names if name not in {"id", "vector"}]
    lists = {name: batch.column(name).to_pylist() for name in names}
    rows = [
        Row(
            path=read_path(path),
            hash=digest,
            width=width,
            height=height,
            size=size,
            metadata=Metadata(
                taken=None if taken is None else datetime.fromisoformat(taken),
                camera=camera,
                lens=lens,
                place=None if latitude is None else Place(latitude, longitude),
            ),
            extra=json.loads(extra),
        )
        for path, digest, width, height, size, taken, camera, lens, latitude, longitude, extra in zip(
            *(lists[name] for name in names), strict=True
        )
    ]
    column = batch.column("vector")
    dim = column.type.list_size
    vectors: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rows, vectors
