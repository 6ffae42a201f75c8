"""What a picture looks like: a perceptual hash, whether there is anything to see, and how sharply.

The hash is ImageHash's pHash with 16 x 16 bits: which of the lowest frequencies of the picture, brought to
64 x 64 grey pixels, are above their median (Zauner 2010; https://github.com/JohannesBuchner/imagehash).
Scaling, recompression, brightness and a thin margin cut off leave most bits as they are; between two
different pictures about half of them differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipsearch.types import Likeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bits a side: with ImageHash's usual 8, pairs of different photos are as near as cropped ones.
_SIDE = 16
# Of 256 bits. Of 1,000 photos and their copies, 3 % cut off at each side moves the hash by up to 76 bits in
# 99 of 100 (docs/duplicates.md); of 500,000 pairs of different photos, 8 are as near as this.
MAX_DISTANCE = 72
# Grey levels: standard deviation at 32 x 32 pixels. Below, the bits of the hash are noise: black frames and
# blank scans have 0 to 3, the flattest of 1,000 photos 8.8.
MIN_CONTRAST = 5.0
_CONTRAST_SIDE = 32
SHARPNESS_SIDE = 1024
"""Pixels of the long side at which sharpness is measured; smaller pictures are taken as they are."""


def is_uniform(likeness: Likeness) -> bool:
    """Whether there is too little to see to tell the picture from another."""
    return likeness.contrast < MIN_CONTRAST


def likeness_of(image: Image.Image) -> Likeness:
    """Look at an upright picture of any size; `SHARPNESS_SIDE` pixels are enough."""
    from imagehash import phash  # imports SciPy

    grey = image.convert("L")
    if max(grey.size) > SHARPNESS_SIDE:
        grey.thumbnail((SHARPNESS_SIDE, SHARPNESS_SIDE), Image.Resampling.LANCZOS)
    small = grey.resize((_CONTRAST_SIDE, _CONTRAST_SIDE), Image.Resampling.LANCZOS)
    bits = phash(grey, hash_size=_SIDE).hash
    return Likeness(np.packbits(bits).tobytes(), float(np.asarray(small).std()), _sharpness(grey))


def distances(hashes: NDArray[np.uint8], one: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Differing bits of each of `(n, LIKENESS_BYTES)` hashes and one, 0 to 256."""
    found: NDArray[np.int64] = np.bitwise_count(hashes ^ one).sum(axis=1, dtype=np.int64)
    return found


def _sharpness(grey: Image.Image) -> float:
    """Variance of the Laplacian over that of the levels: a brighter copy is no sharper one.

    A border is as if it went on; what is of one shade has none.
    """
    levels = np.pad(np.asarray(grey, np.float32), 1, mode="edge")
    middle = levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * middle
    return float(laplacian.var() / max(middle.var(), 1.0))
