"""What sails, drives and flies.

Each function draws one thing in a colour: `(canvas, rng, colour, night)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.builtin.scenes.canvas import RGB, Canvas, mix

if TYPE_CHECKING:
    import random


def sailing_boat(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A boat under two sails."""
    x, y, s = canvas.across(rng), rng.uniform(0.68, 0.74), rng.uniform(0.17, 0.23)
    canvas.line([(x, y), (x, y - 2.1 * s)], 0.012, (92, 62, 40))
    canvas.polygon(
        [(x + 0.06 * s, y - 2.05 * s), (x + 0.06 * s, y - 0.22 * s), (x + 1.05 * s, y - 0.22 * s)], colour
    )
    canvas.polygon(
        [(x - 0.06 * s, y - 1.8 * s), (x - 0.06 * s, y - 0.22 * s), (x - 0.75 * s, y - 0.22 * s)],
        mix(colour, (255, 255, 255), 0.25),
    )
    canvas.polygon(
        [
            (x - 0.95 * s, y - 0.1 * s),
            (x + 1.1 * s, y - 0.1 * s),
            (x + 0.75 * s, y + 0.3 * s),
            (x - 0.65 * s, y + 0.3 * s),
        ],
        (70, 45, 35) if night else (122, 78, 48),
    )


def rowing_boat(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """An open boat with an oar."""
    x, y, s = canvas.across(rng), rng.uniform(0.76, 0.82), rng.uniform(0.24, 0.3)
    canvas.polygon(
        [
            (x - s, y - 0.2 * s),
            (x + s, y - 0.2 * s),
            (x + 0.7 * s, y + 0.22 * s),
            (x - 0.7 * s, y + 0.22 * s),
        ],
        colour,
    )
    canvas.line([(x - s, y - 0.2 * s), (x + s, y - 0.2 * s)], 0.02, mix(colour, (40, 30, 25), 0.5))
    canvas.line(
        [(x - 0.1 * s, y - 0.3 * s), (x + 0.5 * s, y + 0.5 * s)],
        0.014,
        (60, 45, 35) if night else (150, 110, 70),
    )


def _wheel(canvas: Canvas, x: float, y: float, radius: float) -> None:
    canvas.circle(x, y, radius, (28, 28, 32))
    canvas.circle(x, y, radius * 0.5, (175, 178, 185))


def car(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A car from the side."""
    x, foot, s = canvas.across(rng), rng.uniform(0.85, 0.91), rng.uniform(0.3, 0.36)
    glass = (255, 225, 140) if night else (190, 220, 240)
    canvas.polygon(
        [
            (x - 0.62 * s, foot - 0.55 * s),
            (x - 0.36 * s, foot - 0.92 * s),
            (x + 0.32 * s, foot - 0.92 * s),
            (x + 0.65 * s, foot - 0.55 * s),
        ],
        colour,
    )
    canvas.polygon(
        [
            (x - 0.48 * s, foot - 0.56 * s),
            (x - 0.3 * s, foot - 0.83 * s),
            (x - 0.03 * s, foot - 0.83 * s),
            (x - 0.03 * s, foot - 0.56 * s),
        ],
        glass,
    )
    canvas.polygon(
        [
            (x + 0.05 * s, foot - 0.56 * s),
            (x + 0.05 * s, foot - 0.83 * s),
            (x + 0.28 * s, foot - 0.83 * s),
            (x + 0.5 * s, foot - 0.56 * s),
        ],
        glass,
    )
    canvas.box(x - s, foot - 0.57 * s, x + s, foot - 0.16 * s, colour)
    canvas.circle(x + 0.93 * s, foot - 0.42 * s, 0.08 * s, (255, 240, 170))
    for side in (-0.56, 0.56):
        _wheel(canvas, x + side * s, foot - 0.16 * s, 0.2 * s)


def bus(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A bus from the side."""
    x, foot, s = canvas.across(rng), rng.uniform(0.86, 0.92), rng.uniform(0.34, 0.4)
    canvas.box(x - s, foot - 1.0 * s, x + s, foot - 0.14 * s, colour)
    glass = (255, 225, 140) if night else (195, 222, 240)
    for k in range(5):
        left = x - 0.92 * s + 0.37 * s * k
        canvas.box(left, foot - 0.88 * s, left + 0.3 * s, foot - 0.52 * s, glass)
    canvas.box(x - s, foot - 0.4 * s, x + s, foot - 0.32 * s, mix(colour, (255, 255, 255), 0.6))
    for side in (-0.58, 0.58):
        _wheel(canvas, x + side * s, foot - 0.14 * s, 0.18 * s)


def truck(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A truck with a coloured cab."""
    x, foot, s = canvas.across(rng), rng.uniform(0.86, 0.92), rng.uniform(0.34, 0.4)
    canvas.box(
        x - s, foot - 1.05 * s, x + 0.4 * s, foot - 0.2 * s, (165, 168, 178) if night else (238, 238, 235)
    )
    canvas.polygon(
        [
            (x + 0.45 * s, foot - 0.82 * s),
            (x + 0.78 * s, foot - 0.82 * s),
            (x + s, foot - 0.48 * s),
            (x + s, foot - 0.2 * s),
            (x + 0.45 * s, foot - 0.2 * s),
        ],
        colour,
    )
    canvas.polygon(
        [
            (x + 0.55 * s, foot - 0.74 * s),
            (x + 0.74 * s, foot - 0.74 * s),
            (x + 0.88 * s, foot - 0.48 * s),
            (x + 0.55 * s, foot - 0.48 * s),
        ],
        (190, 220, 240),
    )
    canvas.box(x - s, foot - 0.24 * s, x + s, foot - 0.14 * s, (60, 60, 66))
    for side in (-0.7, -0.3, 0.68):
        _wheel(canvas, x + side * s, foot - 0.14 * s, 0.17 * s)


def airplane(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A white airplane in flight."""
    del colour
    x, y, s = canvas.across(rng), rng.uniform(0.2, 0.28), rng.uniform(0.2, 0.25)
    body = (190, 195, 215) if night else (240, 243, 248)
    dark = mix(body, (70, 85, 120), 0.5)
    canvas.polygon(
        [
            (x - 0.95 * s, y - 0.05 * s),
            (x - 1.15 * s, y - 0.5 * s),
            (x - 0.9 * s, y - 0.5 * s),
            (x - 0.6 * s, y - 0.08 * s),
        ],
        dark,
    )
    canvas.ellipse(x, y, s, 0.15 * s, body)
    canvas.polygon(
        [
            (x + 0.2 * s, y + 0.02 * s),
            (x - 0.15 * s, y + 0.02 * s),
            (x - 0.55 * s, y + 0.6 * s),
            (x - 0.3 * s, y + 0.6 * s),
        ],
        dark,
    )
    canvas.polygon(
        [
            (x + 0.15 * s, y - 0.1 * s),
            (x - 0.1 * s, y - 0.1 * s),
            (x - 0.35 * s, y - 0.42 * s),
            (x - 0.2 * s, y - 0.42 * s),
        ],
        dark,
    )
    for k in range(5):
        canvas.circle(x - 0.4 * s + 0.22 * s * k, y - 0.03 * s, 0.03 * s, (70, 95, 140))


def balloon(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A hot-air balloon with its basket."""
    x, y, r = canvas.across(rng), rng.uniform(0.28, 0.34), rng.uniform(0.17, 0.21)
    if night:
        canvas.glow(x, y, 2 * r, (255, 190, 90), 0.4)
    pale = mix(colour, (255, 255, 255), 0.5)
    canvas.polygon(
        [
            (x - 0.9 * r, y + 0.42 * r),
            (x + 0.9 * r, y + 0.42 * r),
            (x + 0.2 * r, y + 1.5 * r),
            (x - 0.2 * r, y + 1.5 * r),
        ],
        colour,
    )
    canvas.circle(x, y, r, colour)
    canvas.ellipse(x, y, 0.58 * r, r, pale)
    canvas.polygon(
        [
            (x - 0.5 * r, y + 0.5 * r),
            (x + 0.5 * r, y + 0.5 * r),
            (x + 0.1 * r, y + 1.5 * r),
            (x - 0.1 * r, y + 1.5 * r),
        ],
        pale,
    )
    canvas.ellipse(x, y, 0.24 * r, r, colour)
    canvas.polygon([(x - 0.22 * r, y + 0.6 * r), (x + 0.22 * r, y + 0.6 * r), (x, y + 1.5 * r)], colour)
    canvas.box(x - 0.17 * r, y + 1.72 * r, x + 0.17 * r, y + 2.0 * r, (120, 80, 45))
    for side in (-0.16, 0.16):
        canvas.line([(x + side * r, y + 1.5 * r), (x + side * r, y + 1.75 * r)], 0.006, (70, 55, 45))


def kite(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A kite on its string."""
    x, y, s = canvas.across(rng), rng.uniform(0.22, 0.3), rng.uniform(0.14, 0.18)
    string = (150, 150, 165) if night else (70, 70, 80)
    canvas.line([(x, y + 1.2 * s), (x - 0.5 * s, y + 2.2 * s), (x + 0.4 * s, y + 3.6 * s)], 0.006, string)
    canvas.polygon([(x, y - s), (x + 0.75 * s, y), (x, y + 1.25 * s), (x - 0.75 * s, y)], colour)
    canvas.polygon([(x, y - s), (x + 0.75 * s, y), (x, y + 1.25 * s)], mix(colour, (255, 255, 255), 0.3))
