"""A library's encoders, loaded when first needed and kept; threads may share them."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from clipsearch.encoders.opening import check_same, open_image_encoder, open_text_encoder
from clipsearch.encoders.prompts import prompt_vectors
from clipsearch.encoders.remembered import RememberingTexts

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.encoders import ImageEncoder, TextEncoder
    from clipsearch.types import Listeners, Model


class Encoders:
    """What embeds texts and pictures for queries, one of each at a time: that of the model last asked for.

    Attributes:
        lasting: Many queries will come: what takes memory and a moment once, and saves time on each, pays.
    """

    def __init__(self) -> None:
        self.lasting = False
        # A thread that needs what another one is loading waits for it instead of loading it as well.
        self._lock = threading.RLock()
        self._texts: TextEncoder | None = None
        self._images: ImageEncoder | None = None
        self._prompts: tuple[str, NDArray[np.float32]] | None = None

    def texts(self, model: Model, listeners: Listeners) -> TextEncoder:
        """The model's text encoder. It may be used by several threads at once.

        Raises:
            ModelError: It cannot be had.
        """
        with self._lock:
            if self._texts is None or self._texts.model.fingerprint != model.fingerprint:
                self._texts = RememberingTexts(
                    open_text_encoder(model, listeners=listeners, lasting=self.lasting)
                )
            return self._texts

    def encode_image(
        self, pixels: NDArray[np.uint8], model: Model, listeners: Listeners
    ) -> NDArray[np.float32]:
        """`(dim,)` unit embedding of a `(height, width, 3)` picture, as `clipsearch.photos.decode` makes it.

        Raises:
            ModelError: The model cannot be had, or is no longer the library's.
        """
        with self._lock:  # one picture keeps all cores busy
            if self._images is None or self._images.model.fingerprint != model.fingerprint:
                encoder = open_image_encoder(model.source, pictures=1, listeners=listeners)
                check_same(encoder.model, model)
                self._images = encoder
            vector: NDArray[np.float32] = self._images.encode(pixels[None])[0]
            return vector

    def prompts(
        self, model: Model, listeners: Listeners, progress: Callable[[int, int], None] | None
    ) -> NDArray[np.float32]:
        """`(prompts, dim)` unit embeddings of the generic prompts; see `prompt_vectors`.

        Args:
            model: Whose.
            listeners: For notices and downloads.
            progress: Told of prompts done, and of how many; where nobody listens, a notice says what
                takes long.

        Raises:
            ModelError: They are not in the cache, and the model cannot be had.
        """
        with self._lock:
            if self._prompts is None or self._prompts[0] != model.fingerprint:
                rows = prompt_vectors(
                    model, lambda: self.texts(model, listeners), progress or _patience(listeners)
                )
                self._prompts = model.fingerprint, rows
            return self._prompts[1]


def _patience(listeners: Listeners) -> Callable[[int, int], None]:
    """Tells what is going on once it has taken a second."""
    due = time.monotonic() + 1

    def told(_done: int, _total: int) -> None:
        nonlocal due
        if time.monotonic() > due:
            due = math.inf
            listeners.tell("preparing the model to tell how good matches are, this once")

    return told
