"""Texts that were embedded before are not embedded again, and have the same embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mean_color import MODEL, MeanColor

from clipsearch.encoders.remembered import _FEW, _KEPT, RememberingTexts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Heard(MeanColor):
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.texts: list[str] = []

    def encode(self, items: NDArray[np.uint8] | Sequence[str]) -> NDArray[np.float32]:
        self.texts += items
        return super().encode(items)


def test_a_text_is_embedded_once_and_the_last_ones_are_kept() -> None:
    heard = Heard()
    encoder = RememberingTexts(heard)
    plain = MeanColor()
    for texts in (["red", "blue"], ["blue", "red", "blue"], ["green", "red"]):
        assert np.array_equal(encoder.encode(texts), plain.encode(texts))
    assert heard.texts == ["red", "blue", "green"]
    for number in range(_KEPT):
        encoder.encode([f"grey {number}"])
    heard.texts.clear()
    encoder.encode(["red", f"grey {_KEPT - 1}"])
    assert heard.texts == ["red"], "the oldest was let go of"


def test_many_at_once_are_passed_on() -> None:
    heard = Heard()
    encoder = RememberingTexts(heard)
    texts = [f"red {number}" for number in range(_FEW + 1)]
    assert len(encoder.encode(texts)) == len(encoder.encode(texts)) == len(texts)
    assert heard.texts == texts * 2
