"""Draws training batches: pictures, captions, and which caption is true of which picture."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsearch.builtin.captions import Caption, Concept, Meaning, chance, choose_concept, concepts, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.builtin.dataset import Photos, Renders

SHARES: Final = {"tiny200": 68, "caltech101": 11, "grocery": 4, "clothing": 5}
"""How the photos of a batch are divided among the datasets."""


@dataclass(frozen=True)
class Batch:
    """Pictures with captions: `truth` is 1 for a true pair, 0 for a false one, -1 for unknown."""

    pixels: Tensor
    """uint8 (n, 3, h, w)."""
    is_photo: Tensor
    """bool (n,)."""
    classes: Tensor
    """int64 (n,): index of the class among all datasets' classes, -1 for renders."""
    texts: list[str]
    truth: Tensor
    """int8 (n, len(texts))."""
    concepts: Tensor
    """int64 (len(texts),): which concept a text names, -1 for a render's caption."""
    concept_truth: Tensor
    """int8 (n, number of concepts): the same truth for every concept there is."""


class Sampler:
    """An endless, seeded supply of batches; its state can be saved and restored.

    Each photo brings one concept, its class or a wider one; `extra` further ones are
    drawn evenly from all, so that every step sees many alternatives. Every concept is
    said once per batch, in words drawn anew: so the text tower costs little.
    """

    def __init__(
        self,
        photos: Sequence[Photos],
        renders: Renders,
        batch_size: int,
        extra: int,
        seed: int,
        *,
        painted: float,
    ) -> None:
        """Prepare the weights; photos of small classes are drawn more often than their share.

        `painted` is the share of each batch that is rendered.
        """
        self._photos = photos
        self._renders = renders
        self._extra = extra
        self._numpy = np.random.default_rng(seed)
        self._python = random.Random(seed)  # noqa: S311 - sampling, not secrets
        share = batch_size * (1 - painted) / sum(SHARES.values())
        counts = {p.dataset: round(share * SHARES[p.dataset]) for p in photos}
        self._counts = {**counts, "renders": batch_size - sum(counts.values())}
        self._pools = [np.flatnonzero(~p.validation) for p in photos]
        self._weights = [_balance(p.labels[pool]) for p, pool in zip(photos, self._pools, strict=True)]
        self._offsets = np.cumsum([0, *(len(p.classes) for p in photos)])
        self._wide = list(concepts().values())
        self._position = {concept.name: index for index, concept in enumerate(self._wide)}
        self._wide_claims = [Caption(c.name, frozenset({c.name})) for c in self._wide]

    @property
    def classes(self) -> int:
        """Number of classes over all datasets, for the auxiliary classifier."""
        return int(self._offsets[-1])

    def state(self) -> tuple[object, object]:
        """Return what `restore` needs to go on with exactly the same draws."""
        return self._numpy.bit_generator.state, self._python.getstate()

    def restore(self, state: tuple[object, object]) -> None:
        """Continue from a saved state."""
        self._numpy.bit_generator.state = state[0]  # type: ignore[assignment]
        self._python.setstate(state[1])  # type: ignore[arg-type]

    def draw(self) -> Batch:
        """Draw the next batch."""
        pixels: list[npt.NDArray[np.uint8]] = []
        classes: list[int] = []
        truths: list[tuple[frozenset[str], frozenset[str]]] = []
        captions: dict[str, Caption] = {}
        spoken: dict[str, Concept] = {}
        for photos, pool, weights, offset in zip(
            self._photos, self._pools, self._weights, self._offsets[:-1], strict=True
        ):
            chosen = self._numpy.choice(pool, self._counts[photos.dataset], p=weights)
            pixels.append(photos.pixels[chosen])
            for label in photos.labels[chosen]:
                meaning: Meaning = photos.meanings[label]
                classes.append(int(offset + label))
                truths.append((meaning.facts, meaning.maybes))
                concept = choose_concept(meaning, self._python)
                spoken[concept.name] = concept
        chosen = self._numpy.integers(len(self._renders.facts), size=self._counts["renders"])
        pixels.append(self._renders.pixels[chosen])
        for index in chosen:
            told = self._renders.telling[index]
            caption = told[0] if chance(self._python, 0.4) else self._python.choice(told)
            captions.setdefault(caption.text, caption)
            classes.append(-1)
            truths.append((self._renders.facts[index], frozenset()))
        for concept in self._python.sample(self._wide, self._extra):
            spoken[concept.name] = concept
        named = dict.fromkeys(captions, -1)
        for concept in spoken.values():
            caption = say(concept, self._python)
            captions.setdefault(caption.text, caption)
            named.setdefault(caption.text, self._position[concept.name])
        return Batch(
            pixels=torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2),
            is_photo=torch.tensor([index >= 0 for index in classes]),
            classes=torch.tensor(classes),
            texts=list(captions),
            truth=truth_of(truths, list(captions.values())),
            concepts=torch.tensor([named[text] for text in captions]),
            concept_truth=truth_of(truths, self._wide_claims),
        )


def truth_of(
    pictures: Sequence[tuple[frozenset[str], frozenset[str]]], captions: Sequence[Caption]
) -> Tensor:
    """Return int8 (pictures, captions): 1 true, 0 false, -1 unknown.

    A caption is true of a picture whose facts include all of its claims; unknown where
    the rest of its claims are left open.
    """
    rows: dict[tuple[frozenset[str], frozenset[str]], list[int]] = {}
    for facts, maybes in pictures:
        if (facts, maybes) not in rows:
            either = facts | maybes
            rows[facts, maybes] = [
                1 if c.claims <= facts else -1 if c.claims <= either else 0 for c in captions
            ]
    return torch.tensor([rows[picture] for picture in pictures], dtype=torch.int8)


def _balance(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    sizes = np.bincount(labels)
    weights = 1.0 / np.sqrt(sizes[labels])
    return np.asarray(weights / weights.sum(), np.float64)
