"""Everyday queries for photos from elsewhere, and which photos are right answers.

The rule is fixed here, before any result is seen: a photo is a right answer to a query
when its label is among the query's labels, or when at least two of its captions hold
one of the query's words (as a whole word, any case). Photos with a label have no
captions and the other way round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Query:
    """A query, the labels that answer it and the caption words that do."""

    text: str
    labels: frozenset[str]
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Photo:
    """A photo of the outside collection."""

    file: str
    label: str
    captions: tuple[str, ...]


def _query(text: str, labels: str, words: str = "") -> Query:
    return Query(
        text,
        frozenset(part.strip() for part in labels.split(",") if part.strip()),
        frozenset(words.split()),
    )


QUERIES: Final = (
    _query("a dog", "dalmatian", "dog dogs puppy poodle"),
    _query("a cat", "wild cat", "cat cats kitten kitty"),
    _query("a car", "car side", "car cars taxi"),
    _query("an airplane", "airplanes", "airplane plane biplane seaplane jet aeroplane"),
    _query("a helicopter", "helicopter"),
    _query("a motorcycle", "Motorbikes", "motorcycle motorcycles motorbike"),
    _query("a boat", "ketch, schooner, ferry", "boat boats ship"),
    _query("a sailing boat", "ketch, schooner", "sailboat"),
    _query("a bus", "", "bus buses"),
    _query("a flower", "sunflower, lotus, water lilly", "flower flowers"),
    _query("a tree", "bonsai, joshua tree", "tree trees"),
    _query("a beach", "", "beach shore shoreline"),
    _query("a mountain", "", "mountain mountains"),
    _query("food", "pizza, strawberry, Apple, Banana, Lemon, Orange, Pear, Tomato, Potato, Carrots, "
           "Pepper, Plum, Kiwi, Melon, Cucumber, Satsumas, Peach, Avocado, Lime, Cabbage, Zucchini, Onion, "
           "Mushroom, Papaya, Garlic, Ginger, Red Grapefruit, Pomegranate, Aubergine, Red Beet, Yoghurt, "
           "Soyghurt, Sour Cream", "food pizza pizzas cake sandwich noodles broccoli meal"),
    _query("fruit", "Apple, Banana, Lemon, Orange, Pear, Plum, Kiwi, Melon, Satsumas, Peach, Lime, Papaya, "
           "Red Grapefruit, Pomegranate, Avocado, strawberry", "fruit fruits banana bananas oranges"),
    _query("vegetables", "Tomato, Potato, Carrots, Pepper, Cucumber, Cabbage, Zucchini, Onion, Mushroom, "
           "Garlic, Ginger, Aubergine, Red Beet", "vegetables broccoli carrots"),
    _query("an apple", "Apple"),
    _query("a banana", "Banana", "banana bananas"),
    _query("a milk carton", "Milk, Oat Milk, Soy Milk, Sour Milk"),
    _query("juice", "Juice"),
    _query("a pizza", "pizza", "pizza pizzas"),
    _query("people outdoors", "", "riders equestrians skateboarder skateboard frisbee frisbees crosswalk "
           "baseball sidewalk"),
    _query("a person's face", "Faces, Faces easy"),
    _query("a portrait of a person", "Faces, Faces easy"),
    _query("an elephant", "elephant", "elephant elephants"),
    _query("a bird", "flamingo, flamingo head, ibis, pigeon, rooster, emu", "bird birds seagull parakeet"),
    _query("a butterfly", "butterfly"),
    _query("an insect", "ant, butterfly, dragonfly, mayfly, tick"),
    _query("a fish", "bass, sea horse", "fish"),
    _query("a crocodile", "crocodile, crocodile head"),
    _query("a leopard", "Leopards"),
    _query("a kangaroo", "kangaroo"),
    _query("an animal", "ant, bass, beaver, butterfly, cougar body, cougar face, crab, crayfish, crocodile, "
           "crocodile head, dalmatian, dolphin, dragonfly, elephant, emu, flamingo, flamingo head, gerenuk, "
           "hawksbill, hedgehog, ibis, kangaroo, Leopards, llama, lobster, mayfly, nautilus, octopus, okapi, "
           "panda, pigeon, platypus, rhino, rooster, scorpion, sea horse, starfish, tick, wild cat",
           "animal animals dog cat horse horses bear elephant bird giraffe zebra cow"),
    _query("a chair", "chair, windsor chair, wheelchair", "chair chairs"),
    _query("a lamp", "lamp, chandelier", "lamp"),
    _query("a laptop", "laptop", "laptop macbook"),
    _query("a mobile phone", "cellphone", "phone cellphone"),
    _query("a camera", "camera", "camera"),
    _query("a watch", "watch"),
    _query("a guitar", "electric guitar", "guitar"),
    _query("a piano", "grand piano", "piano"),
    _query("a musical instrument", "accordion, electric guitar, euphonium, grand piano, mandolin, saxophone, "
           "metronome, gramophone"),
    _query("a t-shirt", "T-Shirt"),
    _query("a dress", "Dress"),
    _query("shoes", "Shoes"),
    _query("jeans", "Pants"),
    _query("a hat", "Hat"),
    _query("an umbrella", "umbrella", "umbrella umbrellas"),
    _query("a stop sign", "stop sign", "stop"),
    _query("a soccer ball", "soccer ball"),
    _query("scissors", "scissors"),
    _query("a dinosaur", "brontosaurus, stegosaurus"),
    _query("a kitchen", "", "kitchen"),
    _query("a bathroom", "", "bathroom sink toilet"),
)  # fmt: skip
"""The queries, each with at least one right answer in the collection."""


def read_photos(folder: Path) -> list[Photo]:
    """Read `labels.tsv` and `captions.tsv` of the outside collection."""
    captions: dict[str, list[str]] = {}
    for line in (folder / "captions.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        file, caption = line.split("\t")
        captions.setdefault(file, []).append(caption)
    rows = (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [
        Photo(file, label, tuple(captions.get(file, ())))
        for file, label, *_ in (row.split("\t") for row in rows)
    ]


def is_right(query: Query, photo: Photo) -> bool:
    """Judge a photo by the rule at the top of this module."""
    if photo.label in query.labels:
        return True
    told = sum(bool(_words(caption) & query.words) for caption in photo.captions)
    return told >= 2  # noqa: PLR2004 - one caption of five may be mistaken


def _words(caption: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", caption.lower()))


def answers(photos: Sequence[Photo]) -> Mapping[str, int]:
    """Return, for each query, how many photos of the collection are right answers."""
    return {query.text: sum(is_right(query, photo) for photo in photos) for query in QUERIES}
