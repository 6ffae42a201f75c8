"""A tiny deterministic encoder: a picture's embedding is its mean colour, a text's is the colour it names.

Expected scores can be worked out by hand, so tests of everything around a model are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipsearch.types import Model, ModelSource, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}
MODEL = Model(
    source=ModelSource("mean-color"),
    fingerprint="c0105",
    dim=3,
    logit_scale=10.0,
    logit_bias=None,
    preprocessing=Preprocessing(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash"),
)


def unit(rows: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows brought to length 1."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class MeanColor:
    """Both encoders at once. Counts the pictures it was given."""

    def __init__(self, model: Model = MODEL, batch_size: int = 4) -> None:
        self.model = model
        self.batch_size = batch_size
        self.embedded = 0

    def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
        """Pictures `(n, h, w, 3)`, or texts made of colour names."""
        if isinstance(items, np.ndarray):
            self.embedded += len(items)
            return unit(items.reshape(len(items), -1, 3).mean(axis=1) + 1)  # black has a direction, too
        named = [[COLORS[word] for word in text.split() if word in COLORS] for text in items]
        return unit(np.array([np.mean(colors, axis=0) + 1 for colors in named]))


def paint(path: Path, color: tuple[int, int, int], *, size: tuple[int, int] = (16, 12)) -> Path:
    """A picture of one colour; PNG, so its bytes follow from the colour and size alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path
