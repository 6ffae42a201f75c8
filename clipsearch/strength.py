"""How good is a match? A query against generic prompts, on the photo itself.

A cosine says little: what is high for one model, query or photo is low for another. So each photo is also
held against some six hundred generic prompts ("dog", "kitchen", "sunset", ...). A query that is about the
photo fits it better than the best of those; any other does not. With q and p the cosines of the query and of
the prompts with the photo:

    margin = (q - mean of the 5 highest p) / standard deviation of all p

This is test normalization of scores (Auckenthaler, Carey and Lloyd-Thomas 2000) against the nearest cohort
(as in adaptive symmetric normalization, Matejka et al. 2017), both from speaker verification. It asks nothing
of the rest of the library, so that it holds for a single photo, a filtered part or a library of one theme
alike, and the spread of the prompts takes the scale of the model out. `benchmarks.strength` compares it with
other rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.types import Strength, Term

# Among the first ten answers to queries of one word or two, as many right ones lie above this as wrong ones
# below (benchmarks.strength).
FAIR = 0.25
# Of the answers to everyday queries above this, nine of ten are right there; of those to labels, five of six.
STRONG = 0.6
# The same picture in other bytes, or nearly: of 47 pairs of those photos above this, 46 show the same thing.
SAME = 0.95
_BEST = 5
_BLOCK = 4096
_FEW = 128
_LEAST = 1e-6  # no length or spread is divided by less


class Gauge:
    """Says how good a match of one query is.

    A picture in the query counts as the generic prompt that fits it best. A query of several terms is held
    against generic prompts that are put together in the same way, so that subtracting, which lowers every
    cosine, lowers theirs as well.

    Args:
        terms: The query's.
        rows: `(terms, dim)` float32, their unit embeddings.
        prompts: `(prompts, dim)` float32, those of the generic prompts.
    """

    def __init__(
        self, terms: Sequence[Term], rows: NDArray[np.float32], prompts: NDArray[np.float32]
    ) -> None:
        words = [
            row if term.kind == "text" else prompts[np.argmax(np.vecdot(prompts, row))]
            for term, row in zip(terms, rows, strict=True)
        ]
        weights = np.array([term.weight for term in terms], np.float32)
        self._query = _units((weights @ np.stack(words))[None])[0]
        # The first term's prompts in order, those of the others shuffled: chance meets chance.
        chance = np.sign(weights[0]) * prompts
        if len(terms) > 1:
            chance = weights[0] * prompts
            for number, weight in enumerate(weights[1:].tolist(), 1):
                chance += weight * prompts[np.random.default_rng(number).permutation(len(prompts))]
            chance = _units(chance)
        self._chance = chance
        alone = len(terms) == 1 and terms[0].kind != "text" and terms[0].weight > 0
        self._picture = rows[0] if alone else None

    def margins(self, photos: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much better than chance the query fits each photo, in standard deviations.

        Args:
            photos: `(n, dim)` unit rows.

        Returns:
            `(n,)` float32.
        """
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(photos), _BLOCK):
            block = photos[start : start + _BLOCK]
            chance = _cosines(block, self._chance)
            best = np.partition(chance, -_BEST, axis=1)[:, -_BEST:].mean(axis=1)
            parts.append((np.vecdot(block, self._query) - best) / np.maximum(chance.std(axis=1), _LEAST))
        return np.concatenate(parts)

    def rate(self, photos: NDArray[np.float32]) -> list[tuple[Strength, float]]:
        """Strength and margin of each photo.

        Strong from a margin of `STRONG` on, fair from `FAIR` on, else weak: no better than chance. When the
        query is one picture, a photo with a cosine of at least `SAME` is strong in any case.

        Args:
            photos: `(n, dim)` unit rows.
        """
        margins = self.margins(photos)
        is_same = (
            np.zeros(len(photos), bool) if self._picture is None else np.vecdot(photos, self._picture) >= SAME
        )
        is_strong = is_same | (margins >= STRONG)
        return [
            ("strong" if strong else "fair" if margin >= FAIR else "weak", margin)
            for margin, strong in zip(margins.tolist(), is_strong.tolist(), strict=True)
        ]


def _cosines(photos: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(photos, texts)`.

    A product of matrices wakes the threads of BLAS, which go on spinning for 100 ms: on two cores whatever
    comes next takes twice as long. A product for each pair wakes none: fifty photos by 610 prompts of 512
    dimensions take 1.7 ms instead of 0.5.
    """
    if len(photos) > _FEW:
        return photos @ texts.T
    cosines: NDArray[np.float32] = np.vecdot(photos[:, None], texts[None])
    return cosines


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST)
    units: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return units
