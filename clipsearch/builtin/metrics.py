"""What the built-in model is measured by; any encoder pair can be put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipsearch.builtin.captions import concepts, zero_shot_phrases
from clipsearch.builtin.classes import concepts_of

if TYPE_CHECKING:
    from clipsearch.builtin.dataset import Photos

Floats = npt.NDArray[np.float32]
TextEncoder = Callable[[Sequence[str]], Floats]
"""Texts to (n, dim) float32 unit rows."""
PixelEncoder = Callable[[npt.NDArray[np.uint8]], Floats]
"""(n, side, side, 3) uint8 pixels to (n, dim) float32 unit rows."""


@dataclass(frozen=True)
class ZeroShot:
    """How well class names alone sort the photos of a validation split."""

    top1: float
    top5: float
    precision_at_10: float
    """Share of right photos among the first ten for a class's name, averaged over classes."""


def class_vectors(photos: Photos, encode: TextEncoder) -> Floats:
    """Return one unit row per class: the mean over the class's few fixed prompts."""
    rows = []
    for label in photos.classes:
        concept = concepts()[concepts_of(photos.dataset, label)[0]]
        row = encode(zero_shot_phrases(concept)).mean(0)
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def zero_shot(vectors: Floats, labels: npt.NDArray[np.int64], classes: Floats) -> ZeroShot:
    """Score photo vectors (n, dim) with labels (n,) against class vectors (classes, dim)."""
    scores = vectors @ classes.T
    ranked = np.argsort(-scores, axis=1)[:, :5]
    hits = ranked == labels[:, None]
    found = np.argsort(-scores, axis=0)[:10]
    precision = (labels[found] == np.arange(len(classes))).mean()
    return ZeroShot(float(hits[:, 0].mean()), float(hits.any(1).mean()), float(precision))


def recall_at_1(texts: Floats, images: Floats) -> float:
    """Return the share of texts whose own image (same row) has the highest score."""
    return float(((texts @ images.T).argmax(1) == np.arange(len(texts))).mean())
