"""How well the strength of a match tells right answers from wrong ones, beside other rules.

python -m benchmarks.strength ../shared/photos

The built-in model is asked about photos whose labels and captions are known: for everyday things (queries of
`clipsearch.builtin.everyday`), for each label by its name, for things that no photo shows, and by example.
A rule gives each photo a number; what is at or above a line counts as a match. The first table gives each
rule the line at which it is right on as many right answers as on wrong ones, the second takes ours as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from clipsearch import Library
from clipsearch.builtin.everyday import QUERIES, is_right, read_photos
from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.scope import Scope
from clipsearch.encoders import open_text_encoder
from clipsearch.encoders.prompts import prompt_vectors
from clipsearch.strength import FAIR, STRONG, Gauge
from clipsearch.types import Term

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from clipsearch.builtin.everyday import Photo

    Floats = NDArray[np.float32]
    Flags = NDArray[np.bool_]

_FIRST = 10  # answers that a user sees
_EXAMPLES = 250
_WIDTH = 132  # as other benchmarks
_SCALE = 20.9  # of the built-in model's cosines before softmax
# Labels that show the same; the first of a line is asked for.
_KIN = """
Faces, Faces easy
crocodile, crocodile head
flamingo, flamingo head
cougar body, cougar face
chair, windsor chair, wheelchair
Milk, Oat Milk, Soy Milk, Sour Milk
Yoghurt, Soyghurt
Orange, Satsumas
ketch, schooner
lotus, water lilly
lobster, crayfish
"""
# Labels that share their things with others, or mean nothing alone.
_UNASKED = {
    "Shirt",
    "Body",
    "Polo",
    "Blouse",
    "Outwear",
    "Undershirt",
    "Longsleeve",
    "Sour Cream",
    "lamp",
    "bass",
}
_SPOKEN = {
    "Faces": "a face",
    "Leopards": "a leopard",
    "Motorbikes": "a motorbike",
    "airplanes": "an airplane",
    "car side": "a car",
    "cougar body": "a cougar",
    "Pants": "pants",
    "Shoes": "shoes",
    "Shorts": "shorts",
    "scissors": "scissors",
    "ketch": "a sailboat",
    "ewer": "a jug",
    "binocular": "binoculars",
    "headphone": "headphones",
    "hawksbill": "a sea turtle",
    "cellphone": "a mobile phone",
    "Red Beet": "beetroot",
    "gerenuk": "a gazelle",
}
_ABSENT = """
giraffe, waterfall, snowman, tractor, submarine, fireworks, rainbow, penguin, volcano, zebra, monkey, snake,
shark, rocket, telescope, microscope, robot, windmill, lighthouse, igloo, candle, broom, refrigerator,
volleyball, skiing, sushi, ladder, key, globe, sofa, fireplace, train, tram, ambulance, excavator, jellyfish,
owl, peacock, swan, cow, sheep, goat, pig, camel, koala, squirrel, rabbit, frog, bee, snail, escalator,
elevator, cathedral, graveyard, wedding, golf
"""
_UNCOUNTED = {"fireworks", "skiing", "sushi", "golf"}


@dataclass(frozen=True)
class Questions:
    """Queries of one kind with the truth about every photo.

    Attributes:
        kind: What they are.
        terms: A query each.
        rows: `(queries, dim)`, their embeddings.
        right: `(queries, photos)`, which photos answer.
        judged: `(queries, photos)`, which photos the truth is known of.
    """

    kind: str
    terms: Sequence[Term]
    rows: Floats
    right: Flags
    judged: Flags


@dataclass(frozen=True)
class Judgement:
    """What a line does with the answers to some queries: shares from 0 to 1.

    Attributes:
        right_above: Of the right answers among the first ten.
        wrong_below: Of the wrong ones among them.
        precision: Of what is above, how much is right.
        all_right_above: As the first, of the whole collection.
        all_wrong_below: As the second, likewise.
        silent: Queries with nothing above the line among their first ten.
    """

    right_above: float
    wrong_below: float
    precision: float
    all_right_above: float
    all_wrong_below: float
    silent: float


def main() -> int:
    """Measure and print; returns the exit code."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("photos", type=Path, help="folder with labels.tsv and captions.tsv")
    folder = made.parse_args().photos.resolve()
    photos = read_photos(folder)
    with tempfile.TemporaryDirectory() as place:
        with Library.open(Path(place)) as library:
            library.index([folder], model="builtin")
        with Catalog(Path(place)) as catalog:
            known = catalog.current_model()
            assert known is not None  # noqa: S101 - just indexed
            key, model = known
            vectors = _in_order(catalog, key, folder, photos)
    encoder = open_text_encoder(model)
    prompts = prompt_vectors(model, lambda: encoder)
    spoken = _texts(photos, encoder.encode)
    shown = _examples(photos, vectors)

    console = Console(width=_WIDTH)
    rules = _rules(vectors, prompts)
    table = _table(
        "Rules, each at its own best line; texts, first ten", "rule", "line", "absent: below", "nothing"
    )
    for name, rule in rules.items():
        values = [rule(one) for one in spoken]
        line = _balanced(spoken, values, vectors)
        seen = _judged(spoken, values, vectors, line)
        absent = _judged(spoken[2:], values[2:], vectors, line)
        _row(table, name, seen, f"{line:.3f}", absent.wrong_below, absent.silent)
    console.print(table)

    ours = rules["margin"]
    table = _table(f"The margin: fair from {FAIR} on, strong from {STRONG} on; first ten", "queries", "line")
    for kind in ([one] for one in (*spoken, shown)):
        values = [ours(one) for one in kind]
        for line in (FAIR, STRONG):
            _row(table, kind[0].kind, _judged(kind, values, vectors, line), f"{line}")
    console.print(table)

    chosen_by = spoken[1:2]
    line = _balanced(chosen_by, [ours(one) for one in chosen_by], vectors)
    others = [spoken[0], spoken[2]]
    check = _judged(others, [ours(one) for one in others], vectors, line)
    console.print(
        f"A line chosen by labels alone, {line:.2f}, leaves {check.right_above:.1%} of the right answers to"
        f" the other texts above it and {check.wrong_below:.1%} of the wrong ones below."
    )
    whole = _judged(spoken, [ours(one) for one in spoken], vectors, FAIR)
    console.print(
        f"Of the whole collection, not the first ten alone: {whole.all_right_above:.1%} of the right photos"
        f" are above {FAIR}, {whole.all_wrong_below:.2%} of the wrong ones below."
    )
    started = time.perf_counter()
    for term, row in zip(spoken[0].terms, spoken[0].rows, strict=True):
        Gauge([term], row[None], prompts).rate(vectors[:_FIRST])
    each = (time.perf_counter() - started) / len(spoken[0].terms)
    console.print(f"Rating ten answers takes {each * 1e3:.1f} ms a query.")
    for line_ in machine():
        console.print(line_, style="dim", highlight=False)
    target = 0.8
    return int(whole.right_above < target or whole.wrong_below < target)


