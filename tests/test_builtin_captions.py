"""The words for the training photos: every class has them, and the parents are right."""

from __future__ import annotations

import random

import pytest

from clipsearch.builtin.captions import (
    Concept,
    captions_of,
    choose_concept,
    concepts,
    meaning_of,
    parse_concepts,
    say,
    with_article,
    zero_shot_phrases,
)
from clipsearch.builtin.classes import concepts_of


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("tabby cat", {"cat", "pet", "animal"}),
        ("chihuahua", {"dog", "pet", "mammal", "animal"}),
        ("airplane", {"aircraft", "vehicle"}),
        ("granny smith", {"green apple", "apple", "fruit", "food"}),
        ("face", {"person"}),
        ("sports car", {"car", "vehicle"}),
        ("seashore", {"beach", "sea", "landscape"}),
        ("alp", {"mountain", "snow", "landscape"}),
        ("electric guitar", {"guitar", "instrument"}),
        ("ferry", {"boat", "vehicle", "water"}),
        ("flamingo", {"bird", "animal"}),
        ("laptop", {"computer", "electronics"}),
    ],
)
def test_a_thing_is_also_everything_above_it(name: str, facts: set[str]) -> None:
    assert facts <= meaning_of([name]).facts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("airplane", {"airplane", "a plane", "an aeroplane", "jet"}),
        ("motorcycle", {"a motorbike", "motorcycle"}),
        ("face", {"a portrait", "face"}),
        ("t-shirt", {"a tee shirt", "t-shirt"}),
        ("food", {"food", "something to eat"}),
        ("pants", {"jeans", "trousers", "a pair of jeans"}),
        ("cat", {"a cat", "cat", "a house cat"}),
    ],
)
def test_everyday_words_name_a_concept(name: str, words: set[str]) -> None:
    assert words <= {caption.text for caption in captions_of(concepts()[name])}


@pytest.mark.parametrize(
    ("dataset", "label", "expected"),
    [
        ("tiny200", "Egyptian cat", ("egyptian cat",)),
        ("tiny200", "tabby, tabby cat", ("tabby cat",)),
        ("tiny200", "king penguin, Aptenodytes patagonica", ("penguin",)),
        ("caltech101", "Faces easy", ("face",)),
        ("caltech101", "airplanes", ("airplane",)),
        ("grocery", "Apple|Granny Smith", ("granny smith",)),
        ("grocery", "Juice|Bravo Apple Juice", ("bravo juice", "apple juice")),
        ("clothing", "T-Shirt", ("t-shirt",)),
    ],
)
def test_labels_of_the_training_sets_find_their_concepts(
    dataset: str, label: str, expected: tuple[str, ...]
) -> None:
    assert concepts_of(dataset, label) == expected


def test_an_unknown_label_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match="flying saucer"):
        concepts_of("tiny200", "flying saucer")


def test_every_parent_is_a_concept_with_words() -> None:
    for concept in concepts().values():
        for parent in (*concept.parents, *concept.maybes):
            assert parent in concepts(), f"{concept.name}: {parent}"


def test_nothing_is_its_own_ancestor() -> None:
    for concept in concepts().values():
        for parent in concept.parents:
            assert concept.name not in meaning_of([parent]).facts


def test_what_is_left_open_is_neither_sure_nor_told() -> None:
    kimono = meaning_of(["kimono"])
    assert "person" in kimono.facts
    assert "woman" in kimono.maybes
    dress = meaning_of(["dress"])
    assert "person" in dress.maybes
    assert not dress.facts & dress.maybes
    assert not set(dress.nearest) & dress.maybes


def test_a_chosen_concept_is_always_true_and_often_the_class_itself() -> None:
    rng = random.Random(1)
    meaning = meaning_of(["tabby cat"])
    names = [choose_concept(meaning, rng).name for _ in range(400)]
    assert set(names) <= meaning.facts
    assert 0.5 < names.count("tabby cat") / 400 < 0.7
    assert "animal" in names


def test_a_caption_claims_what_it_names() -> None:
    rng = random.Random(2)
    texts = {say(concepts()["tabby cat"], rng).text for _ in range(200)}
    assert len(texts) > 15
    assert "tabby" in texts
    assert "a photo of a striped cat" in texts
    assert say(concepts()["dog"], rng).claims == {"dog"}


def test_articles_fit_their_words() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("uniform") == "a uniform"
    assert with_article("umbrella") == "an umbrella"
    assert with_article("~jeans") == "jeans"


def test_zero_shot_phrases_are_fixed_and_without_marks() -> None:
    told = zero_shot_phrases(concepts()["shoe"])
    assert told[:3] == ["shoes", "a photo of shoes", "a picture of shoes"]
    assert not any("~" in text or "{" in text for text in told)


def test_the_concepts_file_is_parsed_as_its_header_says() -> None:
    table = parse_concepts(["# words", "", "cat = cat, ~cats | pet, ?toy", "pet"])
    assert table["cat"] == Concept("cat", ("cat", "~cats"), ("pet",), ("toy",))
    assert table["pet"] == Concept("pet", ("pet",), (), ())
    with pytest.raises(ValueError, match="defined twice"):
        parse_concepts(["cat", "cat"])
