"""Coloured shapes, counts, positions and patterns: pictures whose captions are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clipsearch.builtin.captions import Caption, chance
from clipsearch.builtin.scenes.canvas import COLOURS, RGB, Canvas, Point, mix, shade_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "cross")
COUNTS: Final = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_LAYOUTS: Final = {2: (2, 1), 3: (3, 1), 4: (2, 2), 5: (3, 2), 6: (3, 2)}
"""Columns and rows for so many shapes, in a picture that is not upright."""
_UPRIGHT: Final = 0.95
"""Pictures of a smaller aspect than this swap columns and rows."""


@dataclass(frozen=True)
class Painted:
    """What a painter says about its picture: the first caption is the exact one."""

    kind: str
    captions: tuple[Caption, ...]
    facts: frozenset[str]


def plural(shape: str) -> str:
    """Return the plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def an(phrase: str) -> str:
    """Put the indefinite article before a phrase."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def draw_shape(canvas: Canvas, shape: str, centre: Point, radius: float, colour: RGB) -> None:
    """Draw one of :data:`SHAPES` that fits a circle of `radius` around a point."""
    x, y = centre
    if shape == "circle":
        canvas.circle(x, y, radius * 0.92, colour)
    elif shape == "ring":
        canvas.ring(x, y, radius * 0.95, radius * 0.36, colour)
    elif shape == "square":
        half = radius * 0.8
        canvas.box(x - half, y - half, x + half, y + half, colour)
    elif shape == "cross":
        arm, half = radius * 0.28, radius * 0.92
        canvas.box(x - half, y - arm, x + half, y + arm, colour)
        canvas.box(x - arm, y - half, x + arm, y + half, colour)
    else:
        canvas.polygon([(x + radius * px, y + radius * py) for px, py in _outline(shape)], colour)


def _outline(shape: str) -> list[Point]:
    if shape == "triangle":
        return [(0, -0.9), (0.95, 0.75), (-0.95, 0.75)]
    if shape == "diamond":
        return [(0, -1), (0.68, 0), (0, 1), (-0.68, 0)]
    if shape == "star":
        spokes = [(i, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
        return [(r * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5)) for i, r in spokes]
    angles = [math.tau * i / 40 for i in range(40)]
    return [
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in angles
    ]  # the well-known heart curve, scaled to a unit half-width


def _ground(canvas: Canvas, rng: random.Random, taken: set[str]) -> str:
    name = rng.choice([c for c in ("white", "white", "black", *COLOURS) if not _close(c, taken)])
    colour = shade_of(name, rng, 6)
    if chance(rng, 0.5):
        canvas.fill(colour)
    else:
        canvas.gradient(colour, mix(colour, (255, 255, 255) if name != "white" else (232, 232, 236), 0.18))
    return name


def _close(candidate: str, taken: set[str]) -> bool:
    # Pairs that a thumbnail of 64 pixels cannot tell apart are never put together.
    near = [
        {"red", "orange"}, {"red", "brown"}, {"orange", "yellow"}, {"red", "pink"},
        {"blue", "purple"}, {"black", "brown"}, {"pink", "purple"}, {"white", "yellow"},
        {"orange", "brown"}, {"gray", "white"}, {"purple", "brown"}, {"green", "gray"},
        {"black", "blue"}, {"black", "purple"}, {"red", "purple"}, {"gray", "brown"},
    ]  # fmt: skip
    return any(candidate == other or {candidate, other} in near for other in taken)


def _colour(rng: random.Random, taken: set[str]) -> str:
    return rng.choice([c for c in COLOURS if not _close(c, taken)])


def paint_shape(canvas: Canvas, rng: random.Random) -> Painted:
    """One shape on a plain ground, of a colour and sometimes a size that the caption names."""
    shape = rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS))
    ground = _ground(canvas, rng, {colour})
    size = rng.choice(["small", "", "", "large"])
    room = min(canvas.aspect, 1.0)
    radius = room * {"small": rng.uniform(0.1, 0.15), "": rng.uniform(0.22, 0.3)}.get(
        size, rng.uniform(0.38, 0.45)
    )
    x = rng.uniform(radius + 0.04, canvas.aspect - radius - 0.04)
    y = rng.uniform(radius + 0.04, 1 - radius - 0.04)
    draw_shape(canvas, shape, (x, y), radius, shade_of(colour, rng))
    noun = f"{colour} {shape}"
    base = frozenset({f"{colour} thing", f"shape {shape}", f"one {noun}", "shape"})
    sized = f"{size} {noun}".strip()
    facts = base | {f"ground {ground}", f"{size} {shape}".strip()}
    exact = f"{an(sized)} on {an(ground)} background"
    need = frozenset({f"one {noun}", f"ground {ground}"}) | ({f"{size} {shape}"} if size else frozenset())
    captions = (
        Caption(exact, need),
        Caption(f"{an(noun)} on {ground}", frozenset({f"one {noun}", f"ground {ground}"})),
        Caption(an(noun), frozenset({f"one {noun}"})),
        Caption(noun, frozenset({f"one {noun}"})),
        Caption(an(shape), frozenset({f"shape {shape}"})),
        Caption(f"{an(big_or_little(size))} {shape}" if size else f"one {noun}",
                frozenset({f"{size} {shape}"}) if size else frozenset({f"one {noun}"})),
    )  # fmt: skip
    return Painted("shape", captions, frozenset(facts))


def big_or_little(size: str) -> str:
    """Return the everyday word for a size."""
    return "big" if size == "large" else "little"


def paint_count(canvas: Canvas, rng: random.Random) -> Painted:
    """Two to six equal shapes of one colour."""
    shape = rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS))
    _ground(canvas, rng, {colour})
    count = rng.choice(list(COUNTS))
    columns, rows = _LAYOUTS[count]
    upright = canvas.aspect < _UPRIGHT
    if upright or (rows == 1 and chance(rng, 0.3)):
        columns, rows = rows, columns
    elif _LAYOUTS[count] == (3, 1) and chance(rng, 0.5):
        columns, rows = 2, 2
    wide, high = canvas.aspect / columns, 1 / rows
    radius = min(wide, high) * rng.uniform(0.34, 0.4)
    shade = shade_of(colour, rng)
    cells = [(c, r) for r in range(rows) for c in range(columns)]
    for column, row in rng.sample(cells, count):
        slack_x, slack_y = (wide / 2 - radius) * 0.7, (high / 2 - radius) * 0.7
        x = wide * (column + 0.5) + rng.uniform(-slack_x, slack_x)
        y = high * (row + 0.5) + rng.uniform(-slack_y, slack_y)
        draw_shape(canvas, shape, (x, y), radius, shade)
    many = f"{colour} {plural(shape)}"
    exact = f"{COUNTS[count]} {many}"
    facts = {f"{count} {colour} {shape}", f"many {colour} {shape}", f"{count} {shape}", f"{colour} thing",
             f"shape {shape}", "shape"}  # fmt: skip
    captions = (
        Caption(exact, frozenset({f"{count} {colour} {shape}"})),
        Caption(f"{count} {many}", frozenset({f"{count} {colour} {shape}"})),
        Caption(f"{COUNTS[count]} {plural(shape)}", frozenset({f"{count} {shape}"})),
        Caption(many, frozenset({f"many {colour} {shape}"})),
    )
    return Painted("count", captions, frozenset(facts))


def paint_position(canvas: Canvas, rng: random.Random) -> Painted:
    """Two different shapes, one beside or above the other."""
    first, second = rng.sample(SHAPES, 2)
    one = _colour(rng, set())
    two = _colour(rng, {one})
    _ground(canvas, rng, {one, two})
    sideways = chance(rng, 0.5)
    wide, high = (canvas.aspect / 2, 1.0) if sideways else (canvas.aspect, 0.5)
    radius = min(wide, high) * rng.uniform(0.36, 0.44)
    for index, (shape, colour) in enumerate(((first, one), (second, two))):
        x = wide * (0.5 + (index if sideways else 0))
        y = high * (0.5 + (0 if sideways else index))
        x += rng.uniform(-1, 1) * (wide / 2 - radius) * 0.6
        y += rng.uniform(-1, 1) * (high / 2 - radius) * 0.6
        draw_shape(canvas, shape, (x, y), radius, shade_of(colour, rng))
    here, there = f"{one} {first}", f"{two} {second}"
    side = "left of" if sideways else "above"
    placed = f"{here} {side} {there}"
    pair = " + ".join(sorted((here, there)))
    ahead, behind = ("to the left of", "to the right of") if sideways else ("above", "below")
    facts = {placed, pair, f"one {here}", f"one {there}", f"{one} thing", f"{two} thing",
             f"shape {first}", f"shape {second}", "shape"}  # fmt: skip
    captions = (
        Caption(f"{an(here)} {ahead} {an(there)}", frozenset({placed})),
        Caption(f"{an(there)} {behind} {an(here)}", frozenset({placed})),
        Caption(f"{an(here)} and {an(there)}", frozenset({pair})),
        Caption(f"{an(there)} and {an(here)}", frozenset({pair})),
    )
    return Painted("position", captions, frozenset(facts))


def _diagonal_stripes(canvas: Canvas, step: float, colour: RGB) -> None:
    for i in range(0, _bands(canvas, step), 2):
        at = i * step
        canvas.polygon([(at, 0), (at + step, 0), (at + step - 1, 1), (at - 1, 1)], colour)


def _horizontal_stripes(canvas: Canvas, step: float, colour: RGB) -> None:
    for i in range(0, _bands(canvas, step), 2):
        canvas.box(0, i * step, canvas.aspect, (i + 1) * step, colour)


def _vertical_stripes(canvas: Canvas, step: float, colour: RGB) -> None:
    for i in range(0, _bands(canvas, step), 2):
        canvas.box(i * step, 0, (i + 1) * step, 1, colour)


def _checkerboard(canvas: Canvas, step: float, colour: RGB) -> None:
    for i in range(_bands(canvas, step)):
        for j in range(i % 2, math.ceil(1 / step) + 1, 2):
            canvas.box(i * step, j * step, (i + 1) * step, (j + 1) * step, colour)


def _dots(canvas: Canvas, step: float, colour: RGB) -> None:
    for i in range(_bands(canvas, step)):
        for j in range(math.ceil(1 / step) + 1):
            canvas.circle((i + (j % 2) / 2) * step, (j + 0.5) * step, step * 0.3, colour)


def _bands(canvas: Canvas, step: float) -> int:
    return math.ceil((canvas.aspect + 1) / step) + 1


@dataclass(frozen=True)
class _Pattern:
    """A pattern of one colour on another: how it is drawn (None: a gradient) and told."""

    draw: Callable[[Canvas, float, RGB], None] | None
    exact: str
    loose: str
    name: str
    family: str
    key: str


_PATTERNS: Final = {
    "horizontal stripes": _Pattern(
        _horizontal_stripes,
        "horizontal {one} and {two} stripes",
        "{one} and {two} horizontal stripes",
        "a striped pattern",
        "stripes",
        "horizontal stripes {both}",
    ),
    "vertical stripes": _Pattern(
        _vertical_stripes,
        "vertical {one} and {two} stripes",
        "{one} and {two} vertical stripes",
        "a striped pattern",
        "stripes",
        "vertical stripes {both}",
    ),
    "diagonal stripes": _Pattern(
        _diagonal_stripes,
        "diagonal {one} and {two} stripes",
        "{one} and {two} diagonal stripes",
        "a striped pattern",
        "stripes",
        "diagonal stripes {both}",
    ),
    "checkerboard": _Pattern(
        _checkerboard,
        "{a_one} and {two} checkerboard",
        "{one} and {two} checks",
        "a checkerboard pattern",
        "checkerboard",
        "checkerboard {both}",
    ),
    "dots": _Pattern(
        _dots,
        "{one} dots on {a_two} background",
        "{one} polka dots on {two}",
        "a dotted pattern",
        "dots",
        "dots {one} {two}",
    ),
    "gradient": _Pattern(
        None,
        "a gradient from {one} to {two}",
        "a smooth {one} and {two} gradient",
        "a gradient pattern",
        "gradient",
        "gradient {one} {two}",
    ),
}


def paint_texture(canvas: Canvas, rng: random.Random) -> Painted:
    """Stripes, a checkerboard, dots, or a gradient, in two colours."""
    one = _colour(rng, set())
    two = _colour(rng, {one})
    first, second = shade_of(one, rng), shade_of(two, rng)
    pattern = rng.choice(list(_PATTERNS))
    told = _PATTERNS[pattern]
    canvas.fill(second)
    step = rng.uniform(0.14, 0.26)
    if told.draw is None:
        canvas.gradient(first, second, across=chance(rng, 0.5))
    else:
        told.draw(canvas, step, first)
    both = " and ".join(sorted((one, two)))
    words = {"one": one, "two": two, "a_one": an(one), "a_two": an(two), "both": both}
    key, family = told.key.format(**words), told.family
    facts = {key, f"pattern {family}", f"pattern {pattern}", f"{family} {both}", "pattern"}
    bare = pattern if pattern.endswith("s") else an(pattern)
    captions = (
        Caption(told.exact.format(**words), frozenset({key})),
        Caption(told.loose.format(**words), frozenset({key})),
        Caption(f"{one} and {two} {family}", frozenset({f"{family} {both}"})),
        Caption(bare, frozenset({f"pattern {pattern}"})),
        Caption(told.name, frozenset({f"pattern {family}"})),
    )
    return Painted("texture", captions, frozenset(facts))