def _in_order(catalog: Catalog, key: int, folder: Path, photos: Sequence[Photo]) -> Floats:
    """`(photos, dim)` unit rows, in the order of the collection's list."""
    contents = catalog.contents(Scope())
    held = catalog.photos(contents.tolist(), Scope())
    at = {photo.path: content for content, copies in held.items() for photo in copies}
    stored = [catalog.vector(at[folder / photo.file], key) for photo in photos]
    rows = np.stack([row for row in stored if row is not None]).astype(np.float32)
    units: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _with_article(thing: str) -> str:
    return thing if thing in _UNCOUNTED else f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _texts(photos: Sequence[Photo], encode: Callable[[Sequence[str]], Floats]) -> list[Questions]:
    """Everyday things, labels, and things that no photo shows."""
    labels = np.array([photo.label for photo in photos])
    kin = [_listed(line) for line in _KIN.strip().splitlines()]
    families = {first: {first, *others} for first, *others in kin}
    left_out = _UNASKED.union(*(others for _, *others in kin))
    asked = sorted(set(labels.tolist()) - left_out - {""})
    names = [_SPOKEN.get(label) or _with_article(label.lower()) for label in asked]
    things = [_with_article(thing) for thing in _listed(_ABSENT)]

    def questions(kind: str, texts: Sequence[str], right: Flags, judged: Flags) -> Questions:
        return Questions(kind, [Term(text) for text in texts], encode(texts), right, judged)

    everyday = [query.text for query in QUERIES]
    told = np.array([[is_right(query, photo) for photo in photos] for query in QUERIES])
    of_label = np.array([np.isin(labels, list(families.get(label, {label}))) for label in asked])
    nowhere = np.zeros((len(things), len(photos)), bool)
    return [
        questions("everyday things", everyday, told, np.ones_like(told)),
        questions("labels", names, of_label, ~_mentioned(names, photos)),
        questions("absent things", things, nowhere, ~_mentioned(things, photos)),
    ]


def _mentioned(names: Sequence[str], photos: Sequence[Photo]) -> Flags:
    """Photos without a label whose captions speak of the thing: nobody has said whether they are right."""
    patterns = [re.compile(rf"\b{re.escape(name.split()[-1][:-1])}", re.IGNORECASE) for name in names]
    return np.array([[any(map(pattern.search, photo.captions)) for photo in photos] for pattern in patterns])


def _examples(photos: Sequence[Photo], vectors: Floats) -> Questions:
    """Photos as queries for others with their label."""
    first = {other: line[0] for line in map(_listed, _KIN.strip().splitlines()) for other in line}
    labels = np.array([first.get(photo.label, photo.label) for photo in photos])
    names, counts = np.unique(labels, return_counts=True)
    common = set(names[counts >= 3].tolist()) - _UNASKED - {""}  # noqa: PLR2004 - two others to be found
    eligible = [place for place, label in enumerate(labels.tolist()) if label in common]
    chosen = np.random.default_rng(0).permutation(eligible)[:_EXAMPLES]
    terms = [Term(photos[place].file, 1.0, "image") for place in chosen]
    right = labels[chosen][:, None] == labels[None]
    judged = (labels[None] != "") & (chosen[:, None] != np.arange(len(photos))[None])
    return Questions("examples", terms, vectors[chosen], right, judged)


