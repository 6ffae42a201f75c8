"""`clipsearch` as a program for tests of faults: the real command, with a tiny encoder and small bounds.

    python tests/program.py index FOLDER --library DIR

With `--model builtin` the encoder is the real one, with `--model FOLDER` another tiny one. `EMBEDDED` names a
file that grows by a byte for every picture given to it, before it is embedded: what a killed run has done and
lost can be measured.
"""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from mean_color import COLORS, MODEL, MeanColor, unit

from clipsearch import changes, index_run, optimizing, vector_files, watching
from clipsearch.encoders import shared
from clipsearch.encoders.registry import DIR_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clipsearch.types import Model, ModelSource

EMBEDDED = "CLIPSEARCH_TEST_EMBEDDED"
# Vector files are named by the run's number: a fault can be aimed at one that does not exist yet.
RUN = "CLIPSEARCH_TEST_RUN"
SEGMENT = 200  # vectors


class AnyWords(MeanColor):
    """Understands every text, though only colours rightly."""

    def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
        if isinstance(items, np.ndarray):
            return super().encode(items)
        return np.concatenate([self._word(text) for text in items])

    def _word(self, text: str) -> NDArray[np.float32]:
        if any(word in COLORS for word in text.split()):
            return super().encode([text])
        return unit(np.random.default_rng(zlib.crc32(text.encode())).random((1, 3)))


class Other(AnyWords):
    """Another model than that: other embeddings, and pictures of another size. Its name is a `local-dir:`."""

    def __init__(self, source: ModelSource, batch_size: int = 4) -> None:
        size = replace(MODEL.preprocessing, size=(4, 4))
        model = replace(MODEL, source=source, fingerprint="c0106", preprocessing=size)
        super().__init__(model, batch_size)

    def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
        return unit(super().encode(items)[:, ::-1] ** 2)


class Counted:
    """An encoder whose pictures are counted."""

    def __init__(self, encoder: Any) -> None:
        self.model = encoder.model
        self.batch_size = encoder.batch_size
        self._encoder = encoder

    def encode(self, items: NDArray[np.uint8]) -> NDArray[np.float32]:
        if path := os.environ.get(EMBEDDED):
            with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered, appended: survives a kill
                file.write(b"." * len(items))
        rows: NDArray[np.float32] = self._encoder.encode(items)
        return rows


def install(put: Callable[[object, str, object], None] = setattr) -> None:
    """Put the tiny encoder and the small bounds in place."""
    real, real_text = index_run.open_image_encoder, shared.open_text_encoder
    runs = count(1)

    def open_image_encoder(source: Any, *, batch_size: int | None = None, **options: Any) -> Counted:
        if source.name == "builtin":
            return Counted(real(source, batch_size=batch_size, **options))
        if source.name.startswith(DIR_PREFIX):
            return Counted(Other(source, batch_size or 4))
        return Counted(AnyWords(batch_size=batch_size or 4))

    def open_text_encoder(model: Model, **options: Any) -> Any:
        if model.source.name.startswith(DIR_PREFIX):
            return Other(model.source)
        return real_text(model, **options) if model.source.name == "builtin" else AnyWords(model)

    put(index_run, "open_image_encoder", open_image_encoder)
    put(shared, "open_image_encoder", open_image_encoder)
    put(shared, "open_text_encoder", open_text_encoder)
    put(vector_files, "MIN_TAIL", 20)
    put(vector_files, "SEGMENT", SEGMENT * 2 * 3)
    put(watching, "QUIET_S", 0.3)
    put(watching, "_FOLLOW_S", 0.3)
    put(changes, "_LOOK_S", 0.3)
    put(changes, "POLL_S", 1.0)
    put(optimizing, "WORTH", 50)
    put(optimizing, "LEAST", 50)
    if run := os.environ.get(RUN):
        put(vector_files.secrets, "token_hex", lambda *_: f"{run}-{next(runs)}")


if __name__ == "__main__":
    from clipsearch.cli import main

    install()
    sys.exit(main())
