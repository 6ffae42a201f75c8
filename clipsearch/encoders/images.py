"""Embeds pictures batch by batch, whatever computes. Imports no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from clipsearch.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipsearch.types import Model


class ImageTower(Protocol):
    """An image tower, loaded by one engine in one number format.

    Attributes:
        engine: Its name: `float32`, `bfloat16` and `float16` are torch's, `onnx-float32` and `onnx-int8`
            ONNX Runtime's.
        batch_size: Pictures that it takes best.
    """

    engine: str
    batch_size: int

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns `(n, dim)` float32 unit rows for `(n, height, width, 3)` pictures.

        Raises:
            MemoryError: Fewer at a time may fit.
        """
        ...


class TowerEncoder:
    """An `ImageEncoder`: a tower that is given batches it can hold.

    Args:
        model: Whose tower it is.
        tower: What computes.
        batch_size: Pictures in one forward pass; None for the tower's own.
    """

    def __init__(self, model: Model, tower: ImageTower, batch_size: int | None = None) -> None:
        self.model = model
        self.engine = tower.engine
        self.batch_size = batch_size or tower.batch_size
        self._tower = tower

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns `(n, dim)` float32 unit rows for `(n, height, width, 3)` RGB pictures."""
        rows = np.empty((len(images), self.model.dim), np.float32)
        start = 0
        while start < len(images):
            batch = images[start : start + self.batch_size]
            try:
                rows[start : start + len(batch)] = self._tower(batch)
            except MemoryError:
                if self.batch_size == 1:
                    raise ModelError(
                        f"{self.model.source} does not fit into memory", "use --device cpu or a smaller model"
                    ) from None
                self.batch_size = max(1, self.batch_size // 2)
                continue
            start += len(batch)
        return rows
