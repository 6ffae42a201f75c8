"""A text encoder that remembers: who pages through results or changes a filter asks the same words again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.encoders import TextEncoder

_KEPT = 512  # texts: 2 MB at most
_FEW = 64  # what comes in larger numbers, a vocabulary say, is not asked again


class RememberingTexts:
    """Another encoder's embeddings, those of the last texts from memory. Threads may share it.

    Args:
        encoder: What embeds texts that are new.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.model = encoder.model
        self._encoder = encoder
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `TextEncoder.encode`."""
        if not 0 < len(texts) <= _FEW:
            return self._encoder.encode(texts)
        with self._lock:
            rows = {text: self._rows[text] for text in texts if text in self._rows}
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        if new:
            rows |= zip(new, self._encoder.encode(new), strict=True)
        with self._lock:
            for text in texts:
                self._rows[text] = rows[text]
                self._rows.move_to_end(text)
            while len(self._rows) > _KEPT:
                self._rows.popitem(last=False)
        return np.stack([rows[text] for text in texts])
