"""Encoders: text or pixels in, unit vectors out.

Nothing heavy is imported here. `openclip` needs torch, `onnx` needs onnxruntime and tokenizers;
each is imported by the function that opens it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clipsearch.encoders.opening import (
    AvailableModel,
    available_models,
    open_image_encoder,
    open_text_encoder,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.types import Model

__all__ = [
    "AvailableModel",
    "ImageEncoder",
    "TextEncoder",
    "available_models",
    "open_image_encoder",
    "open_text_encoder",
]


class ImageEncoder(Protocol):
    """Pictures to embeddings.

    Attributes:
        model: Whose embeddings.
        engine: What computes, in which number format.
        batch_size: Pictures in one forward pass.
    """

    model: Model
    engine: str
    batch_size: int

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures already brought to the model's input size.

        Args:
            images: `(n, height, width, 3)` RGB, as `clipsearch.photos.decode` makes them for
                `model.preprocessing`; any n, batches are cut inside.

        Returns:
            `(n, dim)` float32, unit rows, in the same order.
        """
        ...


class TextEncoder(Protocol):
    """Texts to embeddings in the same space."""

    model: Model

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; longer ones are cut to the model's context length.

        Returns:
            `(n, dim)` float32, unit rows, in the same order.
        """
        ...
