"""Tags: which words of a vocabulary fit a photo well enough to be said of it.

A cosine alone says nothing of that: it is as high for a word that the model hardly knows as for one that is
right. What counts is whether a word beats the others. The words are put through the model's own softmax
(`logit_scale * cosine`, as in CLIP, Radford et al. 2021), but each only against those that mean something
else: `beach`, `sea` and `coast` are no rivals, and do not take each other's share. A tag is a word that is
more probable than all of its rivals together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import zeroshot
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clipsearch.encoders import TextEncoder

BUILTIN = "builtin"
"""Names the vocabulary that comes with clipsearch."""
LIKELY = 0.5
"""How probable a word must be against its rivals to be a tag: more than they are together."""
MOST = 5
"""Tags a photo, at most."""
# Two words mean the same, or one thing and its kind, when the cosine of their vectors is at least this, after
# the mean of all words is taken away (texts of CLIP lie in a narrow cone: Liang et al. 2022). Measured, with
# LIKELY and the others of docs/tags.md, on labelled photos.
_NEAR = 0.5
# A word is unknown to a model that cannot tell it from so many others: the cosine of their vectors is above
# this. A small model has one place for all words that it never met.
_SAME = 0.95
_SAME_WORDS = 20
_BATCH = 64  # words encoded at a time


def builtin_vocabulary() -> tuple[str, ...]:
    """The words that come with clipsearch."""
    return _words(Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8"))


def read_vocabulary(file: Path) -> tuple[str, ...]:
    """Words from a file: one a line; a line that begins with # is a comment.

    Raises:
        UsageError: It cannot be read, has no words or the same one twice, or one that is no text.
    """
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the words in {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the words in {file} are not UTF-8 text", "save it as UTF-8, a word a line"
        ) from error
    words = _words(text)
    if not words:
        raise UsageError(f"no words in {file}", "write one a line")
    known: set[str] = set()
    for word in words:
        if not word.isprintable():
            raise UsageError(f"a control character in {word!r} in {file}", "take it out: one word a line")
        if word.casefold() in known:
            raise UsageError(f"twice in {file}: {word!r}", "name each word once")
        known.add(word.casefold())
    return words


def _words(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.split("\n"))
    return tuple(line for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True, slots=True)
class Tagger:
    """Words with their vectors, ready to be held against photos.

    Attributes:
        labels: Words that may become tags.
        unknown: Words that might have, but mean nothing to the model.
        vectors: `(words, dim)` float32 unit rows: the labels first, then words that are rivals only.
        rivals: `(words, labels)` float32, 1 where a word means something else than a label.
        parts: Positions of labels that name a thing by two words (`flower pot`) and of the label that one
            of these is: the whole must fit better than its part.
        scale: The model's `logit_scale`.
    """

    labels: tuple[str, ...]
    unknown: int
    vectors: NDArray[np.float32]
    rivals: NDArray[np.float32]
    parts: tuple[tuple[int, int], ...]
    scale: float

    def choose(
        self, rows: NDArray[np.float32], *, likely: float = LIKELY, most: int = MOST
    ) -> list[list[tuple[str, float]]]:
        """The tags of each photo with their probabilities, the surest first.

        Args:
            rows: `(n, dim)` unit embeddings; a few thousand at a time, for the memory's sake.
            likely: The least probability of a tag.
            most: Tags a photo.
        """
        if not self.labels:
            return [[] for _ in rows]
        cosines = rows @ self.vectors.T
        own = cosines[:, : len(self.labels)]
        odds = np.exp(self.scale * (cosines - cosines.max(axis=1, keepdims=True)))
        against = odds @ self.rivals
        mine = odds[:, : len(self.labels)]
        with np.errstate(invalid="ignore"):  # 0 / 0: far from everything else
            probabilities = np.nan_to_num(mine / (mine + against))
        fits = probabilities > likely
        for whole, part in self.parts:
            fits[:, whole] &= own[:, whole] > own[:, part]
        chosen: list[list[tuple[str, float]]] = [[] for _ in rows]
        photos, words = np.nonzero(fits)
        surest = np.lexsort((words, -probabilities[photos, words], photos))
        for photo, word in zip(photos[surest].tolist(), words[surest].tolist(), strict=True):
            if len(chosen[photo]) < most:
                chosen[photo].append((self.labels[word], float(probabilities[photo, word])))
        return chosen


def tagger(
    labels: Sequence[str],
    encoder: TextEncoder,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Tagger:
    """Encode words, and find out which of them are rivals.

    The built-in words are rivals in any case: with three words of the user's own, a photo that shows none
    of them must not get the least unlikely.

    Args:
        labels: Words that may become tags.
        encoder: Of the library's model.
        progress: Told of words encoded, and of how many.
    """
    own = tuple(labels)
    folded = {label.casefold() for label in own}
    words = own + tuple(word for word in builtin_vocabulary() if word.casefold() not in folded)
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(words), _BATCH):
        progress(start, len(words))
        parts.append(
            zeroshot.label_vectors(words[start : start + _BATCH], zeroshot.DEFAULT_TEMPLATES, encoder)
        )
    vectors = np.concatenate(parts)
    known = (vectors @ vectors.T > _SAME).sum(axis=1) <= _SAME_WORDS
    labels = tuple(label for label, is_known in zip(own, known.tolist(), strict=False) if is_known)
    vectors = vectors[known]
    apart = vectors - vectors.sum(axis=0) / max(len(vectors), 1)  # the model may know none of them
    apart /= np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-6)
    rivals = (apart @ apart[: len(labels)].T < _NEAR).astype(np.float32)
    return Tagger(labels, len(own) - len(labels), vectors, rivals, _parts(labels), encoder.model.logit_scale)


def _parts(labels: Sequence[str]) -> tuple[tuple[int, int], ...]:
    places = {label.casefold(): place for place, label in enumerate(labels)}
    found: list[tuple[int, int]] = []
    for label, place in places.items():
        words = label.replace("-", " ").split()
        for word in words if len(words) > 1 else ():
            found += [(place, places[form]) for form in (word, f"{word}s") if form in places]
    return tuple(found)
