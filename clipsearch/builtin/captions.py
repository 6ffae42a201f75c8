"""What may be said of a training photo: concepts, their everyday words, and templates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

CONCEPTS_FILE: Final = Path(__file__).with_name("concepts.txt")

PHOTO_TEMPLATES: Final = (
    "a photo of {}",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a photograph of {}",
    "a close-up of {}",
    "a snapshot of {}",
    "there is {} here",
    "this is {}",
    "a good photo of {}",
    "a blurry photo of {}",
    "a small photo of {}",
    "a color photo of {}",
    "a cropped photo of {}",
    "one photo showing {}",
)
"""Templates for photos; {} is filled with a phrase such as "a tabby cat"."""
ZERO_SHOT_TEMPLATES: Final = ("{}", "a photo of {}", "a picture of {}", "a close-up of {}")
"""Templates whose embeddings are averaged to classify."""


@dataclass(frozen=True)
class Caption:
    """A sentence and what it claims: true of every picture that has all those facts."""

    text: str
    claims: frozenset[str]


@dataclass(frozen=True)
class Concept:
    """A thing that words name: its surface forms and its parents."""

    name: str
    forms: tuple[str, ...]
    """Singular, without article; a leading "~" marks a form that takes none."""
    parents: tuple[str, ...]
    maybes: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What holds for a photo of a class: facts that are sure, and facts left open."""

    facts: frozenset[str]
    maybes: frozenset[str]
    nearest: tuple[str, ...]
    """The class's own concepts first, then their parents, and so on outwards."""


def chance(rng: random.Random, share: float) -> bool:
    """Return true with a probability."""
    return rng.random() < share


def parse_concepts(lines: Iterable[str]) -> dict[str, Concept]:
    """Parse the lines of the concepts file; later forms of one name are an error."""
    concepts: dict[str, Concept] = {}
    for line in lines:
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        head, _, tail = text.partition("|")
        name, _, forms = (part.strip() for part in head.partition("="))
        above = [part.strip() for part in tail.split(",") if part.strip()]
        if name in concepts:
            raise ValueError(f"concept {name!r} is defined twice")
        concepts[name] = Concept(
            name=name,
            forms=tuple(dict.fromkeys(f.strip() for f in forms.split(",") if f.strip())) or (name,),
            parents=tuple(p for p in above if not p.startswith("?")),
            maybes=tuple(p[1:].strip() for p in above if p.startswith("?")),
        )
    return concepts


@cache
def concepts() -> Mapping[str, Concept]:
    """Return all concepts by name, read from the package's own file."""
    return parse_concepts(CONCEPTS_FILE.read_text(encoding="utf-8").splitlines())


def meaning_of(names: Iterable[str], known: Mapping[str, Concept] | None = None) -> Meaning:
    """Return what holds for a photo of these concepts: all their ancestors.

    A parent that has no line of its own is a plain fact without words.
    """
    table = concepts() if known is None else known
    order: dict[str, None] = {}
    open_questions: dict[str, None] = {}
    queue = list(names)
    for name in queue:
        if name in order:
            continue
        order[name] = None
        if name in table:
            queue.extend(table[name].parents)
            open_questions.update(dict.fromkeys(table[name].maybes))
    for name in list(open_questions):
        open_questions.update(dict.fromkeys(_ancestors(name, table)))
    facts = frozenset(order)
    return Meaning(facts, frozenset(open_questions) - facts, tuple(order))


def _ancestors(name: str, table: Mapping[str, Concept]) -> list[str]:
    above = list(table[name].parents) if name in table else []
    for parent in above:
        above.extend(table[parent].parents if parent in table else ())
    return above


def with_article(form: str) -> str:
    """Return "a cat" for "cat", and "jeans" for "~jeans"."""
    if form.startswith("~"):
        return form[1:]
    return f"{'an' if form[0] in 'aeiou' and not form.startswith('uni') else 'a'} {form}"


def captions_of(concept: Concept) -> list[Caption]:
    """Return every plain way to name a concept: bare, and with its article."""
    claims = frozenset({concept.name})
    told: dict[str, None] = {}
    for form in concept.forms:
        told[form.removeprefix("~")] = None
        told[with_article(form)] = None
    return [Caption(text, claims) for text in told]


def say(concept: Concept, rng: random.Random, *, first_form: bool = False) -> Caption:
    """Make one caption about a concept: a bare word, a phrase, or a templated sentence."""
    form = concept.forms[0] if first_form else rng.choice(concept.forms)
    phrase = form.removeprefix("~") if chance(rng, 0.35) else with_article(form)
    if chance(rng, 0.5):
        phrase = rng.choice(PHOTO_TEMPLATES).format(with_article(form))
    return Caption(phrase, frozenset({concept.name}))


def choose_concept(meaning: Meaning, rng: random.Random) -> Concept:
    """Draw what to call a photo: often its own class, else something wider, near ones first."""
    table = concepts()
    spoken = [name for name in meaning.nearest if name in table]
    step = 0
    while step < len(spoken) - 1 and chance(rng, 0.4):
        step += 1
    return table[spoken[step]]


def zero_shot_phrases(concept: Concept) -> list[str]:
    """Return the fixed prompts that classify a concept: its first forms in every template.

    Averaging prompts is how CLIP itself is evaluated (Radford et al., 2021, section 3.1.4).
    """
    named = [with_article(form) for form in concept.forms[:3]]
    return [template.format(name) for name in named for template in ZERO_SHOT_TEMPLATES]
