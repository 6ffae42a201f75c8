"""Simple scenes: a weather, a landscape and sometimes one thing in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clipsearch.builtin.captions import Caption, chance
from clipsearch.builtin.scenes.canvas import Canvas, mix, shade_of
from clipsearch.builtin.scenes.figures import Painted, an
from clipsearch.builtin.scenes.subjects import SUBJECTS
from clipsearch.builtin.scenes.terrain import LIGHT, falling, land, sky

if TYPE_CHECKING:
    import random

WEATHERS: Final = {
    "sunny": ("on a sunny day", ("under a blue sky", "in sunshine", "in summer")),
    "cloudy": ("on a cloudy day", ("under a gray sky", "under an overcast sky", "in dull weather")),
    "sunset": ("at sunset", ("in the evening", "under an orange sky", "at dusk")),
    "night": ("at night", ("under the moon and stars", "in the dark", "in the moonlight")),
    "rain": ("in the rain", ("on a rainy day", "in bad weather", "in wet weather")),
    "snowfall": ("in falling snow", ("while it snows", "in a snowfall", "in winter")),
}
"""For each weather the phrase of the exact caption and other ways to say it."""

GROUNDS: Final = {
    "sea": ("the sea", ("the ocean", "open water", "the sea with waves")),
    "beach": ("a sandy beach", ("a beach by the sea", "the seaside", "sand and sea")),
    "meadow": ("a green meadow", ("a field of grass", "a grassland", "the countryside")),
    "flower meadow": (
        "a meadow with flowers",
        ("a field of flowers", "a flower field", "wild flowers in the grass"),
    ),
    "hills": ("rolling green hills", ("green hills", "a hilly landscape", "the hills")),
    "mountains": ("snowy mountains", ("mountains with snow", "high mountains", "mountain peaks")),
    "forest": ("a pine forest", ("a forest", "the woods", "many fir trees")),
    "autumn forest": (
        "an autumn forest",
        ("a forest in autumn", "trees with orange leaves", "a forest in fall"),
    ),
    "desert": ("desert dunes", ("a desert", "sand dunes", "a dry desert")),
    "snow": ("a snowy field", ("a snowy landscape", "snow", "a field covered with snow")),
    "lake": ("a lake with mountains behind", ("a mountain lake", "a lake", "calm water and mountains")),
    "city": ("a city skyline", ("tall buildings", "skyscrapers", "a city")),
    "road": ("a road through the fields", ("a road", "a highway", "an empty street")),
    "waterfall": (
        "a waterfall between rocks",
        ("a waterfall", "falling water", "water falling from a cliff"),
    ),
}
"""For each landscape the phrase of the exact caption and other ways to say it."""

_WORDS: Final = {
    "sea": {"sea", "water"}, "beach": {"beach", "sea", "water", "sand"}, "meadow": {"grass"},
    "flower meadow": {"grass", "flower", "plant"}, "hills": {"grass"}, "mountains": {"mountain", "snow"},
    "forest": {"tree", "plant", "woods"}, "autumn forest": {"tree", "plant", "woods"},
    "desert": {"desert", "sand"}, "snow": {"snow"}, "lake": {"water", "mountain"},
    "city": {"building"}, "road": {"grass"}, "waterfall": {"water"},
}  # fmt: skip

_PLACES: Final = {
    "sea": ("sailing boat", "lighthouse", "island", "rowing boat", "airplane"),
    "beach": ("palm tree", "beach umbrella", "sailing boat", "airplane"),
    "meadow": ("house", "tree", "windmill", "tent", "hot-air balloon", "rainbow", "kite"),
    "flower meadow": ("house", "tree", "windmill", "butterfly", "rainbow"),
    "hills": ("house", "castle", "hot-air balloon", "kite", "rainbow", "tree", "airplane"),
    "mountains": ("hot-air balloon", "airplane", "tent"),
    "forest": ("tent", "house"),
    "autumn forest": ("house",),
    "desert": ("cactus", "pyramid", "hot-air balloon", "tent"),
    "snow": ("snowman", "house", "fir tree"),
    "lake": ("sailing boat", "rowing boat", "hot-air balloon"),
    "city": ("airplane", "hot-air balloon"),
    "road": ("car", "bus", "truck"),
    "waterfall": ("rainbow",),
}


def paint_landscape(canvas: Canvas, rng: random.Random) -> Painted:
    """A landscape in some weather, in two of three pictures with one thing in it."""
    ground = rng.choice(list(GROUNDS))
    skies = [
        w for w in WEATHERS if not (w == "snowfall" and ground in {"beach", "desert", "sea", "flower meadow"})
    ]
    if ground == "desert":
        skies.remove("rain")
    weather = rng.choice(skies)
    subject = rng.choice(_PLACES[ground]) if chance(rng, 0.66) else None
    if subject == "airplane" and weather == "snowfall":
        subject = None  # a white plane in white weather is hardly there
    if subject == "rainbow" and weather not in {"sunny", "cloudy", "rain"}:
        subject = None
    sky(canvas, rng, weather)
    colour = ""
    if subject == "rainbow":
        SUBJECTS["rainbow"].draw(canvas, rng, (0, 0, 0), weather == "night")
    land(canvas, rng, ground, weather)
    if subject is not None and subject != "rainbow":
        thing = SUBJECTS[subject]
        colour = rng.choice(thing.colours) if thing.colours else ""
        veil, share = LIGHT[weather]
        paint = mix(shade_of(colour or "gray", rng), veil, share * 0.35)
        thing.draw(canvas, rng, paint, weather == "night")
    falling(canvas, rng, weather)
    return _told(rng, ground, weather, subject, colour)


def _told(rng: random.Random, ground: str, weather: str, subject: str | None, colour: str) -> Painted:
    when, whens = WEATHERS[weather]
    place, places = GROUNDS[ground]
    claims = {f"land {ground}", f"weather {weather}"}
    facts = claims | _WORDS[ground] | {"landscape", "nature", f"{ground} {weather}"}
    if weather == "sunset":
        facts.add("sunset")
    other_when, other_place = rng.choice(whens), rng.choice(places)
    if subject is None:
        exact = f"{place} {when}"
        rest = [
            Caption(f"{other_place} {when}", frozenset(claims)),
            Caption(f"{place} {other_when}", frozenset(claims)),
            Caption(f"{other_place} {other_when}", frozenset(claims)),
            Caption(f"an empty landscape, {place}", frozenset({f"land {ground}"})),
        ]
        return Painted(
            "landscape",
            (Caption(exact, frozenset(claims)), *rest, *_loose(rng, ground, weather)),
            frozenset(facts),
        )
    thing = SUBJECTS[subject]
    named = thing.phrase.format(colour=colour).replace("a orange", "an orange")
    own = f"{colour} {subject}".strip()
    facts |= {f"thing {subject}", f"thing {own}"} | set(thing.words)
    exact = f"{an(named)} {thing.where.get(ground, 'in')} {place} {when}"
    claims |= {f"thing {own}"}
    synonym = rng.choice(thing.names)
    rest = [
        Caption(f"{an(named)} {when}", frozenset({f"thing {own}", f"weather {weather}"})),
        Caption(f"{an(named)}, {other_place}", frozenset({f"thing {own}", f"land {ground}"})),
        Caption(f"{an(synonym)} {other_when}", frozenset({f"thing {subject}", f"weather {weather}"})),
        Caption(f"{an(synonym)} {thing.where.get(ground, 'in')} {other_place}",
                frozenset({f"thing {subject}", f"land {ground}"})),
        Caption(an(named), frozenset({f"thing {own}"})),
        Caption(an(synonym), frozenset({f"thing {subject}"})),
        Caption(subject, frozenset({f"thing {subject}"})),
    ]  # fmt: skip
    return Painted(
        "landscape",
        (Caption(exact, frozenset(claims)), *rest, *_loose(rng, ground, weather)),
        frozenset(facts),
    )


def _loose(rng: random.Random, ground: str, weather: str) -> list[Caption]:
    place, places = GROUNDS[ground]
    skies = {
        "sunny": ("blue sky", "a sunny day", "sunshine"),
        "cloudy": ("a cloudy day", "clouds", "gray sky"),
        "sunset": ("sunset", "a sunset", "sunrise"),
        "night": ("night sky", "moon and stars", "night"),
        "rain": ("rain", "a rainy day", "bad weather"),
        "snowfall": ("falling snow", "snowfall", "snowy weather"),
    }[weather]
    both = frozenset({f"land {ground}", f"weather {weather}"})
    return [
        Caption(f"{rng.choice(skies)} over {rng.choice((place, *places))}", both),
        Caption(rng.choice((place, *places)), frozenset({f"land {ground}"})),
        Caption(rng.choice(skies), frozenset({f"weather {weather}"})),
        Caption(rng.choice(("a landscape", "a scene", "scenery")), frozenset({"landscape"})),
    ]
