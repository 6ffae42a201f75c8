"""Pictures that were uploaded to search by: what is kept of them is their embedding."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from clipsearch.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.library import Library
    from clipsearch.types import Model

_KEPT = 256
_DIGITS = 32


class Uploads:
    """The last pictures, in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, tuple[str, NDArray[np.float32]]] = OrderedDict()

    def add(self, library: Library, picture: bytes) -> str:
        """Embed a picture and remember it; the same bytes have the same key.

        Raises:
            PhotoError: It cannot be read.
        """
        key = hashlib.sha256(picture).hexdigest()[:_DIGITS]
        fingerprint = library.model().fingerprint
        vector = library.embed(picture)
        with self._lock:
            self._vectors[key] = fingerprint, vector
            self._vectors.move_to_end(key)
            while len(self._vectors) > _KEPT:
                self._vectors.popitem(last=False)
        return key

    def vector(self, key: str, model: Model) -> NDArray[np.float32]:
        """The embedding of a picture under a model.

        Raises:
            UsageError: It is no longer remembered, or was embedded by another model.
        """
        with self._lock:
            fingerprint, vector = self._vectors.get(key, (None, None))
            if vector is None or fingerprint != model.fingerprint:
                raise UsageError("this picture is not remembered any more", "upload it again")
            self._vectors.move_to_end(key)
            return vector
