"""How good a model is on one's own photos: retrieval by captions both ways, zero-shot accuracy, speed.

Recall is that of CLIP_benchmark and the papers on CLIP-like models: a query counts as answered when at least
one right answer is among the first k, though a photo may have several captions
(`clip_benchmark/metrics/zeroshot_retrieval.py`, the comment in `evaluate`). Accuracy, top-5 and the mean over
classes are those of `clip_benchmark/metrics/zeroshot_classification.py`.
https://github.com/LAION-AI/CLIP_benchmark
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import zeroshot
from clipsearch.errors import PhotoError, UsageError
from clipsearch.pairs_file import CAPTIONS, LABELS, PairsFile, open_text
from clipsearch.photos.scan import FoundFile, scan
from clipsearch.roots import absolute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.embedder import Embedder
    from clipsearch.types import Listeners

    # What is being done, of what, how many so far, of how many.
    Progress = Callable[[str, str, int, int], None]

TOP = 5
# Scores held at a time: 64 MB.
_BLOCK = 1 << 24
_REASONS = 3  # told in words; the rest are counted


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well one side finds the other.

    Attributes:
        queries: How many were asked.
        candidates: How many could answer each.
        recall_1: Share of queries whose best answer is right.
        recall_5: Share with a right answer among the first five.
        recall_10: Share with one among the first ten.
        mrr: Mean of 1 / rank of the first right answer (mean reciprocal rank).
    """

    queries: int
    candidates: int
    recall_1: float
    recall_5: float
    recall_10: float
    mrr: float


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """How well labels alone sort photos.

    Attributes:
        photos: With a label.
        labels: To choose from.
        top_1: Share of photos whose best label is right.
        top_5: Share with the right one among the first five; None where there are no more than five.
        per_class: Mean over the labels of the share of its photos whose best label is right.
    """

    photos: int
    labels: int
    top_1: float
    top_5: float | None
    per_class: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of a model.

    Attributes:
        model: Its canonical name.
        photos: Different photos that were asked for, and could be read.
        photos_per_second: Read, decoded and embedded; None where stored embeddings were used.
        text_to_photo: Captions as queries; None where there were none.
        photo_to_text: Photos as queries.
        zero_shot: None where there were no labels.
    """

    model: str
    photos: int
    photos_per_second: float | None
    text_to_photo: Retrieval | None
    photo_to_text: Retrieval | None
    zero_shot: ZeroShot | None


Pairs = list[tuple["Path", str]]


def read_captions(file: Path, listeners: Listeners) -> Pairs:
    """Photos with their captions; rows without either are counted in a notice.

    Raises:
        UsageError: The file cannot be read, or has none.
    """
    return _read(file, CAPTIONS, "caption", listeners)


def read_labels(source: Path, listeners: Listeners) -> Pairs:
    """Photos with their labels: those in a folder for each label, or in a table of photos with labels.

    In the name of a folder, `_` stands for a blank.

    Raises:
        UsageError: It cannot be read, or has fewer than two labels.
    """
    source = absolute(source)
    pairs = (
        _sorted_photos(source, listeners) if source.is_dir() else _read(source, LABELS, "label", listeners)
    )
    if len({label for _, label in pairs}) < 2:  # noqa: PLR2004 - a choice
        raise UsageError(
            f"fewer than two labels in {source}", "make a folder for each label, with its photos"
        )
    return pairs


def _read(file: Path, names: Sequence[str], what: str, listeners: Listeners) -> Pairs:
    with open_text(file) as stream:
        rows = list(PairsFile(stream, str(file), absolute(file).parent, names))
    pairs = [(row.path, row.text) for row in rows if not row.lack]
    if not pairs:
        raise UsageError(f"no row with a photo and a {what} in {file}", f"write one a line: photo,{what}")
    if len(pairs) < len(rows):
        missing = len(rows) - len(pairs)
        reasons = Counter(row.lack for row in rows if row.lack)
        told = ", ".join(f"{lack} ({number:,})" for lack, number in reasons.most_common(_REASONS))
        listeners.tell(f"{missing:,} of {len(rows):,} rows left out: {told}")
    return pairs


def _sorted_photos(folder: Path, listeners: Listeners) -> Pairs:
    pairs: Pairs = []
    loose = 0
    for item in scan(folder):
        if isinstance(item, FoundFile):
            label, slash, _ = os.fsdecode(item.path).partition("/")
            loose += not slash
            if slash:
                pairs.append((folder / os.fsdecode(item.path), label.replace("_", " ").strip()))
    if loose:
        listeners.tell(f"{loose:,} photos lie in no folder of {folder}, and so have no label: left out")
    return pairs


def evaluate(
    embedder: Embedder,
    captions: Pairs,
    labelled: Pairs,
    *,
    templates: Sequence[str],
    listeners: Listeners,
    progress: Progress,
) -> Evaluation:
    """Measure a model.

    Args:
        embedder: Of the model.
        captions: Photos with captions; may be empty.
        labelled: Photos with labels; may be empty.
        templates: Prompts around a label.
        listeners: Told of photos that cannot be read.
        progress: Told how far it is.

    Raises:
        PhotoError: None of the photos can be read.
    """
    wanted = list(dict.fromkeys(path for path, _ in [*captions, *labelled]))
    vectors: dict[Path, NDArray[np.float32]] = {}
    refused: dict[Path, str] = {}
    for done, one in enumerate(embedder.pictures(wanted)):
        progress("embedding", "photos", done, len(wanted))
        if one.vector is None:
            refused[one.path] = one.reason
        else:
            vectors[one.path] = one.vector
    _tell(refused, len(wanted), listeners)
    if not vectors:
        raise PhotoError("none of these photos could be read", "the line above says why")
    by_text, by_photo = _retrieval(embedder, captions, vectors, progress)
    measured = embedder.embedded == len(vectors) and embedder.seconds > 0
    return Evaluation(
        model=str(embedder.model.source),
        photos=len(vectors),
        photos_per_second=len(vectors) / embedder.seconds if measured else None,
        text_to_photo=by_text,
        photo_to_text=by_photo,
        zero_shot=_zero_shot(embedder, labelled, vectors, templates),
    )


def _tell(refused: Mapping[Path, str], wanted: int, listeners: Listeners) -> None:
    if refused:
        told = [f"{path} ({reason})" for path, reason in list(refused.items())[:_REASONS]]
        more = f" and {len(refused) - _REASONS:,} more" if len(refused) > _REASONS else ""
        listeners.tell(f"{len(refused):,} of {wanted:,} photos left out: {', '.join(told)}{more}")


def _retrieval(
    embedder: Embedder, captions: Pairs, vectors: Mapping[Path, NDArray[np.float32]], progress: Progress
) -> tuple[Retrieval, Retrieval] | tuple[None, None]:
    held = [(path, text) for path, text in captions if path in vectors]
    if not held:
        return None, None
    numbers = {path: number for number, path in enumerate(dict.fromkeys(path for path, _ in held))}
    owners = np.array([numbers[path] for path, _ in held])
    photos = np.stack([vectors[path] for path in numbers])
    texts = embedder.texts(
        [text for _, text in held], lambda done, total: progress("reading captions", "captions", done, total)
    )
    own = np.arange(len(photos))
    return (
        retrieval(first_ranks(texts, owners, photos, own), len(photos)),
        retrieval(first_ranks(photos, own, texts, owners), len(texts)),
    )


def first_ranks(
    queries: NDArray[np.float32],
    asked: NDArray[np.int64],
    candidates: NDArray[np.float32],
    owners: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The rank, from 1, of the first right answer to each query; of equal scores, the earlier comes first.

    Args:
        queries: `(n, dim)` unit rows.
        asked: `(n,)`: what each is about.
        candidates: `(m, dim)` unit rows.
        owners: `(m,)`: what each is about; right where it is the same, and every query has one such.
    """
    ranks = [np.empty(0, np.int64)]
    step = max(1, _BLOCK // max(1, len(candidates)))
    places = np.arange(len(candidates))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ candidates.T
        right = np.where(asked[start : start + step, None] == owners, scores, -np.inf)
        place = right.argmax(axis=1)[:, None]
        best = np.take_along_axis(scores, place, axis=1)
        ranks.append(1 + (scores > best).sum(axis=1) + ((scores == best) & (places < place)).sum(axis=1))
    return np.concatenate(ranks)


def retrieval(ranks: NDArray[np.int64], candidates: int) -> Retrieval:
    """Recall and mean reciprocal rank from the ranks of first right answers."""
    share = {k: float((ranks <= k).mean()) for k in (1, 5, 10)}
    return Retrieval(len(ranks), candidates, share[1], share[5], share[10], float((1 / ranks).mean()))


def _zero_shot(
    embedder: Embedder,
    labelled: Pairs,
    vectors: Mapping[Path, NDArray[np.float32]],
    templates: Sequence[str],
) -> ZeroShot | None:
    held = [(path, label) for path, label in labelled if path in vectors]
    if not held:
        return None
    labels = sorted({label for _, label in labelled})
    numbers = {label: number for number, label in enumerate(labels)}
    classes = zeroshot.label_vectors(labels, templates, embedder.text_encoder())
    photos = np.stack([vectors[path] for path, _ in held])
    truth = np.array([numbers[label] for _, label in held])
    return zero_shot(first_ranks(photos, truth, classes, np.arange(len(labels))), truth, len(labels))


def zero_shot(ranks: NDArray[np.int64], truth: NDArray[np.int64], labels: int) -> ZeroShot:
    """Accuracy from the rank of each photo's own label.

    Args:
        ranks: `(n,)` from 1.
        truth: `(n,)` numbers of the labels.
        labels: How many there are to choose from.
    """
    per_class = [float((ranks[truth == label] == 1).mean()) for label in np.unique(truth)]
    return ZeroShot(
        photos=len(ranks),
        labels=labels,
        top_1=float((ranks == 1).mean()),
        top_5=float((ranks <= TOP).mean()) if labels > TOP else None,
        per_class=float(np.mean(per_class)),
    )
