"""Vectors in a file that NumPy reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RowsFile:
    """A NumPy file of float16 rows whose number is not known before the end.

    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0: a header padded
    with blanks, then the rows.
    """

    _HEADER = 128  # bytes: room for any shape

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rows = self._dim = 0
        stream.write(bytes(self._HEADER))

    def write(self, rows: NDArray[np.float32]) -> None:
        """Add `(n, dim)` rows."""
        self._rows += len(rows)
        self._dim = rows.shape[1]
        self._stream.write(rows.astype("<f2").tobytes())

    def finish(self) -> None:
        """Say in the header how many there are."""
        self._stream.seek(0)
        shape = (self._rows, self._dim)
        np.lib.format.write_array_header_1_0(
            self._stream, {"descr": "<f2", "fortran_order": False, "shape": shape}
        )
        if self._stream.tell() != self._HEADER:
            raise ValueError(f"a header of {self._stream.tell()} bytes")
        self._stream.flush()
