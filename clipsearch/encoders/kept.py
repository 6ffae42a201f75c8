"""An image encoder kept open between index runs, for a program that goes on running."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from clipsearch.encoders import ImageEncoder
    from clipsearch.types import ModelSource

# A model takes hundreds of megabytes and is loaded in tenths of a second, at worst in some: what is worth
# keeping between the photos of one import is not worth keeping overnight.
IDLE_S = 300.0
# From this many on, a model that was opened for a few is opened anew: it may be prepared to run faster.
_MANY = 500


class KeptEncoder:
    """Opens an encoder when first asked and gives out the same one until it is let go of.

    Args:
        open_encoder: Loads the model of a source, for about so many pictures.
    """

    def __init__(self, open_encoder: Callable[[ModelSource | None, int], ImageEncoder]) -> None:
        self._open = open_encoder
        self._held: tuple[ModelSource | None, int, ImageEncoder] | None = None
        self._asked = 0.0

    def open(self, source: ModelSource | None, pictures: int) -> ImageEncoder:
        """The encoder of a model, for about so many pictures; see `open_image_encoder` for the errors."""
        self._asked = time.monotonic()
        if self._held is not None:
            held, prepared_for, encoder = self._held
            if held == source and not prepared_for < _MANY <= pictures:
                return encoder
            self._held = None  # before the next one: two at once need not fit into memory
        encoder = self._open(source, pictures)
        self._held = (source, pictures, encoder)
        return encoder

    def rest(self) -> None:
        """Let go of the encoder when nobody has asked for it in a while."""
        if self._held is not None and time.monotonic() - self._asked > IDLE_S:
            self._held = None
            gc.collect()  # what torch built may refer to itself