def _rules(vectors: Floats, prompts: Floats) -> Mapping[str, Callable[[Questions], Floats]]:
    """Each gives `(queries, photos)` numbers, higher for better matches."""
    by_prompt = prompts @ vectors.T

    def standard(scores: Floats) -> Floats:
        mean, deviation = scores.mean(axis=1, keepdims=True), scores.std(axis=1, keepdims=True)
        numbers: Floats = (scores - mean) / deviation
        return numbers

    def probability(scores: Floats) -> Floats:
        odds: Floats = _SCALE * scores - np.log(np.exp(_SCALE * by_prompt).sum(axis=0))
        return odds

    def margin(asked: Questions) -> Floats:
        return np.stack(
            [
                Gauge([term], row[None], prompts).margins(vectors)
                for term, row in zip(asked.terms, asked.rows, strict=True)
            ]
        )

    def over(best: int) -> Callable[[Questions], Floats]:
        nearest = np.partition(by_prompt, -best, axis=0)[-best:].mean(axis=0)
        return lambda asked: (asked.rows @ vectors.T - nearest) / by_prompt.std(axis=0)

    return {
        "cosine": lambda asked: asked.rows @ vectors.T,
        "z-score over library": lambda asked: standard(asked.rows @ vectors.T),
        "the same, photos' means taken off": lambda asked: standard(
            asked.rows @ vectors.T - by_prompt.mean(axis=0)
        ),
        "z-score over prompts": over(len(prompts)),
        "zero-shot log odds": lambda asked: probability(asked.rows @ vectors.T),
        "over the best prompt": over(1),
        "over the 20 best prompts": over(20),
        "margin": margin,
        "margin, z-score over library": lambda asked: standard(margin(asked)),
    }


def _first(asked: Questions, vectors: Floats) -> list[NDArray[np.intp]]:
    """The photos that a user sees for each query."""
    order = np.argsort(-(asked.rows @ vectors.T), axis=1)
    return [row[judged[row]][:_FIRST] for row, judged in zip(order, asked.judged, strict=True)]


def _split(
    asked: Sequence[Questions], values: Sequence[Floats], vectors: Floats
) -> tuple[list[Floats], list[Floats]]:
    """The numbers of right and of wrong answers among the first ten, query by query."""
    right: list[Floats] = []
    wrong: list[Floats] = []
    for one, numbers in zip(asked, values, strict=True):
        for query, seen in enumerate(_first(one, vectors)):
            is_right_ = one.right[query, seen]
            right.append(numbers[query, seen[is_right_]])
            wrong.append(numbers[query, seen[~is_right_]])
    return right, wrong


def _balanced(asked: Sequence[Questions], values: Sequence[Floats], vectors: Floats) -> float:
    """The line with the same share of right answers above it as of wrong ones below."""
    right, wrong = (np.sort(np.concatenate(part)) for part in _split(asked, values, vectors))
    lines = np.concatenate([right, wrong])
    above = 1 - np.searchsorted(right, lines) / len(right)
    below = np.searchsorted(wrong, lines) / len(wrong)
    return float(lines[np.argmin(np.abs(above - below))])


def _judged(asked: Sequence[Questions], values: Sequence[Floats], vectors: Floats, line: float) -> Judgement:
    right, wrong = _split(asked, values, vectors)
    hits, misses = np.concatenate(right), np.concatenate(wrong)
    everything = [
        (numbers[one.judged] >= line, one.right[one.judged])
        for one, numbers in zip(asked, values, strict=True)
    ]
    above, truth = (np.concatenate(part) for part in zip(*everything, strict=True))
    silent = [not (np.concatenate(pair) >= line).any() for pair in zip(right, wrong, strict=True)]
    shown = (hits >= line).sum() + (misses >= line).sum()
    return Judgement(
        float((hits >= line).mean()) if len(hits) else np.nan,
        float((misses < line).mean()),
        float((hits >= line).sum() / shown) if len(hits) else np.nan,
        float(above[truth].mean()) if truth.any() else np.nan,
        float(1 - above[~truth].mean()),
        float(np.mean(silent)),
    )


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    table.add_column(others[0], justify="right")
    for name in ("right above", "wrong below", "right of those above", *others[1:]):
        table.add_column(name, justify="right")
    return table


def _row(table: Table, name: str, found: Judgement, line: str, *more: float) -> None:
    shares = (found.right_above, found.wrong_below, found.precision, *more)
    table.add_row(name, line, *("-" if np.isnan(share) else f"{share:.1%}" for share in shares))


if __name__ == "__main__":
    sys.exit(main())
