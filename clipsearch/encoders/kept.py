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


class KeptEncoder:
    """Opens an encoder when first asked and gives out the same one until it is let go of.

    Args:
        open_encoder: Loads the model of a source; see `open_image_encoder` for the errors.
    """

    def __init__(self, open_encoder: Callable[[ModelSource | None], ImageEncoder]) -> None:
        self._open = open_encoder
        self._held: tuple[ModelSource | None, ImageEncoder] | None = None
        self._asked = 0.0

    def open(self, source: ModelSource | None, _pictures: int) -> ImageEncoder:
        """The encoder of a model, opened to run fast however few pictures come first."""
        self._asked = time.monotonic()
        if self._held is None or self._held[0] != source:
            self._held = None  # before the next one: two at once need not fit into memory
            self._held = (source, self._open(source))
        return self._held[1]

    def rest(self) -> None:
        """Let go of the encoder when nobody has asked for it in a while."""
        if self._held is not None and time.monotonic() - self._asked > IDLE_S:
            self._held = None
            gc.collect()  # what torch built may refer to itself
