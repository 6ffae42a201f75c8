"""Unit vectors at half precision, as catalog, vector files and cache hold them: what still counts as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rounding to float16 moves the length of a unit vector by at most this.
_LENGTH_ERROR = 1e-3


def are_units(rows: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of `(n, dim)` stored rows have unit length; not those with an infinity or NaN."""
    wide = rows.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", wide, wide)
        units: NDArray[np.bool_] = np.abs(squares - 1) <= 2 * _LENGTH_ERROR
    return units
