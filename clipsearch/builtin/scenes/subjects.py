"""The things that stand, float or drive in a landscape."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from clipsearch.builtin.scenes import buildings, growing, vehicles
from clipsearch.builtin.scenes.canvas import RGB, Canvas

Draw = Callable[[Canvas, random.Random, RGB, bool], None]
_BRIGHT: Final = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")


@dataclass(frozen=True)
class Subject:
    """A thing that can be drawn: `draw(canvas, rng, colour, at_night)`."""

    draw: Draw
    phrase: str
    """Its name in a caption; "{colour}" stands for the colour, if it has one."""
    names: tuple[str, ...]
    """Other everyday names, without the colour."""
    colours: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    """Concepts of the photographs' vocabulary that it also is."""
    where: Mapping[str, str] = field(default_factory=dict)
    """The preposition before a landscape, where it is not "in"."""


_ON_WATER: Final = {"sea": "on", "lake": "on", "beach": "by"}
_LAND: Final = {
    "beach": "on",
    "desert": "among",
    "snow": "on",
    "hills": "on",
    "mountains": "before",
    "forest": "in front of",
    "autumn forest": "in front of",
    "waterfall": "over",
    "sea": "by",
    "lake": "by",
    "road": "on",
}
_SKY: Final = dict.fromkeys(
    (
        "sea",
        "beach",
        "meadow",
        "flower meadow",
        "hills",
        "mountains",
        "desert",
        "lake",
        "city",
        "waterfall",
        "forest",
    ),
    "over",
)

SUBJECTS: Final[dict[str, Subject]] = {
    "sailing boat": Subject(
        vehicles.sailing_boat,
        "sailing boat with {colour} sails",
        ("sailboat", "yacht", "boat", "ship"),
        ("red", "white", "yellow", "blue", "orange"),
        frozenset({"boat", "vehicle"}),
        _ON_WATER,
    ),
    "rowing boat": Subject(
        vehicles.rowing_boat,
        "{colour} rowing boat",
        ("rowboat", "small boat", "wooden boat", "boat"),
        ("red", "brown", "green", "yellow", "white"),
        frozenset({"boat", "vehicle"}),
        _ON_WATER,
    ),
    "lighthouse": Subject(
        buildings.lighthouse,
        "{colour} and white lighthouse",
        ("lighthouse", "beacon"),
        ("red", "blue", "black"),
        frozenset({"lighthouse", "tower", "building"}),
        {"sea": "by"},
    ),
    "island": Subject(
        growing.island,
        "small island with a palm tree",
        ("island", "tropical island"),
        (),
        frozenset({"tree", "plant"}),
        {"sea": "in"},
    ),
    "airplane": Subject(
        vehicles.airplane,
        "white airplane",
        ("plane", "aeroplane", "aircraft", "jet"),
        (),
        frozenset({"aircraft", "airplane", "vehicle"}),
        _SKY,
    ),
    "palm tree": Subject(
        growing.palm_tree,
        "palm tree",
        ("palm", "tropical tree", "coconut tree"),
        (),
        frozenset({"tree", "plant"}),
        _LAND,
    ),
    "beach umbrella": Subject(
        buildings.beach_umbrella,
        "{colour} beach umbrella",
        ("parasol", "sunshade", "umbrella"),
        _BRIGHT,
        frozenset({"umbrella"}),
        _LAND,
    ),
    "house": Subject(
        buildings.house,
        "house with a {colour} roof",
        ("house", "home", "cottage", "building"),
        ("red", "blue", "green", "brown", "gray", "orange"),
        frozenset({"house", "building"}),
        _LAND,
    ),
    "tree": Subject(
        growing.tree,
        "single tree",
        ("tree", "big tree", "lonely tree"),
        (),
        frozenset({"tree", "plant"}),
        _LAND,
    ),
    "fir tree": Subject(
        growing.fir_tree,
        "fir tree",
        ("pine tree", "christmas tree", "conifer"),
        (),
        frozenset({"tree", "plant"}),
        _LAND,
    ),
    "windmill": Subject(
        buildings.windmill,
        "{colour} windmill",
        ("windmill", "mill"),
        ("white", "brown", "red", "gray"),
        frozenset({"building"}),
        _LAND,
    ),
    "tent": Subject(
        buildings.tent,
        "{colour} tent",
        ("tent", "camping tent", "camp"),
        ("red", "orange", "yellow", "blue", "green"),
        frozenset(),
        _LAND,
    ),
    "hot-air balloon": Subject(
        vehicles.balloon,
        "{colour} hot-air balloon",
        ("hot air balloon", "balloon"),
        _BRIGHT[:-1],
        frozenset({"aircraft"}),
        _SKY,
    ),
    "rainbow": Subject(
        growing.rainbow,
        "rainbow",
        ("rainbow", "colorful rainbow", "colourful rainbow"),
        (),
        frozenset(),
        _SKY,
    ),
    "kite": Subject(
        vehicles.kite, "{colour} kite", ("kite", "flying kite"), _BRIGHT[:-1], frozenset({"toy"}), _SKY
    ),
    "castle": Subject(
        buildings.castle,
        "castle with {colour} roofs",
        ("castle", "fortress", "palace"),
        ("red", "blue", "green"),
        frozenset({"building"}),
        _LAND,
    ),
    "cactus": Subject(
        growing.cactus, "green cactus", ("cactus", "cactus plant"), (), frozenset({"plant"}), _LAND
    ),
    "pyramid": Subject(
        buildings.pyramid,
        "stone pyramid",
        ("pyramid", "egyptian pyramid"),
        (),
        frozenset({"pyramid", "monument", "building"}),
        _LAND,
    ),
    "snowman": Subject(
        growing.snowman,
        "snowman with a {colour} scarf",
        ("snowman", "snow man"),
        ("red", "blue", "green", "yellow", "purple"),
        frozenset(),
        _LAND,
    ),
    "car": Subject(
        vehicles.car,
        "{colour} car",
        ("car", "automobile", "vehicle"),
        ("red", "blue", "yellow", "white", "green", "black"),
        frozenset({"car", "motor vehicle", "vehicle"}),
        _LAND,
    ),
    "bus": Subject(
        vehicles.bus,
        "{colour} bus",
        ("bus", "coach", "vehicle"),
        ("red", "blue", "yellow", "white", "green"),
        frozenset({"bus", "motor vehicle", "vehicle"}),
        _LAND,
    ),
    "truck": Subject(
        vehicles.truck,
        "{colour} truck",
        ("truck", "lorry", "vehicle"),
        ("red", "blue", "yellow", "orange", "green"),
        frozenset({"truck", "motor vehicle", "vehicle"}),
        _LAND,
    ),
    "butterfly": Subject(
        growing.butterfly,
        "{colour} butterfly",
        ("butterfly", "flying insect"),
        ("orange", "yellow", "blue", "purple"),
        frozenset({"butterfly", "insect", "animal"}),
        _SKY,
    ),
}
"""Everything that a landscape may hold, by name."""
